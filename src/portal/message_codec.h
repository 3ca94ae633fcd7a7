// Messages on a stream: a 4-byte big-endian length, then a protobuf message (proto/agent.proto). One bounded parser for both
// ends.
//
// Sans-IO and not thread safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include <google/protobuf/message_lite.h>

#include "agent.pb.h"
#include "base/result.h"

namespace boxlite::portal {

/// Arguments may be 131,071 bytes each and the environment 1 MiB (execve's own limits are near), chunks are 64 KiB.
inline constexpr std::size_t kMaxMessage = (1U << 20U) + (64U << 10U);
inline constexpr std::size_t kMaxChunk = 64U << 10U;

/// Length prefix and message, ready to send. The message must not be larger than kMaxMessage (kInvalidArgument).
Result<std::string> encode_message(const google::protobuf::MessageLite& message);

/// A SessionOutput with a chunk of `size` bytes, without them: they follow it on the stream. Spares copying them into a message.
inline constexpr std::size_t kMaxChunkHead = 32;
std::string encode_chunk_head(proto::Chunk::Stream stream, std::uint64_t offset, std::size_t size);

/// Collects bytes of a stream and cuts them into messages.
class MessageReader {
 public:
  /// `limit`: how long a message may be.
  explicit MessageReader(std::size_t limit = kMaxMessage) : limit_(limit) {}

  void feed(std::span<const std::byte> data);

  /// Takes the next whole message into `message`. false: more bytes are needed. kCorrupt: too long, or not a message of this
  /// type; the stream is unusable after that.
  Result<bool> next(google::protobuf::MessageLite& message);

  /// After next() returned false: how many bytes the message still needs, as far as is known. For a caller that must not read
  /// beyond the message.
  std::size_t missing() const;

  /// Bytes held; at most the limit + 4 between calls of next() that returned false.
  std::size_t buffered() const { return buffer_.size() - begin_; }

 private:
  std::size_t limit_;
  std::string buffer_;
  std::size_t begin_ = 0;
};

}  // namespace boxlite::portal
