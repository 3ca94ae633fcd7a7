#include "shim/starter.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/unix_socket.h"
#include "runtime/line_channel.h"

namespace boxlite::shim {
namespace {

constexpr std::string_view kGo = "go\n";

const char* name_of(ShimReport report) {
  switch (report) {
    case ShimReport::kLease:
      return "lease";
    case ShimReport::kPrepared:
      return "prepared";
    case ShimReport::kRunning:
      return "running";
    case ShimReport::kFailed:
      break;
  }
  return "failed";
}

bool at_end(int socket) {
  char byte = 0;
  return ::recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

}  // namespace

Result<std::optional<ShimConfig>> read_config(int socket) {
  LineReader reader(socket);
  TRY_ASSIGN(const std::optional<std::string> line, reader.next(std::nullopt));
  if (!line || at_end(socket)) return std::nullopt;
  TRY_ASSIGN(const Json json, parse_json(*line, "shim configuration"));
  return shim_config_from_json(json);
}

Starter::Starter(EventLoop& loop, UniqueFd socket) : loop_(loop), socket_(std::move(socket)) {
  watch_.emplace(loop_, socket_.get());
  wait();
}

bool Starter::gone() const { return !socket_ || at_end(socket_.get()); }

void Starter::send(const Json& message) {
  if (!socket_) return;
  const std::string line = dump_json(message) + "\n";
  (void)::send(socket_.get(), line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void Starter::report(ShimReport report) {
  Json message = {{"report", name_of(report)}};
  if (!steps_.empty()) message["steps"] = std::exchange(steps_, Json::array());
  send(message);
}

void Starter::note(std::string_view what) {
  steps_.push_back({what, std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1)});
}

void Starter::report_failure(const Error& error, bool of_template) {
  Json report = {
      {"report", name_of(ShimReport::kFailed)}, {"code", std::string(name(error.code()))}, {"message", error.message()}};
  if (of_template) report["template"] = true;
  send(report);
}

void Starter::wait() {
  watch_->on_readable([this] { read_some(); });
}

void Starter::read_some() {
  std::array<char, 64> buffer;
  const ssize_t count = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return wait();
  if (count <= 0) return starter_gone();
  input_.append(buffer.data(), static_cast<std::size_t>(count));
  if (input_.size() > kGo.size()) return starter_gone();  // it speaks another language: it has nothing to tell us
  wait();
  if (input_ == kGo && !std::exchange(go_, true) && on_go_) std::exchange(on_go_, nullptr)();
}

void Starter::starter_gone() {
  watch_.reset();
  socket_.reset();
  if (!owner_) owner_gone();
  if (!std::exchange(go_, true) && on_go_) std::exchange(on_go_, nullptr)();
}

void Starter::on_go(std::function<void()> callback) {
  if (go_) return loop_.post(std::move(callback));
  on_go_ = std::move(callback);
}

void Starter::watch_owner(std::function<void()> callback) {
  on_owner_gone_ = std::move(callback);
  if (!socket_) return loop_.post([this] { owner_gone(); });
  const auto peer = peer_credentials(socket_.get());
  if (peer && peer->pid > 0) owner_.reset(static_cast<int>(::syscall(SYS_pidfd_open, peer->pid, 0)));
  if (!owner_) return;  // already gone, or not visible from here: the socket's end tells
  owner_watch_.emplace(loop_, owner_.get());
  owner_watch_->on_readable([this] { owner_gone(); });
  // Had the starter ended before the pidfd was opened, its pid could be another's by now; but then the socket is at its end.
  if (gone()) {
    owner_watch_.reset();
    owner_.reset();
  }
}

void Starter::owner_gone() {
  owner_watch_.reset();
  if (on_owner_gone_) std::exchange(on_owner_gone_, nullptr)();
}

void Starter::close() {
  if (on_owner_gone_ && !owner_) return;  // the socket is what tells about the owner
  watch_.reset();
  socket_.reset();
}

}  // namespace boxlite::shim
