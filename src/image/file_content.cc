#include "image/file_content.h"

#include <algorithm>

namespace boxlite::image {
namespace {

constexpr std::size_t kGranule = 64 * 1024;
constexpr std::size_t kBuffer = 16 * kGranule;

bool is_zero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

FileContent::FileContent(Ext4Image& image, std::uint64_t size) : image_(image), size_(size) {
  buffer_.reserve(static_cast<std::size_t>(std::min<std::uint64_t>(kBuffer, (size + kBlockSize - 1) / kBlockSize * kBlockSize)));
}

Result<void> FileContent::write(std::uint64_t offset, std::span<const std::byte> data) {
  const std::uint64_t position = buffer_offset_ + buffer_.size();
  if (offset < position || offset > size_ || data.size() > size_ - offset) {
    return fail(ErrorCode::kCorrupt, "a file's content in a layer is out of order or longer than the file");
  }
  // Zeros up to the next granule are written out; whole granules between are skipped.
  const std::uint64_t granule_end = (position + kGranule - 1) / kGranule * kGranule;
  if (offset > granule_end) {
    buffer_.resize(buffer_.size() + static_cast<std::size_t>(granule_end - position));
    TRY(flush());
    buffer_offset_ = offset / kGranule * kGranule;
  }
  buffer_.resize(static_cast<std::size_t>(offset - buffer_offset_));
  return append(data);
}

Result<void> FileContent::append(std::span<const std::byte> data) {
  while (!data.empty()) {
    const std::size_t room = kBuffer - buffer_.size();
    if (room == 0) {
      TRY(flush());
      continue;
    }
    const auto piece = data.first(std::min(room, data.size()));
    buffer_.insert(buffer_.end(), piece.begin(), piece.end());
    data = data.subspan(piece.size());
  }
  return {};
}

// Writes the buffer, which is a multiple of granules or the end of the file, in runs of granules that are not zero.
Result<void> FileContent::flush() {
  const std::uint64_t end = buffer_offset_ + buffer_.size();
  buffer_.resize((buffer_.size() + kBlockSize - 1) / kBlockSize * kBlockSize);
  const std::span<const std::byte> all = buffer_;
  const auto granule = [&](std::size_t at) { return all.subspan(at, std::min(kGranule, all.size() - at)); };
  for (std::size_t at = 0; at < all.size();) {
    std::size_t run_end = at;
    while (run_end < all.size() && !is_zero(granule(run_end))) run_end += granule(run_end).size();
    if (run_end > at) TRY(image_.write_blocks((buffer_offset_ + at) / kBlockSize, all.subspan(at, run_end - at), extents_));
    at = run_end < all.size() ? run_end + granule(run_end).size() : run_end;
  }
  buffer_.clear();
  buffer_offset_ = end;
  return {};
}

Result<std::vector<Extent>> FileContent::finish() {
  TRY(flush());
  return std::move(extents_);
}

}  // namespace boxlite::image
