// Reads a tar stream: ustar, pax extended headers, GNU long names and numbers, and what came before them. Sparse files and
// archives of several volumes are refused, as is a stream that ends before its end mark.
//
// The stream is hostile: every size is bounded, and a path is any bytes but NUL, not yet safe to use. Not thread safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "base/result.h"
#include "files/tar_header.h"

namespace boxlite::files {

/// Fills a part of the buffer and returns how much; 0 at the end.
using Source = std::function<Result<std::size_t>(std::span<std::byte>)>;

class TarReader {
 public:
  /// `pipe`: what the source reads from, when that is a pipe and nothing else reads it.
  explicit TarReader(Source source, int pipe = -1);

  /// The next entry; what is left of the one before is skipped. false: the archive is at its end, and so is the source, up to
  /// which it was read.
  Result<bool> next(TarEntry& entry);

  /// The next piece of the entry's content, empty at its end. Valid until the next call.
  Result<std::span<const std::byte>> data();
  /// What is left of the entry's content, into a file; out of a pipe without a stop on the way.
  Result<void> write_data(int file);

 private:
  using Block = std::array<char, kTarBlock>;
  struct Overrides;

  Result<void> fill();
  Result<bool> read_exactly(std::span<char> target);  // false: the source ended before the first byte
  Result<std::string> read_extension(std::uint64_t size);
  Result<void> skip(std::uint64_t count);
  Result<void> end();

  Source source_;
  int pipe_;
  std::vector<std::byte> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::uint64_t content_left_ = 0;
  std::size_t padding_ = 0;  // behind the content
  bool ended_ = false;
};

}  // namespace boxlite::files
