// boxlite network VERB. `tunnel`: one port of a box, reached through its agent; no network is needed for it.
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <charconv>

#include "base/sys.h"
#include "base/thread.h"
#include "cli/output.h"
#include "cli/session_pump.h"
#include "cli/tunnel.h"
#include "cli/verb_group.h"
#include "runtime/published_ports.h"

namespace boxlite::cli {
namespace {

constexpr int kMaxConnections = 512;  // at once
constexpr int kBacklog = 128;

Result<std::uint16_t> parse_port(const FlagSet& flags, const std::string& text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0)
    return flags.usage_error(fmt::format("\"{}\" is not a port, which is a number from 1 to 65535", text));
  return port;
}

struct Listener {
  UniqueFd socket;
  std::string name;  // as told to the user
  std::string path;  // of a Unix socket
};

Result<UniqueFd> stream_socket() {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("socket");
  return socket;
}

// A socket whose listener ended without removing it, as after kill -9.
bool is_left_behind(const sockaddr_un& address) {
  struct stat status = {};
  if (::lstat(address.sun_path, &status) < 0 || !S_ISSOCK(status.st_mode)) return false;
  const auto probe = stream_socket();
  return probe && ::connect(probe->get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 &&
         errno == ECONNREFUSED;
}

Result<Listener> listen_at_path(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return fail(ErrorCode::kInvalidArgument, "--listen unix:{}: a socket's path has 1 to {} bytes", path,
                sizeof address.sun_path - 1);
  path.copy(address.sun_path, path.size());
  TRY_ASSIGN(UniqueFd socket, stream_socket());
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  const mode_t mask = ::umask(0177);
  int bound = ::bind(socket.get(), generic, sizeof address);
  if (bound < 0 && errno == EADDRINUSE && is_left_behind(address)) {
    (void)::unlink(path.c_str());
    bound = ::bind(socket.get(), generic, sizeof address);
  }
  const int error = errno;
  ::umask(mask);
  if (bound < 0) {
    const Error refused = Error::from_errno(error, "--listen unix:" + path);
    return std::unexpected(error == EADDRINUSE ? refused.advice("another serves it, or it is no socket; choose another path")
                                               : refused);
  }
  if (::listen(socket.get(), kBacklog) < 0) return fail_errno("listen at {}", path);
  return Listener{std::move(socket), "unix:" + path, path};
}

// "[IP:]PORT", as the host's part of --publish.
Result<Listener> listen_at_port(const std::string& text) {
  BoxOptions options;
  options.publish = {text + ":1"};
  const auto requests = asked_ports(options, {});
  if (!requests || requests->size() != 1)
    return fail(ErrorCode::kInvalidArgument, "--listen {}: use [IP:]PORT, port 0 for any that is free, or unix:PATH", text);
  auto bound = bind_ports(*requests);
  if (!bound) return std::unexpected(bound.error().advice("choose another, or 0 for any that is free"));
  const PublishedPort& port = bound->front().port;
  return Listener{std::move(bound->front().fd), address_text(port.host_ip, port.host_port), ""};
}

Result<Listener> listen_at(const std::string& text) {
  constexpr std::string_view kUnix = "unix:";
  return text.starts_with(kUnix) ? listen_at_path(text.substr(kUnix.size())) : listen_at_port(text);
}

void serve_connection(Box box, std::uint16_t port, const UniqueFd& client) {
  auto session = box.tunnel(port);
  if (!session) return print_error(session.error().message());
  if (const auto relayed = relay_tunnel(*session, client.get()); !relayed) print_error(relayed.error().message());
}

// Until a signal. A connection lives in a thread of its own, and ends with this process.
Result<int> serve(const Box& box, std::uint16_t port, const Listener& listener) {
  TRY_ASSIGN(SignalWatch signals, watch_session_signals());
  TRY(print(listener.name + "\n"));
  static std::atomic<int> connections = 0;
  for (;;) {
    std::array<pollfd, 2> waited = {pollfd{listener.socket.get(), POLLIN, 0}, pollfd{signals.poll_fd(), POLLIN, 0}};
    if (::poll(waited.data(), waited.size(), -1) < 0 && errno != EINTR) return fail_errno("poll");
    while (const auto signal = signals.next()) {
      if (*signal == SIGINT || *signal == SIGTERM || *signal == SIGHUP || *signal == SIGQUIT) return 128 + *signal;
    }
    if (waited[0].revents == 0) continue;
    UniqueFd client(::accept4(listener.socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client) continue;
    if (connections >= kMaxConnections) {
      print_error(fmt::format("{} connections are open: one more was refused", kMaxConnections));
      continue;
    }
    ++connections;
    auto thread = start_thread([box, port, connection = std::move(client)] {
      serve_connection(box, port, connection);
      --connections;
    });
    if (!thread) {
      --connections;
      print_error(thread.error().message());
      continue;
    }
    thread->detach();
  }
}

Result<int> tunnel_by_pipes(Box& box, std::uint16_t port) {
  TRY_ASSIGN(SignalWatch signals, watch_session_signals());
  TRY_ASSIGN(Execution opened, box.tunnel(port));
  const auto session = std::make_shared<Execution>(std::move(opened));
  TRY_ASSIGN(const PumpEnd end, pump_session(session, signals, {.input = true, .pass_signals = false}));
  if (const auto* exit = std::get_if<ExitInfo>(&end)) return exit->code == 0 ? 0 : kExitFailure;
  if (const auto* interrupted = std::get_if<Interrupted>(&end)) return 128 + interrupted->signal;
  return 0;  // nobody reads any more
}

Result<int> verb_tunnel(Invocation& invocation) {
  FlagSet flags(invocation, "network tunnel", "[OPTIONS] BOX PORT",
                "Connect standard input and output, or a listener, to a TCP port on a box's loopback");
  std::optional<std::string> listen;
  flags.value("--listen", "[IP:]PORT|unix:PATH", listen, "Serve any number of connections there, until a signal; prints where");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->size() < 2) return flags.usage_error(operands->empty() ? "no BOX was given" : "no PORT was given");
  if (operands->size() > 2) return flags.usage_error("network tunnel takes a BOX and a PORT, got " + operands->at(2));
  TRY_ASSIGN(const std::uint16_t port, parse_port(flags, operands->at(1)));

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(Box box, runtime.get(operands->front()));
  if (!listen) return tunnel_by_pipes(box, port);
  TRY_ASSIGN(const BoxInfo info, box.info());
  if (info.status == BoxStatus::kPaused)
    return fail(ErrorCode::kInvalidState, "box {} is paused; let it go on: boxlite unpause {}", info.name, info.name);
  if (info.status != BoxStatus::kRunning)
    return fail(ErrorCode::kInvalidState, "box {} is not running; start it: boxlite start {}", info.name, info.name);
  TRY_ASSIGN(const Listener listener, listen_at(*listen));
  const Result<int> status = serve(box, port, listener);
  if (!listener.path.empty()) (void)sys::unlink(listener.path);
  if (!status) print_error(status.error().message());
  ::_exit(status.value_or(kExitFailure));  // with the threads of the connections
}

constexpr std::array kNetworkVerbs = {
    Verb{"tunnel", verb_tunnel, "Reach a TCP port in a box, also in one without a network"},
};

}  // namespace

Result<int> verb_network(Invocation& invocation) {
  return run_verb_group(invocation, "network", "Reach a port in a box", kNetworkVerbs);
}

}  // namespace boxlite::cli
