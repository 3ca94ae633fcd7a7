// Undoes zstd (RFC 8878), frame after frame.
//
// libarchive could too, but takes any window up to 128 MiB, which is memory that a layer of a few bytes may ask for. What writers
// of layers use is at most 32 MiB (klauspost/compress, best compression).
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace boxlite::image {

class ZstdStream {
 public:
  /// Reads `fd`, which must stay open, from where it is. `what` names the stream in errors.
  static Result<ZstdStream> open(int fd, std::string what);

  /// The next piece, empty at the end; valid until the next call.
  Result<std::span<const std::byte>> next();

 private:
  struct Free {
    void operator()(void* stream) const;
  };
  ZstdStream(int fd, std::string what, std::unique_ptr<void, Free> stream);

  int fd_;
  std::string what_;
  std::unique_ptr<void, Free> stream_;  // ZSTD_DStream
  std::vector<std::byte> in_;
  std::vector<std::byte> out_;
  std::size_t in_begin_ = 0;
  std::size_t in_end_ = 0;
  bool in_frame_ = false;
  bool out_was_full_ = false;  // there may be more without more input
};

}  // namespace boxlite::image
