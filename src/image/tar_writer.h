// Writes a tar (pax) to a descriptor. Sizes in bytes. Not thread safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/job_monitor.h"

struct archive;
struct archive_entry;
struct ZSTD_CCtx_s;

namespace boxlite::image {

class TarWriter {
 public:
  enum class Compression {
    kNone,
    kZstd,  // one frame (RFC 8878) with its checksum
  };

  /// `name`: what messages call it.
  TarWriter(std::string name, JobMonitor& monitor);

  Result<void> open(int fd, Compression compression);
  Result<void> directory(const std::string& path);
  Result<void> text(const std::string& path, const std::string& bytes);
  Result<void> file(const std::string& path, const std::string& source);
  /// The file behind the descriptor, from its beginning; its holes stay holes.
  Result<void> sparse_file(const std::string& path, int source);
  Result<void> close();

 private:
  struct Free {
    void operator()(archive* a) const;
    void operator()(ZSTD_CCtx_s* context) const;
  };
  static std::ptrdiff_t write_callback(archive* a, void* user, const void* data, std::size_t size);
  Result<void> put(std::span<const std::byte> bytes, bool last);
  std::unexpected<Error> broken();
  Result<void> file_header(const std::string& path, std::uint64_t size);
  Result<void> header(archive_entry* entry, const std::string& path);
  Result<void> data(std::span<const std::byte> bytes);

  std::string name_;
  JobMonitor& monitor_;
  int fd_ = -1;
  std::optional<Error> error_;
  std::unique_ptr<ZSTD_CCtx_s, Free> compressor_;
  std::vector<std::byte> compressed_;
  std::unique_ptr<archive, Free> writer_;
};

}  // namespace boxlite::image
