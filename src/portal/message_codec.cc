#include "portal/message_codec.h"

#include "portal/byte_order.h"

namespace boxlite::portal {
namespace {

constexpr std::size_t kPrefix = 4;

}  // namespace

Result<std::string> encode_message(const google::protobuf::MessageLite& message) {
  const std::size_t size = message.ByteSizeLong();
  if (size > kMaxMessage) {
    return fail(ErrorCode::kInvalidArgument,
                "{} of {} bytes is too long for the box; the limit is {} bytes, arguments and environment "
                "together",
                message.GetTypeName(), size, kMaxMessage);
  }
  std::string out(kPrefix, '\0');
  put_be(reinterpret_cast<std::byte*>(out.data()), static_cast<std::uint32_t>(size));
  if (!message.AppendToString(&out)) return fail(ErrorCode::kInternal, "{} cannot be serialised", message.GetTypeName());
  return out;
}

std::string encode_chunk_head(proto::Chunk::Stream stream, std::uint64_t offset, std::size_t size) {
  const auto add_length = [](std::string& text, int field, std::size_t length) {
    text.push_back(static_cast<char>((static_cast<unsigned>(field) << 3U) | 2U));  // length-delimited
    for (; length >= 0x80U; length >>= 7U) text.push_back(static_cast<char>(length | 0x80U));
    text.push_back(static_cast<char>(length));
  };
  proto::Chunk chunk;
  chunk.set_stream(stream);
  chunk.set_offset(offset);
  std::string head = chunk.SerializeAsString();
  add_length(head, proto::Chunk::kDataFieldNumber, size);
  std::string outer;
  add_length(outer, proto::SessionOutput::kChunkFieldNumber, head.size() + size);
  std::string out(kPrefix, '\0');
  put_be(reinterpret_cast<std::byte*>(out.data()), static_cast<std::uint32_t>(outer.size() + head.size() + size));
  return out + outer + head;
}

void MessageReader::feed(std::span<const std::byte> data) {
  buffer_.erase(0, begin_);
  begin_ = 0;
  buffer_.append(reinterpret_cast<const char*>(data.data()), data.size());
}

Result<bool> MessageReader::next(google::protobuf::MessageLite& message) {
  if (buffered() < kPrefix) return false;
  const char* const at = buffer_.data() + begin_;
  const std::size_t size = get_be<std::uint32_t>(reinterpret_cast<const std::byte*>(at));
  // Nothing is taken from the buffer on an error, so every later call fails in the same way.
  if (size > limit_) {
    return fail(ErrorCode::kCorrupt, "a message of {} bytes was announced where at most {} are allowed", size, limit_);
  }
  if (buffered() < kPrefix + size) return false;
  if (!message.ParseFromArray(at + kPrefix, static_cast<int>(size))) {
    return fail(ErrorCode::kCorrupt, "{} bytes that are no {}", size, message.GetTypeName());
  }
  begin_ += kPrefix + size;
  return true;
}

std::size_t MessageReader::missing() const {
  if (buffered() < kPrefix) return kPrefix - buffered();
  return kPrefix + get_be<std::uint32_t>(reinterpret_cast<const std::byte*>(buffer_.data() + begin_)) - buffered();
}

}  // namespace boxlite::portal
