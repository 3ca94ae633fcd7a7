// SHA-256 of a stream of bytes (OpenSSL).
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "image/digest.h"

namespace boxlite::image {

class Sha256 {
 public:
  Sha256();
  void update(std::span<const std::byte> data);
  /// Once; the object is used up.
  Digest finish();

 private:
  struct Free {
    void operator()(void* context) const;
  };
  std::unique_ptr<void, Free> context_;
};

Digest sha256(std::string_view bytes);

}  // namespace boxlite::image
