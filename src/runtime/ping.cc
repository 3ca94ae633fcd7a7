#include "runtime/ping.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <thread>
#include <utility>

#include "base/json.h"
#include "base/sys.h"
#include "base/unix_socket.h"
#include "runtime/control.h"
#include "runtime/network_usage.h"
#include "runtime/process_tree.h"

namespace boxlite {
namespace {

constexpr std::string_view kPing = "control 1\n{\"call\":\"ping\"}\n";
constexpr std::size_t kMaxPingAnswer = 4096;
constexpr std::size_t kMaxPingReason = 200;
// Beyond the deadline, for a shim that is at work: on a busy host it may have had no CPU, nor may we.
constexpr auto kBusyPatience = std::chrono::seconds(10);
constexpr auto kBusyPause = std::chrono::milliseconds(100);

struct Call {
  UniqueFd socket;
  std::string answer;
  PingResult result = PingResult::kSilent;
  bool done = false;
  bool queue_full = false;  // to be tried again

  void finish(PingResult with) {
    result = with;
    done = true;
    socket.reset();
  }
};

// Not connect_unix(): that one blocks while the listener's queue is full, as a stopped shim's may be.
void begin(Call& call, const std::string& directory) {
  call.queue_full = false;
  const auto folder = sys::open(directory, O_PATH | O_DIRECTORY);
  if (!folder) return call.finish(PingResult::kRefused);
  call.socket.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!call.socket) return call.finish(PingResult::kSilent);
  struct sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string path = fmt::format("/proc/self/fd/{}/{}", folder->get(), kPortalSocket);
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (::connect(call.socket.get(), reinterpret_cast<const struct sockaddr*>(&address), sizeof address) < 0) {
    if (errno == EAGAIN) {
      call.queue_full = true;
      return;
    }
    return call.finish(PingResult::kRefused);
  }
  if (::send(call.socket.get(), kPing.data(), kPing.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(kPing.size())) {
    call.finish(PingResult::kRefused);
  }
}

void receive(Call& call) {
  char buffer[512];
  const ssize_t count = ::recv(call.socket.get(), buffer, sizeof buffer, 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count > 0) call.answer.append(buffer, static_cast<std::size_t>(count));
  if (call.answer.find('\n') != std::string::npos) return call.finish(PingResult::kAnswered);
  if (count <= 0 || call.answer.size() > kMaxPingAnswer) call.finish(PingResult::kRefused);
}

// unix(7): the peer of a connection is who listens.
bool at_work(const Call& call) {
  if (call.done || call.queue_full) return false;
  const auto peer = peer_credentials(call.socket.get());
  return peer && is_at_work(peer->pid);
}

constexpr std::string_view kPingAnswer = "answer to a ping";

// Any whole line is a sign of life, be it that the shim refuses this protocol version; only what is understood is told.
PingAnswer understand(const std::string& answer) {
  PingAnswer result = {.result = PingResult::kAnswered, .paused = {}, .paused_by_user = false, .network_usage = {}};
  const auto json = parse_json(answer.substr(0, answer.find('\n')), kPingAnswer);
  if (!json) return result;
  result.paused = json_get_or<std::string>(*json, "paused", kPingAnswer, "").value_or("").substr(0, kMaxPingReason);
  result.paused_by_user = json_get_or<bool>(*json, "paused_by_user", kPingAnswer, false).value_or(false);
  if (json->is_object() && json->contains("network")) result.network_usage = network_usage_from_json(json->at("network"));
  return result;
}

}  // namespace

std::vector<PingAnswer> ping_shims(const std::vector<std::string>& box_directories,
                                   std::chrono::steady_clock::time_point deadline, int interrupt_fd) {
  const auto latest = deadline + kBusyPatience;
  bool was_idle = false;
  std::vector<Call> calls(box_directories.size());
  for (std::size_t i = 0; i < calls.size(); ++i) begin(calls[i], box_directories[i]);
  for (;;) {
    std::vector<struct pollfd> polled;
    std::vector<Call*> waiting;
    bool retry = false;
    for (Call& call : calls) {
      if (call.done) continue;
      retry |= call.queue_full;
      if (call.queue_full) continue;
      polled.push_back({call.socket.get(), POLLIN, 0});
      waiting.push_back(&call);
    }
    if (polled.empty() && !retry) break;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    const bool late = left.count() <= 0;
    polled.push_back({interrupt_fd, POLLIN, 0});
    const auto most = std::chrono::milliseconds(retry ? 10 : 60000);
    const int timeout = static_cast<int>(late ? 0 : std::min(left, most).count());
    if (::poll(polled.data(), polled.size(), timeout) < 0 && errno != EINTR) break;
    if (polled.back().revents != 0) break;
    for (std::size_t i = 0; i < waiting.size(); ++i) {
      if (polled[i].revents != 0) receive(*waiting[i]);
    }
    for (std::size_t i = 0; i < calls.size(); ++i) {
      if (!calls[i].done && calls[i].queue_full) begin(calls[i], box_directories[i]);
    }
    if (!late) continue;
    // What has come by now counts, however late it is read; who does nothing any more may have answered in between.
    const auto now = std::chrono::steady_clock::now();
    const bool idle = std::ranges::none_of(calls, at_work);
    if (now >= latest || (idle && std::exchange(was_idle, true))) break;
    was_idle = idle;
    deadline = idle ? now : now + kBusyPause;
  }
  std::vector<PingAnswer> answers;
  answers.reserve(calls.size());
  for (const Call& call : calls) {
    answers.push_back(call.result == PingResult::kAnswered
                          ? understand(call.answer)
                          : PingAnswer{.result = call.result, .paused = {}, .paused_by_user = false, .network_usage = {}});
  }
  return answers;
}

}  // namespace boxlite
