#include "shim/log_pump.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <span>
#include <vector>

#include "runtime/printable.h"

namespace boxlite::shim {
namespace {

constexpr std::size_t kTail = 4096;
constexpr std::size_t kMaxConsoleLine = 200;

}  // namespace

LogPump::LogPump(EventLoop& loop, int fd, std::optional<BoundedLog> log) : fd_(fd), watch_(loop, fd), log_(std::move(log)) {
  wait();
}

void LogPump::wait() {
  watch_.on_readable([this] { read_some(); });
}

void LogPump::read_some() {
  // Once in a turn of the loop: whoever writes faster than we read must not keep everybody else from theirs.
  std::array<char, 4096> buffer;
  const ssize_t count = ::read(fd_, buffer.data(), buffer.size());
  if (count < 0 && (errno == EINTR || errno == EAGAIN)) return wait();
  if (count > 0) {
    const std::string_view text(buffer.data(), static_cast<std::size_t>(count));
    // A full disk costs log lines, not the box.
    if (log_) (void)log_->append(text);
    tail_ += text;
    if (tail_.size() > 2 * kTail) tail_.erase(0, tail_.size() - kTail);
    return wait();
  }
  ended_ = true;
  if (on_end_) std::exchange(on_end_, nullptr)();
}

void LogPump::on_end(std::function<void()> callback) {
  if (ended_) return callback();
  on_end_ = std::move(callback);
}

std::string LogPump::last_lines(std::size_t count) const {
  std::vector<std::string> lines;
  std::string_view rest = tail_;
  while (!rest.empty() && lines.size() < count) {
    const std::size_t newline = rest.rfind('\n');
    std::string_view line = newline == std::string_view::npos ? rest : rest.substr(newline + 1);
    rest = newline == std::string_view::npos ? std::string_view() : rest.substr(0, newline);
    const std::size_t last = line.find_last_not_of(" \t\r");
    if (last != std::string_view::npos) lines.push_back(printable(line.substr(0, last + 1), kMaxConsoleLine));
  }
  std::string joined;
  for (auto it = lines.rbegin(); it != lines.rend(); ++it) joined += (joined.empty() ? "" : " | ") + *it;
  return joined;
}

}  // namespace boxlite::shim
