#include "shim/network.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <utility>

#include <fmt/ranges.h>

#include "base/sys.h"
#include "net/addresses.h"
#include "net/net_config.h"
#include "runtime/resolv_conf.h"
#include "shim/log.h"

namespace boxlite::shim {
namespace {

constexpr std::uint64_t kLogLimit = 256 * 1024;
constexpr std::size_t kMaxLine = 4096;
constexpr auto kEndPatience = std::chrono::seconds(5);

std::string mac_text(const net::MacAddress& mac) { return fmt::format("{:02x}", fmt::join(mac, ":")); }

net::NetConfig net_config(const ShimConfig& config) {
  const BoxOptions& options = config.box.options;
  net::NetConfig result;
  result.mtu = net::kMaxMtu;
  result.host_access = options.host_access;
  result.allow = options.allow_net;
  if (!result.allow.empty()) {
    // What other flags name is meant too.
    for (const std::string& server : options.dns) {
      result.allow.push_back(server.find(':') == std::string::npos ? server + ":53" : "[" + server + "]:53");
    }
    if (options.host_access) result.allow.insert(result.allow.end(), {net::kHostAlias4.text(), net::kHostAlias6.text()});
  }
  result.tx_kbps = options.net_tx_kbps;
  result.rx_kbps = options.net_rx_kbps;
  result.uid = config.vm.uid;
  for (const ListenerRecord& listener : config.listeners) {
    result.listeners.push_back({.fd = listener.fd,
                                .protocol = net::protocol_from_name(listener.port.protocol).value_or(net::Protocol::kTcp),
                                .box_port = listener.port.box_port,
                                .ipv6 = listener.port.host_ip.find(':') != std::string::npos});
  }
  result.resolvers = host_resolver().servers;
  return result;
}

}  // namespace

Result<std::unique_ptr<Network>> Network::launch(EventLoop& loop, const ShimConfig& config, const HomePaths& paths, int lock_fd,
                                                 int cgroup, Events events) {
  std::vector<UniqueFd> listeners;  // ours no longer, whatever comes
  for (const ListenerRecord& listener : config.listeners) listeners.emplace_back(listener.fd);
  TRY_ASSIGN(sys::SocketPair nic, sys::socket_pair(SOCK_DGRAM));
  TRY_ASSIGN(sys::SocketPair control, sys::socket_pair());
  TRY_ASSIGN(sys::Pipe complaints, sys::pipe());
  TRY_ASSIGN(const UniqueFd counters, net::create_counters());
  TRY_ASSIGN(net::CounterMap map, net::CounterMap::map(counters.get(), net::CounterMap::Access::kRead));
  TRY_ASSIGN(BoundedLog log_file, BoundedLog::open(paths.net_log(config.box_id), kLogLimit));
  const UniqueFd launcher(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  if (!launcher) return fail_errno("pidfd_open of this process");

  net::NetConfig told = net_config(config);
  told.nic = nic.b.get();
  told.launcher = launcher.get();
  told.counters = counters.get();
  told.lock = lock_fd;
  ProcessSpec spec;
  spec.program = config.net_program;
  spec.cgroup = cgroup;
  spec.argv = {"boxlite-net", config.box_id};
  spec.stdin_fd = control.b.get();
  spec.stderr_fd = complaints.write_end.get();
  spec.inherit = {told.nic, told.launcher, told.counters, told.lock};
  for (const UniqueFd& listener : listeners) spec.inherit.push_back(listener.get());
  auto child = ChildProcess::spawn(spec);
  if (!child) return std::unexpected(child.error().context("start the network of the box"));

  std::unique_ptr<Network> network(new Network(loop, std::move(events), std::move(map)));
  network->process_.emplace(std::move(*child));
  network->nic_ = std::move(nic.a);
  network->control_ = std::move(control.a);
  network->complaints_ = std::move(complaints.read_end);
  TRY(sys::set_nonblocking(network->control_.get(), true));
  TRY(sys::set_nonblocking(network->complaints_.get(), true));
  network->log_.emplace(loop, network->complaints_.get(), std::move(log_file));
  network->end_watch_.emplace(loop, network->process_->pidfd());
  network->end_watch_->on_readable([raw = network.get()] { raw->on_end(); });
  network->control_watch_.emplace(loop, network->control_.get());
  network->resolvers_ = told.resolvers;
  network->wait_for_line();
  network->say(to_json(told));
  return network;
}

Network::~Network() {
  events_ = {};
  control_watch_.reset();
  end_watch_.reset();
  log_.reset();
  if (!process_ || reaped_) return;
  // It has nothing to save, and one that is stopped or hangs would not hear of anything else. The kernel closes its connections.
  (void)process_->kill(SIGKILL);
  const auto ended = wait_process_end(process_->pidfd(), kEndPatience);
  if (ended && *ended) (void)process_->wait();
}

vmm::Nic guest_nic(int fd) { return {.fd = fd, .mac = mac_text(net::kGuestMac), .mtu = net::kMaxMtu}; }

vmm::Nic Network::nic() const { return guest_nic(nic_.get()); }

void Network::describe(proto::Configure& configure) {
  proto::Network& network = *configure.mutable_network();
  network.set_address4(net::kGuest4.text());
  network.set_prefix4(net::kPrefix4);
  network.set_gateway4(net::kGateway4.text());
  network.set_address6(net::kGuest6.text());
  network.set_prefix6(net::kPrefix6);
  network.set_gateway6(net::kGateway6.text());
  network.set_mtu(net::kMaxMtu);
}

NetworkUsage Network::usage() const {
  const net::NetCounters& now = *counters_;
  return {.tx_bytes = now.tx_bytes,
          .tx_packets = now.tx_packets,
          .rx_bytes = now.rx_bytes,
          .rx_packets = now.rx_packets,
          .connections = now.tcp_outward + now.tcp_inward + now.udp_flows,
          .denials = now.denials,
          .dropped = now.dropped};
}

void Network::wait_for_line() {
  control_watch_->on_readable([this] { read_lines(); });
}

void Network::read_lines() {
  std::array<char, 1024> buffer;
  const ssize_t count = ::recv(control_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (count == 0) return;  // its end is told by its pidfd, with the reason
  if (count > 0) input_.append(buffer.data(), static_cast<std::size_t>(count));
  for (std::size_t newline = 0; (newline = input_.find('\n')) != std::string::npos;) {
    const std::string line = input_.substr(0, newline);
    input_.erase(0, newline + 1);
    on_line(line);
  }
  if (input_.size() > kMaxLine) return fail_once(Error(ErrorCode::kInternal, "its network process broke the protocol"));
  wait_for_line();
}

void Network::on_line(const std::string& line) {
  const auto json = parse_json(line, "word of the network process");
  if (!json) return fail_once(json.error());
  if (json->contains("error")) {
    return fail_once(
        Error(ErrorCode::kInternal, "its network process: " + json_get<std::string>(*json, "error", "it").value_or("")));
  }
  if (json->contains("denied")) {
    const auto what = json_get<std::string>(*json, "denied", "word of the network process");
    if (what && events_.denied) events_.denied(*what);
    return;
  }
  if (json->contains("ask")) {
    // One that cannot be read any more (confinement.cc) was another before.
    if (auto now = read_host_resolver()) resolvers_ = std::move(now->servers);
    say({{"resolvers", resolvers_}});
  }
}

// A process that does not read its few lines gets no more of them.
void Network::say(const Json& message) {
  const std::string line = dump_json(message) + "\n";
  const ssize_t sent = ::send(control_.get(), line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent > 0 && static_cast<std::size_t>(sent) < line.size())
    fail_once(Error(ErrorCode::kInternal, "its network process does not listen"));
}

void Network::on_end() {
  const auto status = process_->wait();
  reaped_ = true;
  std::string how = "ended";
  if (status)
    how = status->signal > 0 ? fmt::format("was ended by signal {}", status->signal)
                             : fmt::format("ended with status {}", status->code);
  const std::string words = log_->last_lines(2);
  fail_once(Error(ErrorCode::kUnavailable, fmt::format("its network process {}{}{}", how, words.empty() ? "" : ": ", words)));
}

void Network::fail_once(const Error& error) {
  if (const auto failed = std::exchange(events_.failed, nullptr)) failed(error);
}

}  // namespace boxlite::shim
