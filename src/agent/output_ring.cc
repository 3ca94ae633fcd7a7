#include "agent/output_ring.h"

#include <algorithm>
#include <bit>

namespace boxlite::agent {
namespace {

constexpr std::size_t kSmallest = 4096;

}  // namespace

std::size_t OutputRing::room(std::optional<std::uint64_t> pinned) const {
  if (!pinned) return kCapacity;
  const std::uint64_t held = end_ - std::clamp(*pinned, begin_, end_);
  return kCapacity - static_cast<std::size_t>(held);
}

void OutputRing::grow(std::size_t needed) {
  const std::size_t size = std::bit_ceil(std::max(needed, kSmallest));
  if (size <= buffer_.size()) return;
  std::vector<char> bigger(size);
  for (std::uint64_t offset = begin_; offset < end_;) {
    const std::string_view piece = peek(offset, size);
    const std::size_t at = static_cast<std::size_t>(offset % size);
    const std::size_t count = std::min(piece.size(), size - at);
    std::copy_n(piece.data(), count, bigger.data() + at);
    offset += count;
  }
  buffer_ = std::move(bigger);
}

void OutputRing::append(std::span<const char> data) {
  const std::uint64_t new_end = end_ + data.size();
  const std::uint64_t new_begin = std::max(begin_, new_end - std::min<std::uint64_t>(new_end, kCapacity));
  if (new_begin > end_) {  // more than everything we keep: the first part of data is never seen
    data = data.subspan(static_cast<std::size_t>(new_begin - end_));
    begin_ = end_ = new_begin;
  }
  grow(static_cast<std::size_t>(new_end - new_begin));
  begin_ = new_begin;
  while (!data.empty()) {
    const std::size_t at = static_cast<std::size_t>(end_ % buffer_.size());
    const std::size_t count = std::min(data.size(), buffer_.size() - at);
    std::copy_n(data.data(), count, buffer_.data() + at);
    data = data.subspan(count);
    end_ += count;
  }
}

std::string_view OutputRing::peek(std::uint64_t offset, std::size_t limit) const {
  if (offset < begin_ || offset >= end_) return {};
  const std::size_t at = static_cast<std::size_t>(offset % buffer_.size());
  const std::size_t count = std::min({static_cast<std::size_t>(end_ - offset), buffer_.size() - at, limit});
  return {buffer_.data() + at, count};
}

void OutputRing::clear() {
  begin_ = end_;
  buffer_ = {};
}

}  // namespace boxlite::agent
