// The socket to the shim, this process's standard input: JSON lines (docs/formats/network.md). Its end is this process's end.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/net_config.h"
#include "net/poll_set.h"

namespace boxlite::net {

class Control {
 public:
  explicit Control(int fd) : fd_(fd) {}

  /// Waits for the first line.
  Result<NetConfig> read_config();

  void say_ready();
  void say_error(const Error& error);
  void ask_resolvers();
  /// Of a connection that was refused; not said when the shim is slow to read.
  void say_denied(std::string_view what);

  void prepare(PollSet& polls) { poll_index_ = polls.add(fd_, POLLIN); }
  /// The name servers, if the shim has sent any. Sets ended() when the shim is gone, or says what it must not.
  std::optional<std::vector<std::string>> dispatch(const PollSet& polls);
  bool ended() const { return ended_; }

 private:
  static constexpr std::size_t kMaxLine = 1024 * 1024;
  static constexpr int kMaxWaiting = 32 * 1024;  // a socket takes some 200 KiB, with what the kernel adds
  /// Reads once; false at the end.
  bool read_more(int flags);
  std::optional<std::string> take_line();
  void say(std::string_view line);

  int fd_;
  std::string buffer_;
  int poll_index_ = -1;
  bool ended_ = false;
};

}  // namespace boxlite::net
