#include "net/udp_publisher.h"

#include <algorithm>
#include <array>

#include "net/frames.h"

namespace boxlite::net {
namespace {

constexpr int kDatagramsPerTurn = 64;

}  // namespace

Result<void> UdpPublisher::publish(UniqueFd socket, std::uint16_t box_port) {
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_DGRAM)
    return fail(ErrorCode::kInvalidArgument, "descriptor {} for port {} is no UDP socket", socket.get(), box_port);
  listeners_.push_back({std::move(socket), box_port});
  return {};
}

void UdpPublisher::prepare(PollSet& polls) {
  for (Listener& listener : listeners_) listener.poll_index = polls.add(listener.socket.get(), POLLIN);
}

void UdpPublisher::dispatch(const PollSet& polls) {
  for (std::size_t i = 0; i < listeners_.size(); ++i) {
    if (polls.revents(listeners_[i].poll_index) != 0) receive(i);
  }
}

void UdpPublisher::receive(std::size_t listener) {
  static std::array<std::uint8_t, 65536> buffer;
  for (int i = 0; i < kDatagramsPerTurn; ++i) {
    sockaddr_storage address = {};
    socklen_t address_size = sizeof address;
    const ssize_t size = ::recvfrom(listeners_[listener].socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT,
                                    reinterpret_cast<sockaddr*>(&address), &address_size);
    if (size < 0) return;
    const SocketName name = socket_name(address);
    const auto flow = flow_of({listener, name.address, name.port}, address, address_size);
    const Visible& visible = flow->visible;
    make_udp_frames({visible.address, visible.port, visible.box_port, std::span(buffer).first(static_cast<std::size_t>(size))},
                    mtu_, output_);
  }
}

UdpPublisher::Visible UdpPublisher::choose_visible(const Client& client) const {
  const std::uint16_t box_port = listeners_[client.listener].box_port;
  if (const auto own = visible_client(client.address)) {
    const Visible visible{*own, client.port, box_port};
    if (!by_visible_.contains(visible)) return visible;
  }
  Visible visible{kHostAlias4, std::max<std::uint16_t>(client.port, 1024), box_port};
  while (by_visible_.contains(visible))
    visible.port = visible.port == 65535 ? std::uint16_t{1024} : static_cast<std::uint16_t>(visible.port + 1);
  return visible;
}

UdpPublisher::Flows::iterator UdpPublisher::flow_of(const Client& client, const sockaddr_storage& address, socklen_t size) {
  if (const auto known = by_client_.find(client); known != by_client_.end()) {
    flows_.splice(flows_.begin(), flows_, known->second);
    return known->second;
  }
  if (flows_.size() == kMaxFlows) {
    by_visible_.erase(flows_.back().visible);
    by_client_.erase(flows_.back().client);
    flows_.pop_back();
  }
  flows_.push_front({choose_visible(client), client, address, size});
  by_visible_[flows_.front().visible] = flows_.begin();
  by_client_[client] = flows_.begin();
  count(counters_.udp_flows);
  return flows_.begin();
}

bool UdpPublisher::reply(const Packet& packet) {
  const auto found = by_visible_.find({packet.destination, packet.destination_port, packet.source_port});
  if (found == by_visible_.end()) return false;
  const Flow& flow = *found->second;
  const auto data = packet.udp_data();
  if (::sendto(listeners_[flow.client.listener].socket.get(), data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
               reinterpret_cast<const sockaddr*>(&flow.address), flow.address_size) < 0)
    count(counters_.dropped);
  flows_.splice(flows_.begin(), flows_, found->second);
  return true;
}

}  // namespace boxlite::net
