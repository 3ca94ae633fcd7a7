// The terminal that boxlite runs in.
#pragma once

#include <termios.h>

#include <optional>

#include "base/result.h"

namespace boxlite::cli {

struct WindowSize {
  unsigned rows = 0;
  unsigned columns = 0;
  bool operator==(const WindowSize&) const = default;
};

bool is_terminal(int fd);

/// Of standard output, else of standard input; nullopt when neither is a terminal.
std::optional<WindowSize> window_size();

/// While it lives, the terminal passes every key on unread: the terminal in the box does the editing and makes the signals.
class RawMode {
 public:
  static Result<RawMode> enter(int fd);
  RawMode(RawMode&& other) noexcept;
  RawMode& operator=(RawMode&&) = delete;
  ~RawMode();

 private:
  RawMode(int fd, const termios& saved) : fd_(fd), saved_(saved) {}
  int fd_;
  termios saved_;
};

}  // namespace boxlite::cli
