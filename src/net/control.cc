#include "net/control.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace boxlite::net {

bool Control::read_more(int flags) {
  std::array<char, 16384> chunk;
  const ssize_t size = ::recv(fd_, chunk.data(), chunk.size(), flags);
  if (size < 0) return errno == EINTR || errno == EAGAIN;
  buffer_.append(chunk.data(), static_cast<std::size_t>(size));
  return size > 0 && buffer_.size() <= kMaxLine;
}

std::optional<std::string> Control::take_line() {
  const std::size_t newline = buffer_.find('\n');
  if (newline == std::string::npos) return std::nullopt;
  std::string line = buffer_.substr(0, newline);
  buffer_.erase(0, newline + 1);
  return line;
}

Result<NetConfig> Control::read_config() {
  for (;;) {
    if (const auto line = take_line()) {
      TRY_ASSIGN(const Json json, parse_json(*line, "configuration of the network"));
      return net_config_from_json(json);
    }
    if (!read_more(0)) return fail(ErrorCode::kUnavailable, "the shim went before its configuration was whole");
  }
}

void Control::say(std::string_view line) {
  std::string text(line);
  text.push_back('\n');
  // Lines are short and few, and the shim reads them: a socket that takes none has nobody behind it.
  if (::send(fd_, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT) != static_cast<ssize_t>(text.size())) ended_ = true;
}

void Control::say_ready() { say(R"({"ready":true})"); }
void Control::say_error(const Error& error) { say(dump_json({{"error", error.message()}})); }
void Control::say_denied(std::string_view what) {
  // How many there are the guest decides: they leave room for what must be said.
  int waiting = 0;
  if (::ioctl(fd_, SIOCOUTQ, &waiting) < 0 || waiting > kMaxWaiting) return;
  say(dump_json({{"denied", what}}));
}

void Control::ask_resolvers() { say(R"({"ask":"resolvers"})"); }

std::optional<std::vector<std::string>> Control::dispatch(const PollSet& polls) {
  if (polls.revents(poll_index_) == 0) return std::nullopt;
  if (!read_more(MSG_DONTWAIT)) ended_ = true;
  std::optional<std::vector<std::string>> resolvers;
  while (const auto line = take_line()) {
    const auto json = parse_json(*line, "word of the shim");
    auto list = json ? json_get<std::vector<std::string>>(*json, "resolvers", "word of the shim") : std::unexpected(json.error());
    if (!list) {
      ended_ = true;
      return std::nullopt;
    }
    resolvers = std::move(*list);
  }
  return resolvers;
}

}  // namespace boxlite::net
