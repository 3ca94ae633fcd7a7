// A log file that cannot fill the disk: what writes to it may be hostile (guest console, command output).
//
// When the file would exceed `limit` bytes it is renamed to "<path>.1" (replacing the one before) and a new one is begun, so at
// most 2 × limit bytes are kept and the newest are never lost. Not thread safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite {

class BoundedLog {
 public:
  /// Appends to an existing file. Mode 0600.
  static Result<BoundedLog> open(const std::string& path, std::uint64_t limit);

  /// A new file; the one that was there stays as "<path>.1".
  static Result<BoundedLog> begin(const std::string& path, std::uint64_t limit);

  /// One write is never split over two files.
  Result<void> append(std::span<const std::byte> data);
  Result<void> append(std::string_view text) { return append(std::as_bytes(std::span(text))); }

 private:
  BoundedLog(std::string path, std::uint64_t limit, UniqueFd fd, std::uint64_t size)
      : path_(std::move(path)), limit_(limit), fd_(std::move(fd)), size_(size) {}
  std::string path_;
  std::uint64_t limit_;
  UniqueFd fd_;
  std::uint64_t size_;
};

}  // namespace boxlite
