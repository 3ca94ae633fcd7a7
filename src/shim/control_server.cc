#include "shim/control_server.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>

#include "base/unix_socket.h"

namespace boxlite::shim {
namespace {

constexpr std::size_t kMaxGreeting = 64;
constexpr std::size_t kMaxCall = std::size_t{64} * 1024;
constexpr auto kNoDescriptorPause = std::chrono::milliseconds(100);

}  // namespace

Json error_answer(const Error& error) {
  return {{"error", {{"code", std::string(name(error.code()))}, {"message", error.message()}}}};
}

// One connection until it is known what it is, and a control connection until it is answered.
class ControlServer::Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(ControlServer& server, UniqueFd socket)
      : server_(server), socket_(std::move(socket)), watch_(std::in_place, server.loop_, socket_.get()) {}

  void read_next() {
    watch_->on_readable([this] { read_some(); });
  }

 private:
  void read_some() {
    std::array<char, 4096> buffer;
    const ssize_t count = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return read_next();
    if (count <= 0) return close();
    if (client_has_gone()) return close();
    input_.append(buffer.data(), static_cast<std::size_t>(count));
    if (!is_control_) {
      const std::size_t newline = input_.find('\n');
      if (newline == std::string::npos) return input_.size() > kMaxGreeting ? refuse("no greeting") : read_next();
      const std::string greeting = input_.substr(0, newline);
      input_.erase(0, newline + 1);
      if (greeting == "agent 1") return hand_over(server_.handler_.on_agent);
      if (greeting == "checkpoint 1" && server_.handler_.on_checkpoint) return hand_over(server_.handler_.on_checkpoint);
      if (greeting != "control 1") return refuse("it does not know what a newer boxlite asks; stop the box and start it again");
      is_control_ = true;
    }
    const std::size_t newline = input_.find('\n');
    if (newline == std::string::npos) return input_.size() > kMaxCall ? refuse("the call is too long") : read_next();
    const auto call = parse_json(std::string_view(input_).substr(0, newline), "control call");
    if (!call) return answer(error_answer(call.error()));
    server_.handler_.on_call(*call, [weak = weak_from_this()](const Json& reply) {
      if (const auto self = weak.lock()) self->answer(reply);
    });
  }

  // Such a client was told that its call failed: if this shim stood still, its signal must not come as a surprise now. One that
  // has only shut down its writing side still waits for an answer.
  bool client_has_gone() const {
    pollfd state{socket_.get(), 0, 0};
    return ::poll(&state, 1, 0) > 0 && (state.revents & (POLLHUP | POLLERR)) != 0;
  }

  void hand_over(const std::function<void(UniqueFd, std::string)>& taker) {
    const auto self = shared_from_this();
    watch_.reset();
    UniqueFd socket = std::move(socket_);
    close();
    taker(std::move(socket), std::move(input_));
  }

  void refuse(const char* why) {
    answer(error_answer(Error(ErrorCode::kUnsupported, fmt::format("boxlite-shim {}: {}", BOXLITE_VERSION, why))));
  }

  // An answer is far smaller than a socket's buffer, and a connection gets one: it always fits.
  void answer(const Json& reply) {
    const std::string line = dump_json(reply) + "\n";
    (void)::send(socket_.get(), line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    close();
  }

  void close() {
    const auto self = shared_from_this();
    watch_.reset();
    socket_.reset();
    server_.connections_.remove(self);
  }

  ControlServer& server_;
  UniqueFd socket_;
  std::optional<Watch> watch_;
  std::string input_;
  bool is_control_ = false;
};

ControlServer::ControlServer(EventLoop& loop, UniqueFd listener, Handler handler)
    : loop_(loop), listener_(std::move(listener)), watch_(loop, listener_.get()), handler_(std::move(handler)), pause_(loop) {
  accept_next();
}

ControlServer::~ControlServer() = default;

void ControlServer::accept_next() {
  watch_.on_readable([this] { accept_all(); });
}

void ControlServer::accept_all() {
  for (;;) {
    UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      // Out of descriptors: the connection stays in the queue, and asking again at once would spin.
      if (errno != EAGAIN) return pause_.start(kNoDescriptorPause, [this] { accept_next(); });
      return accept_next();
    }
    const auto peer = peer_credentials(socket.get());
    if (!peer || (peer->uid != ::geteuid() && peer->uid != 0)) continue;
    connections_.push_back(std::make_shared<Connection>(*this, std::move(socket)));
    connections_.back()->read_next();
  }
}

}  // namespace boxlite::shim
