// The gate of a box's network and its name service's parser, whose input is a guest's.
//
// The input makes frames: some of raw bytes, most well-formed but for a few bytes (with checksums mended, else none would get
// far), of all kinds that the gate knows, fragments too, for a box with and without host access and with a list. Whatever comes
// out is held to what the gate promises: libslirp sees only whole, well-formed packets of the box's own addresses, to
// destinations that may be reached; the box gets only packets with right checksums.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include <fuzzer/FuzzedDataProvider.h>

#include "net/addresses.h"
#include "net/dns_message.h"
#include "net/frames.h"
#include "net/gate.h"
#include "net/reachability.h"
#include "net/wire.h"

namespace boxlite::net {
namespace {

void check(bool condition) {
  if (!condition) std::abort();
}

class Exits : public GateExits {
 public:
  explicit Exits(const Policy& policy) : policy_(policy) {}

  void to_stack(std::span<const std::uint8_t> frame) override {
    check(frame.size() >= kEthernetHeader && std::ranges::equal(frame.subspan(6, 6), kGuestMac));
    Frame copy(frame.begin(), frame.end());
    if (get16(frame, 12) == kTypeArp) {
      check(frame.size() == 42);
      const IpAddress sender = IpAddress::from_bytes(frame.subspan(28, 4));
      check(sender == kGuest4 || sender == IpAddress());
      return;
    }
    const auto packet = parse_packet(copy);
    check(packet && packet->frame.size() == frame.size() && !packet->fragment);
    const bool discovery = packet->protocol == kIcmp6 && (packet->icmp_type == 135 || packet->icmp_type == 136);
    check(packet->source == kGuest4 || packet->source == kGuest6 || discovery);
    if (discovery) return;
    const bool first_segment = packet->protocol == kProtocolTcp && begins_connection(*packet);
    if (packet->protocol == kProtocolTcp && !first_segment) return;
    const bool name_service =
        packet->protocol == kProtocolTcp && packet->destination == kGateway4 && packet->destination_port == kDnsPort;
    const bool gateway = packet->destination == kGateway4 || packet->destination == kGateway6 ||
                         packet->destination.in(IpAddress::v6({0xfe, 0x80}), 10);
    const bool ping = packet->protocol == kIcmp || packet->protocol == kIcmp6;
    if (name_service || (gateway && ping)) return;
    const bool alias = packet->destination == kHostAlias4 || packet->destination == kHostAlias6;
    check(!never_reachable(packet->destination) && (!alias || policy_.host_access()));
    check(alias || !(packet->destination.in(kNetwork4, kPrefix4) || packet->destination.in(kNetwork6, kPrefix6)));
    check(policy_.judge(*packet) == Verdict::kPass);
  }

  void to_box(std::span<const std::uint8_t> frame) override {
    if (from_stack) return;
    Frame copy(frame.begin(), frame.end());
    const auto packet = parse_packet(copy);
    check(packet.has_value());
    const bool icmp = packet->protocol == kIcmp;
    check((icmp ? Checksum().add(packet->transport()).value()
                : transport_checksum(packet->source, packet->destination, packet->protocol, packet->transport())) == 0);
  }

  void to_name_service(std::uint16_t, std::span<const std::uint8_t> question) override { ask(question); }
  bool to_published(const Packet& packet) override { return packet.udp_data().size() % 7 == 3; }
  bool room_for_connection() override { return true; }
  void log(std::string_view lines) override { check(lines.ends_with('\n') && lines.size() < 300); }

  static void ask(std::span<const std::uint8_t> message) {
    const DnsReading reading = read_query(message);
    if (!reading.answerable) return;
    if (!reading.question) {
      check(refuse(message, 0, reading.refusal).size() == kDnsHeader);
      return;
    }
    const auto local = local_answer(*reading.question, message);
    const DnsMessage refusal = refuse(message, reading.question->size, DnsRefusal::kServer);
    check(answers(refusal, message, *reading.question));
    check(!local || answers(*local, message, *reading.question));
  }

  bool from_stack = false;

