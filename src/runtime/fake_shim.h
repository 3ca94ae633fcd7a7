// For tests: a portal.sock whose connections are answered by a function, each on a thread of its own.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "agent.pb.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/unix_socket.h"
#include "portal/message_codec.h"
#include "runtime/control.h"

namespace boxlite {

/// The shim's end of one connection. Reads return what came before the client closed.
class FakeConnection {
 public:
  explicit FakeConnection(UniqueFd socket) : socket_(std::move(socket)) {}
  int fd() const { return socket_.get(); }
  void close() { socket_.reset(); }

  std::string read_line() {
    std::string line;
    std::byte byte;
    while (*sys::read(fd(), std::span(&byte, 1)) == 1) {
      line += static_cast<char>(byte);
      if (byte == std::byte{'\n'}) break;
    }
    return line;
  }
  void write(std::string_view text) {
    while (!text.empty()) {
      const ssize_t count = ::send(fd(), text.data(), text.size(), MSG_NOSIGNAL);
      if (count <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(count));
    }
  }

  /// The next message; false when the client closed.
  bool read(google::protobuf::MessageLite& message) {
    for (;;) {
      if (*reader_.next(message)) return true;
      std::byte buffer[4096];
      const auto count = sys::read(fd(), buffer);
      if (!count || *count == 0) return false;
      reader_.feed(std::span(buffer).first(*count));
    }
  }
  void write(const google::protobuf::MessageLite& message) { write(*portal::encode_message(message)); }

 private:
  UniqueFd socket_;
  portal::MessageReader reader_;
};

class FakeShim {
 public:
  explicit FakeShim(std::function<void(FakeConnection&)> serve)
      : serve_(std::move(serve)),
        listener_(*listen_unix(dir_.path(), kPortalSocket)),
        stop_(*sys::pipe()),
        thread_([this] { run(); }) {}
  ~FakeShim() {
    stop_.write_end.reset();
    thread_.join();
    for (std::thread& connection : connections_) connection.join();
  }
  const std::string& box_directory() const { return dir_.path(); }

 private:
  void run() {
    for (;;) {
      pollfd polled[] = {{listener_.get(), POLLIN, 0}, {stop_.read_end.get(), POLLIN, 0}};
      if (::poll(polled, 2, -1) < 0) return;
      if (polled[0].revents == 0) return;  // stopped, and every connection made before has been accepted
      UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!socket) continue;
      connections_.emplace_back([this, accepted = std::move(socket)]() mutable {
        FakeConnection connection(std::move(accepted));
        serve_(connection);
      });
    }
  }

  TempDir dir_ = *TempDir::create("/tmp", "boxlite-fake-shim-");
  std::function<void(FakeConnection&)> serve_;
  UniqueFd listener_;
  sys::Pipe stop_;
  std::vector<std::thread> connections_;
  std::thread thread_;
};

}  // namespace boxlite
