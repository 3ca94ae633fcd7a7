#include "net/network.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "net/accept.h"
#include "net/addresses.h"
#include "net/client_address.h"
#include "net/frames.h"
#include "net/name_connection.h"

namespace boxlite::net {
namespace {

// So that sockets get their turn when a guest sends without a pause.
constexpr int kFramesPerTurn = 64;

Result<Policy> make_policy(const NetConfig& config) {
  std::vector<AllowRule> rules;
  for (const std::string& text : config.allow) {
    TRY_ASSIGN(const AllowRule rule, parse_allow_rule(text));
    rules.push_back(rule);
  }
  return Policy(config.host_access, std::move(rules));
}

}  // namespace

Network::Network(const NetConfig& config, Control& control, NetCounters& counters)
    : control_(control),
      counters_(counters),
      launcher_(config.launcher),
      mtu_(config.mtu),
      nic_(UniqueFd(config.nic), {config.tx_kbps, config.rx_kbps, config.mtu}, counters),
      udp_(config.mtu, counters, [this](auto frame) { nic_.send(frame); }) {}

Result<std::unique_ptr<Network>> Network::create(const NetConfig& config, Control& control, NetCounters& counters) {
  std::unique_ptr<Network> network(new Network(config, control, counters));
  TRY(network->open(config));
  return network;
}

Result<void> Network::open(const NetConfig& config) {
  const auto answer = [this](std::uint16_t box_port, std::span<const std::uint8_t> message) {
    make_udp_frames({kGateway4, kDnsPort, box_port, message}, mtu_, [this](auto frame) { nic_.send(frame); });
  };
  names_ = std::make_unique<NameService>(config.resolvers, answer, [this] { control_.ask_resolvers(); });
  on_name_connection([this](UniqueFd client) { names_->serve_client(std::move(client)); });
  TRY_ASSIGN(Policy policy, make_policy(config));
  gate_ = std::make_unique<Gate>(std::move(policy), counters_, static_cast<GateExits&>(*this));
  TRY_ASSIGN(stack_, SlirpStack::create(config.mtu, counters_, [this](auto frame) { gate_->from_stack(frame); }));
  for (const NetListener& listener : config.listeners) {
    UniqueFd socket(listener.fd);
    if (listener.protocol == Protocol::kTcp) {
      TRY(stack_->publish_tcp(std::move(socket), listener.box_port));
    } else {
      TRY(udp_.publish(std::move(socket), listener.box_port));
    }
  }
  reserve_descriptor();
  return {};
}

void Network::run() {
  while (turn()) {
  }
}

bool Network::turn() {
  polls_.clear();
  control_.prepare(polls_);
  const int launcher = polls_.add(launcher_.get(), POLLIN);
  nic_.prepare(polls_);
  names_->prepare(polls_);
  const bool sockets = nic_.ready();
  if (sockets) {
    udp_.prepare(polls_);
    stack_->prepare(polls_);
  }
  polls_.wait();

  if (polls_.revents(launcher) != 0) return false;
  if (const auto resolvers = control_.dispatch(polls_)) names_->set_resolvers(*resolvers);
  nic_.flush();
  if (sockets) {
    udp_.dispatch(polls_);
    stack_->dispatch(polls_);
    tell_refused();
  } else {
    stack_->skip_turn();
  }
  names_->dispatch(polls_);
  if (nic_.readable(polls_)) take_frames();
  nic_.release_ack();
  return !control_.ended() && !nic_.ended();
}

void Network::take_frames() {
  for (int i = 0; i < kFramesPerTurn; ++i) {
    const auto frame = nic_.receive();
    if (!frame) return;
    gate_->from_box(*frame);
  }
}

void Network::tell_refused() {
  for (const int listener : take_refused()) {
    count(counters_.denials);
    sockaddr_storage address = {};
    socklen_t size = sizeof address;
    (void)::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    const std::string lines = refusals_.line(
        fmt::format("a client of published port {}: too many of its connections are open", socket_name(address).port),
        DenialLog::Clock::now());
    if (!lines.empty()) log(lines);
  }
}

void Network::log(std::string_view lines) {
  (void)!::write(STDERR_FILENO, lines.data(), lines.size());
  // "network: denied tcp to 192.0.2.1:80", and before it perhaps "network: 7 more denied".
  while (!lines.empty()) {
    const std::size_t end = std::min(lines.find('\n'), lines.size());
    std::string_view what = lines.substr(0, end);
    for (const std::string_view prefix : {"network: ", "denied "}) {
      if (what.starts_with(prefix)) what.remove_prefix(prefix.size());
    }
    control_.say_denied(what);
    lines.remove_prefix(std::min(end + 1, lines.size()));
  }
}

}  // namespace boxlite::net
