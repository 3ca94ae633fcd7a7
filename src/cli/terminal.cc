#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <utility>

namespace boxlite::cli {

bool is_terminal(int fd) { return ::isatty(fd) == 1; }

std::optional<WindowSize> window_size() {
  for (const int fd : {STDOUT_FILENO, STDIN_FILENO}) {
    winsize size{};
    if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0) return WindowSize{size.ws_row, size.ws_col};
  }
  return std::nullopt;
}

Result<RawMode> RawMode::enter(int fd) {
  termios saved{};
  if (::tcgetattr(fd, &saved) < 0) return fail_errno("read the terminal's settings");
  termios raw = saved;
  ::cfmakeraw(&raw);
  if (::tcsetattr(fd, TCSADRAIN, &raw) < 0) return fail_errno("set the terminal to raw mode");
  return RawMode(fd, saved);
}

RawMode::RawMode(RawMode&& other) noexcept : fd_(std::exchange(other.fd_, -1)), saved_(other.saved_) {}

RawMode::~RawMode() {
  if (fd_ >= 0) ::tcsetattr(fd_, TCSADRAIN, &saved_);
}

}  // namespace boxlite::cli
