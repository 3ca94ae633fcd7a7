#include "runtime/line_channel.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/sys.h"

namespace boxlite {

Result<void> send_line(int socket, std::string_view line) {
  std::string text(line);
  text.push_back('\n');
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t count = ::send(socket, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail(ErrorCode::kUnavailable, "the program on the other side has ended");
    rest.remove_prefix(static_cast<std::size_t>(count));
  }
  return {};
}

Result<std::optional<std::string>> LineReader::next(std::optional<std::chrono::steady_clock::time_point> deadline) {
  for (;;) {
    if (const std::size_t newline = buffer_.find('\n'); newline != std::string::npos) {
      std::string line = buffer_.substr(0, newline);
      buffer_.erase(0, newline + 1);
      return line;
    }
    if (buffer_.size() > kMaxLine) return fail(ErrorCode::kCorrupt, "a line of more than {} bytes", kMaxLine);
    if (deadline) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - std::chrono::steady_clock::now());
      TRY_ASSIGN(const short events, sys::poll_one(fd_, POLLIN, std::max(left, std::chrono::milliseconds(0))));
      if (events == 0) return fail(ErrorCode::kUnavailable, "no report within the time allowed");
    }
    std::array<std::byte, 16384> chunk;
    auto count = sys::read(fd_, chunk);
    if (!count && count.error().error_number() == ECONNRESET) return std::nullopt;  // it ended with our words unread
    if (!count) return std::unexpected(count.error());
    if (*count == 0) return std::nullopt;
    buffer_.append(reinterpret_cast<const char*>(chunk.data()), *count);
  }
}

}  // namespace boxlite
