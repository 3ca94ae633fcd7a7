// The newest output of one stream of a session, addressed by absolute offsets.
//
// Keeps the last kCapacity bytes; offset 0 is the first byte the stream ever produced, so a client that went away can say where
// it wants to go on and can see what it has missed. Memory grows with what is kept, up to the capacity. It never drops a byte by
// itself that somebody still needs: whoever fills it asks room() first, with the offset of its slowest reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace boxlite::agent {

class OutputRing {
 public:
  static constexpr std::size_t kCapacity = std::size_t{256} * 1024;

  std::uint64_t begin() const { return begin_; }  // offset of the oldest byte kept
  std::uint64_t end() const { return end_; }      // offset of the next byte to come

  /// How many bytes may be appended without overwriting what a reader at `pinned` has not had; nullopt: nobody reads.
  std::size_t room(std::optional<std::uint64_t> pinned) const;

  /// Appends, dropping the oldest bytes beyond the capacity.
  void append(std::span<const char> data);

  /// Bytes from `offset` on in one piece, at most `limit`; empty when there are none. `offset` is in [begin, end].
  std::string_view peek(std::uint64_t offset, std::size_t limit) const;

  /// Drops all bytes and their memory; offsets go on counting.
  void clear();
  std::size_t size() const { return static_cast<std::size_t>(end_ - begin_); }

 private:
  void grow(std::size_t needed);
  std::uint64_t begin_ = 0;
  std::uint64_t end_ = 0;
  std::vector<char> buffer_;  // the byte at offset o is buffer_[o % buffer_.size()]; the size is a power of two
};

}  // namespace boxlite::agent
