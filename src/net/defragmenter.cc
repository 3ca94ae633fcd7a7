#include "net/defragmenter.h"

#include <algorithm>

#include "net/wire.h"

namespace boxlite::net {
namespace {

constexpr auto kPatience = std::chrono::seconds(30);
constexpr std::size_t kMaxData = 65535 - kIp4Header;

}  // namespace

std::list<Defragmenter::Datagram>::iterator Defragmenter::find(const Packet& fragment, Clock::time_point now) {
  while (!datagrams_.empty() && now - datagrams_.front().begun > kPatience) datagrams_.pop_front();
  const std::uint16_t id = get16(fragment.ip(), 4);
  const auto found = std::ranges::find_if(datagrams_, [&](const Datagram& datagram) {
    return datagram.id == id && datagram.protocol == fragment.protocol && datagram.destination == fragment.destination;
  });
  if (found != datagrams_.end()) return found;
  if (datagrams_.size() == kMaxDatagrams) datagrams_.pop_front();
  Datagram datagram;
  datagram.destination = fragment.destination;
  datagram.id = id;
  datagram.protocol = fragment.protocol;
  datagram.begun = now;
  return datagrams_.insert(datagrams_.end(), std::move(datagram));
}

Defragmenter::Added Defragmenter::add_to(Datagram& datagram, const Packet& fragment) {
  const std::uint16_t field = get16(fragment.ip(), 6);
  const std::size_t offset = static_cast<std::size_t>(field & 0x1fff) * 8;
  const bool more = (field & 0x2000) != 0;
  const auto part = fragment.transport();
  const std::size_t end = offset + part.size();
  if (part.empty() || end > kMaxData || (more && part.size() % 8 != 0)) return Added::kBroken;
  if (!more && datagram.length != 0) return Added::kBroken;
  if (!more) datagram.length = end;
  if (datagram.length != 0 && (end > datagram.length || datagram.data.size() > datagram.length)) return Added::kBroken;

  if (datagram.data.size() < end) datagram.data.resize(end);
  if (datagram.present.size() < (end + 7) / 8) datagram.present.resize((end + 7) / 8);
  for (std::size_t unit = offset / 8; unit < (end + 7) / 8; ++unit) {
    if (datagram.present[unit]) return Added::kBroken;
    datagram.present[unit] = true;
  }
  std::ranges::copy(part, datagram.data.begin() + static_cast<std::ptrdiff_t>(offset));
  datagram.received += part.size();
  if (offset == 0)
    datagram.headers.assign(fragment.frame.begin(), fragment.frame.begin() + static_cast<std::ptrdiff_t>(fragment.transport_at));
  return datagram.length != 0 && datagram.received == datagram.length ? Added::kWhole : Added::kMore;
}

std::vector<std::uint8_t> Defragmenter::assemble(const Datagram& datagram) {
  std::vector<std::uint8_t> frame = datagram.headers;
  frame.insert(frame.end(), datagram.data.begin(), datagram.data.end());
  const auto ip = std::span(frame).subspan(kEthernetHeader);
  put16(ip, 2, ip.size());
  put16(ip, 6, 0);
  put16(ip, 10, 0);
  put16(ip, 10, Checksum().add(ip.first(kIp4Header)).value());
  return frame;
}

std::optional<std::vector<std::uint8_t>> Defragmenter::add(const Packet& fragment, Clock::time_point now) {
  if (fragment.protocol != kProtocolUdp && fragment.protocol != kIcmp) return std::nullopt;
  const auto datagram = find(fragment, now);
  const Added added = add_to(*datagram, fragment);
  if (added == Added::kMore) return std::nullopt;
  std::optional<std::vector<std::uint8_t>> whole;
  if (added == Added::kWhole) whole = assemble(*datagram);
  datagrams_.erase(datagram);
  return whole;
}

}  // namespace boxlite::net
