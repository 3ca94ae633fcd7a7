// Takes one file's content in pieces and writes it as blocks, leaving holes where it is zero.
//
// Memory is one buffer, whatever the file's size. A hole is left for 64 KiB of zeros that are aligned so: smaller ones would cost
// more in extents than they save.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "image/ext4_image.h"

namespace boxlite::image {

class FileContent {
 public:
  /// `size` is the file's; more than that is refused.
  FileContent(Ext4Image& image, std::uint64_t size);

  /// In rising order; what lies between the pieces is zero.
  Result<void> write(std::uint64_t offset, std::span<const std::byte> data);

  Result<std::vector<Extent>> finish();

 private:
  Result<void> append(std::span<const std::byte> data);
  Result<void> flush();

  Ext4Image& image_;
  std::uint64_t size_;
  std::uint64_t buffer_offset_ = 0;  // where the buffer begins in the file; whole granules
  std::vector<std::byte> buffer_;
  std::vector<Extent> extents_;
};

}  // namespace boxlite::image