 private:
  const Policy& policy_;
};

constexpr std::array kDestinations = {
    "8.8.8.8",         "127.0.0.1",       "192.168.127.1", "192.168.127.254",   "169.254.169.254",    "10.0.0.1",
    "255.255.255.255", "2001:db8::1",     "::1",           "fd62:6f78:6c69::1", "fd62:6f78:6c69::fe", "ff02::1:ff00:1",
    "::ffff:1.2.3.4",  "64:ff9b::7f00:1", "fe80::1"};

// Mends what would keep a mutated packet from going on.
void mend(Frame& frame) {
  if (frame.size() < kEthernetHeader + kIp4Header) return;
  const auto ip = std::span(frame).subspan(kEthernetHeader);
  if (get16(frame, 12) == kTypeIp4) {
    put16(ip, 10, 0);
    put16(ip, 10, Checksum().add(ip.first(kIp4Header)).value());
  }
  const auto packet = parse_packet(frame);
  if (!packet || packet->fragment || packet->protocol != kProtocolUdp) return;
  put16(packet->transport(), 6, 0);
}

Frame make_frame(FuzzedDataProvider& data) {
  if (data.ConsumeIntegralInRange(0, 15) == 0)
    return data.ConsumeBytes<std::uint8_t>(data.ConsumeIntegralInRange<std::size_t>(0, 200));
  const IpAddress to = *IpAddress::parse(data.PickValueInArray(kDestinations));
  const bool v6 = to.is_v6();
  const auto protocol = data.PickValueInArray<std::uint8_t>({kProtocolTcp, kProtocolUdp, v6 ? kIcmp6 : kIcmp});
  auto transport = data.ConsumeBytes<std::uint8_t>(data.ConsumeIntegralInRange<std::size_t>(0, 64));
  if (data.ConsumeBool()) transport.resize(std::max<std::size_t>(transport.size(), 20));
  if (protocol == kProtocolTcp && transport.size() >= 20 && data.ConsumeBool()) transport[12] = 0x50;
  if (protocol == kProtocolUdp && transport.size() >= 8 && data.ConsumeBool()) {
    put16(transport, 2, 53);
    put16(transport, 4, transport.size());
  }
  Frame frame(kEthernetHeader + (v6 ? kIp6Header : kIp4Header));
  std::ranges::copy(kGuestMac, frame.begin() + 6);
  put16(frame, 12, v6 ? kTypeIp6 : kTypeIp4);
  const auto ip = std::span(frame).subspan(kEthernetHeader);
  if (v6) {
    ip[0] = 0x60;
    put16(ip, 4, transport.size());
    ip[6] = protocol;
    ip[7] = 255;
    std::ranges::copy(kGuest6.bytes(), ip.begin() + 8);
    std::ranges::copy(to.bytes(), ip.begin() + 24);
  } else {
    ip[0] = 0x45;
    put16(ip, 2, kIp4Header + transport.size());
    if (data.ConsumeIntegralInRange(0, 3) == 0)
      put16(ip, 6, data.ConsumeIntegralInRange<std::uint16_t>(0, 12) | (data.ConsumeBool() ? 0x2000 : 0));
    ip[8] = 64;
    ip[9] = protocol;
    std::ranges::copy(kGuest4.bytes(), ip.begin() + 12);
    std::ranges::copy(to.bytes(), ip.begin() + 16);
  }
  frame.insert(frame.end(), transport.begin(), transport.end());
  for (int i = data.ConsumeIntegralInRange(0, 2); i > 0; --i)
    frame[data.ConsumeIntegralInRange<std::size_t>(0, frame.size() - 1)] = data.ConsumeIntegral<std::uint8_t>();
  mend(frame);
  return frame;
}

}  // namespace
}  // namespace boxlite::net

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace boxlite::net;
  FuzzedDataProvider data(bytes, size);
  std::vector<AllowRule> rules;
  if (data.ConsumeBool())
    rules = {
        {IpAddress::v4(8, 0, 0, 0), 8, 53}, {IpAddress::v6({0x20, 0x01}), 16, std::nullopt}, {kHostAlias4, 32, std::nullopt}};
  const Policy policy(data.ConsumeBool(), rules);
  NetCounters counters = {};
  Exits exits(policy);
  Gate gate(policy, counters, exits);
  while (data.remaining_bytes() > 0) {
    Frame frame = make_frame(data);
    exits.from_stack = data.ConsumeIntegralInRange(0, 7) == 0;
    if (exits.from_stack) {
      gate.from_stack(frame);
    } else {
      gate.from_box(frame);
    }
    if (data.ConsumeIntegralInRange(0, 3) == 0)
      Exits::ask(data.ConsumeBytes<std::uint8_t>(data.ConsumeIntegralInRange<std::size_t>(0, 100)));
  }
  return 0;
}
