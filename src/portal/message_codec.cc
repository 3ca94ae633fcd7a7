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
  if (size > kMaxMessage) {
    return fail(ErrorCode::kCorrupt, "a message of {} bytes was announced where at most {} are allowed", size, kMaxMessage);
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
