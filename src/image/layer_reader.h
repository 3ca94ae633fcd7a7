// Reads one layer: a tar stream (ustar, pax, GNU), plain or compressed by gzip or zstd.
//
// Two readers in a row: the outer one only undoes the compression (libarchive, or ZstdStream), which is chosen by the first bytes
// (what a media type says is often wrong); the inner one, libarchive, reads tar and nothing else. Between them every uncompressed
// byte is counted against a limit shared by all layers of the image, and against the layer's own size, so a bomb ends early; and
// hashed for the diff_id. What the headers of one entry may take is bounded, since libarchive keeps them in memory. No locale is
// set in this program: libarchive then hands file names on as the bytes they are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "image/digest.h"
#include "image/job_monitor.h"
#include "image/layer_entry.h"

namespace boxlite::image {

class LayerReader {
 public:
  /// `what` names the layer in errors. `budget`: uncompressed bytes that may still be read, decreased as they are; it and
  /// `monitor` must outlive the reader.
  static Result<LayerReader> open(const std::string& path, const std::string& what, std::uint64_t& budget, JobMonitor& monitor);
  LayerReader(LayerReader&&) noexcept;
  ~LayerReader();

  /// False at the end of the archive. The content of the entry before is skipped.
  Result<bool> next(LayerEntry& entry);

  /// The current entry's content in rising order; what lies between the pieces is zero.
  Result<void> content(const std::function<Result<void>(std::uint64_t offset, std::span<const std::byte>)>& sink);

  /// Reads to the end of the stream, behind the archive's end too, and returns its digest: the diff_id.
  Result<Digest> finish();

 private:
  struct Impl;
  explicit LayerReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace boxlite::image
