#include "net/gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "net/frames.h"
#include "net/test_frames.h"
#include "net/wire.h"

namespace boxlite::net {
namespace {

using test::address;
using test::Bytes;

struct Exits : GateExits {
  void to_stack(std::span<const std::uint8_t> frame) override { stack.emplace_back(frame.begin(), frame.end()); }
  void to_box(std::span<const std::uint8_t> frame) override { box.emplace_back(frame.begin(), frame.end()); }
  void to_name_service(std::uint16_t port, std::span<const std::uint8_t> question) override {
    questions.emplace_back(port, std::string(question.begin(), question.end()));
  }
  bool to_published(const Packet& packet) override { return packet.source_port == published_port; }
  bool room_for_connection() override { return room; }
  void log(std::string_view lines) override { logged += lines; }

  std::vector<Bytes> stack;
  std::vector<Bytes> box;
  std::vector<std::pair<std::uint16_t, std::string>> questions;
  std::string logged;
  int published_port = -1;
  bool room = true;
};

class GateTest : public testing::Test {
 protected:
  void send(Bytes frame) { gate.from_box(frame); }
  // Sends a frame that must vanish, and be counted.
  void expect_dropped(const Bytes& frame, const char* why) {
    const auto before = counters.dropped.load();
    send(frame);
    EXPECT_EQ(counters.dropped.load(), before + 1) << why;
    EXPECT_TRUE(exits.stack.empty() && exits.box.empty() && exits.questions.empty()) << why;
  }
  void expect_ignored(const Bytes& frame, const char* why) {
    const auto before = counters.dropped.load();
    send(frame);
    EXPECT_EQ(counters.dropped.load(), before) << why;
    EXPECT_TRUE(exits.stack.empty() && exits.box.empty() && exits.questions.empty()) << why;
  }
  void expect_passes(const Bytes& frame, const char* why) {
    exits.stack.clear();
    send(frame);
    ASSERT_EQ(exits.stack.size(), 1U) << why;
    EXPECT_EQ(exits.stack[0], frame) << why;
  }
  Packet packet_to_box() {
    EXPECT_EQ(exits.box.size(), 1U);
    const auto packet = parse_packet(exits.box.at(0));
    EXPECT_TRUE(packet);
    return packet.value_or(Packet{});
  }
  // By an independent computation: the checksum over a whole that holds its right one is 0.
  static void expect_right_checksums(const Packet& packet) {
    const Bytes transport(packet.transport().begin(), packet.transport().end());
    const bool icmp4 = packet.protocol == kIcmp;
    EXPECT_EQ(icmp4 ? test::slow_checksum(transport)
                    : test::slow_transport_checksum(packet.source, packet.destination, packet.protocol, transport),
              0);
    if (packet.source.is_v6()) return;
    EXPECT_EQ(test::slow_checksum(Bytes(packet.ip().begin(), packet.ip().begin() + kIp4Header)), 0);
  }

  NetCounters counters = {};
  Exits exits;
  Gate gate{Policy(false, {}), counters, exits};
};

TEST_F(GateTest, FramesOfTheBoxPassUnchanged) {
  expect_passes(test::tcp_frame(address("8.8.8.8"), 80), "tcp");
  expect_passes(test::udp_frame(address("8.8.8.8"), 80), "udp");
  expect_passes(test::tcp_frame(address("2001:db8::1"), 80), "tcp6");
  expect_passes(test::arp_frame(kGuest4, kGuestMac, kGateway4), "arp");
  expect_passes(test::arp_frame(IpAddress(), kGuestMac, kGuest4), "arp probe");
  expect_passes(test::icmp_frame(address("ff02::1:ff00:1"), 135, 32), "neighbour solicitation");
  EXPECT_EQ(counters.dropped.load(), 0U);
}

TEST_F(GateTest, PaddingIsCutOff) {
  const Bytes frame = test::udp_frame(address("2001:db8::1"), 80);
  Bytes padded = frame;
  padded.resize(frame.size() + 40, 0xaa);
  send(padded);
  ASSERT_EQ(exits.stack.size(), 1U);
  EXPECT_EQ(exits.stack[0], frame);
}

TEST_F(GateTest, SpoofedSourcesAreDropped) {
  for (const char* from : {"192.168.127.3", "192.168.127.1", "192.168.127.254", "10.0.0.1", "127.0.0.1", "0.0.0.0",
                           "255.255.255.255", "224.0.0.1"}) {
    const test::Ip ip{.from = address(from), .to = address("8.8.8.8"), .protocol = kProtocolUdp};
    expect_dropped(ip_frame(ip, with_checksum(ip, test::udp(1, 2, "x"), 6)), from);
  }
  for (const char* from : {"fd62:6f78:6c69::3", "::1", "2001:db8::9", "fe80::1", "::", "::ffff:192.168.127.2"}) {
    const test::Ip ip{.from = address(from), .to = address("2001:db8::1"), .protocol = kProtocolUdp};
    expect_dropped(ip_frame(ip, with_checksum(ip, test::udp(1, 2, "x"), 6)), from);
  }
  const test::Ip other_mac{.to = address("8.8.8.8"), .mac = {2, 0, 0, 0, 0, 1}};
  expect_dropped(ip_frame(other_mac, with_checksum(other_mac, test::tcp(1, 2, kTcpSyn), 16)), "another MAC");
  const test::Ip echo{.from = address("fe80::1"), .to = kGateway6, .protocol = kIcmp6};
  Bytes ping(8);
  ping[0] = 128;
  expect_dropped(ip_frame(echo, with_checksum(echo, ping, 2)), "link-local for other than neighbour discovery");
}

TEST_F(GateTest, SpoofedArpIsDropped) {
  expect_dropped(test::arp_frame(kGateway4, kGuestMac, kGuest4, 2), "the gateway's address");
  expect_dropped(test::arp_frame(kHostAlias4, kGuestMac, kHostAlias4), "gratuitous, of the host alias");
  expect_dropped(test::arp_frame(kGuest4, {2, 0, 0, 0, 0, 1}, kGateway4), "another hardware address inside");
  expect_dropped(test::arp_frame(address("10.0.0.1"), kGuestMac, kGateway4), "a foreign address");
  Bytes wrong_size = test::arp_frame(kGuest4, kGuestMac, kGateway4);
  wrong_size[18] = 8;
  expect_dropped(wrong_size, "hardware addresses of another length");
  Bytes cut = test::arp_frame(kGuest4, kGuestMac, kGateway4);
  cut.pop_back();
  expect_dropped(cut, "a byte short");
}

TEST_F(GateTest, MalformedFramesAreDropped) {
  // Every shortening of every kind of frame.
  for (const Bytes& whole :
       {test::tcp_frame(address("8.8.8.8"), 80, kTcpSyn, "data"), test::udp_frame(address("8.8.8.8"), 80),
        test::icmp_frame(address("8.8.8.8"), 8, 16), test::tcp_frame(address("2001:db8::1"), 80, kTcpSyn, "data"),
        test::udp_frame(address("2001:db8::1"), 80), test::icmp_frame(kGateway6, 128, 16)}) {
    for (std::size_t size = 0; size < whole.size(); ++size)
      expect_dropped(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)), "cut");
  }
  const auto changed = [](Bytes frame, std::size_t at, std::uint8_t value) {
    frame[at] = value;
    return frame;
  };
  const Bytes tcp4 = test::tcp_frame(address("8.8.8.8"), 80);
  expect_dropped(changed(tcp4, 14, 0x46), "IP options");
  expect_dropped(changed(tcp4, 14, 0x44), "an IP header too short");
  expect_dropped(changed(tcp4, 14, 0x55), "IP version 5");
  expect_dropped(changed(tcp4, 24, 0), "a wrong IP checksum");
  expect_dropped(changed(tcp4, 46, 0x40), "a TCP header too short");
  expect_dropped(changed(tcp4, 46, 0xf0), "a TCP header beyond the end");
  expect_dropped(changed(test::udp_frame(address("8.8.8.8"), 80), 39, 7), "a UDP length below its header");
  expect_dropped(changed(test::udp_frame(address("8.8.8.8"), 80), 39, 13), "a UDP length beyond the end");
  const Bytes tcp6 = test::tcp_frame(address("2001:db8::1"), 80);
  for (const int next : {0, 43, 44, 50, 51, 59, 60, 135, 132})
    expect_ignored(changed(tcp6, 20, static_cast<std::uint8_t>(next)), "an extension header");
  expect_dropped(changed(tcp6, 20, 1), "ICMPv4 in IPv6");
  expect_dropped(changed(tcp6, 21, 0), "hop limit 0");
  for (const int type : {0xf8, 0x64, 0x00}) {
    Bytes other = changed(tcp4, 12, 0x88);
    other[13] = static_cast<std::uint8_t>(type);
    expect_dropped(other, "another protocol, such as NC-SI");
  }
  for (const int protocol : {0, 2, 4, 41, 47, 132, 255}) {
    const test::Ip ip{.to = address("8.8.8.8"), .protocol = static_cast<std::uint8_t>(protocol)};
    expect_ignored(ip_frame(ip, Bytes(64)), "a protocol that goes nowhere");
  }
}

TEST_F(GateTest, ADeniedConnectionIsResetAtOnce) {
  send(test::tcp_frame(address("169.254.169.254"), 80, kTcpSyn, "abc"));
  const Packet reset = packet_to_box();
  expect_right_checksums(reset);
  EXPECT_EQ(reset.source, address("169.254.169.254"));
  EXPECT_EQ(reset.destination, kGuest4);
  EXPECT_EQ(reset.source_port, 80);
  EXPECT_EQ(reset.destination_port, 40000);
  EXPECT_EQ(reset.tcp_flags, kTcpRst | kTcpAck);
  EXPECT_EQ(get32(reset.transport(), 8), 1000U + 3 + 1) << "data and SYN are acknowledged";
  EXPECT_EQ(counters.denials.load(), 1U);
  EXPECT_EQ(exits.logged, "network: denied tcp to 169.254.169.254:80\n");
  EXPECT_TRUE(exits.stack.empty());
}

TEST_F(GateTest, OneConnectionTooManyIsDeniedAndThoseThereAreGoOn) {
  exits.room = false;
  send(test::tcp_frame(address("8.8.8.8"), 80, kTcpSyn, ""));
  EXPECT_EQ(packet_to_box().tcp_flags, kTcpRst | kTcpAck);
  EXPECT_EQ(counters.denials.load(), 1U);
  EXPECT_EQ(exits.logged, "network: denied tcp to 8.8.8.8:80\n");
  EXPECT_TRUE(exits.stack.empty());
  send(test::tcp_frame(address("8.8.8.8"), 80, kTcpAck, "abc"));
  send(test::tcp_frame(kGateway4, 53, kTcpSyn, ""));
  EXPECT_EQ(exits.stack.size(), 2U) << "one that is open, and a question of names";
}

TEST_F(GateTest, ADeniedIpv6ConnectionIsResetAtOnce) {
  send(test::tcp_frame(address("::1"), 80));
  const Packet reset = packet_to_box();
  expect_right_checksums(reset);
  EXPECT_EQ(reset.source, address("::1"));
  EXPECT_EQ(reset.tcp_flags, kTcpRst | kTcpAck);
  EXPECT_EQ(exits.logged, "network: denied tcp to [::1]:80\n");
}

TEST_F(GateTest, DeniedDatagramsAndPingsAreAnsweredWithProhibited) {
  const Bytes frame = test::udp_frame(address("127.0.0.1"), 80, std::string(2000, 'x'));
  send(frame);
  const Packet answer = packet_to_box();
  expect_right_checksums(answer);
  EXPECT_EQ(answer.source, kGateway4);
  EXPECT_EQ(answer.icmp_type, 3);
  EXPECT_EQ(answer.transport()[1], 13);
  EXPECT_LE(answer.ip().size(), 576U);
  EXPECT_TRUE(std::ranges::equal(answer.transport().subspan(8, 28), std::span(frame).subspan(14, 28)))
      << "the packet's head is quoted";
  exits.box.clear();
  send(test::icmp_frame(address("2001:db8::1"), 128));
  const Packet answer6 = packet_to_box();
  expect_right_checksums(answer6);
  EXPECT_EQ(answer6.icmp_type, 1);
  EXPECT_EQ(answer6.transport()[1], 1);
}

TEST_F(GateTest, DenialsAreLoggedTenASecond) {
  for (int i = 0; i < 500; ++i) send(test::tcp_frame(address("127.0.0.1"), 80));
  EXPECT_LE(std::ranges::count(exits.logged, '\n'), 30) << "500 in less than three seconds";
  EXPECT_GE(std::ranges::count(exits.logged, '\n'), 10);
  EXPECT_EQ(counters.denials.load(), 500U);
}

TEST_F(GateTest, QuestionsByUdpGoToTheNameService) {
  send(test::udp_frame(kGateway4, 53, "question"));
  ASSERT_EQ(exits.questions.size(), 1U);
  EXPECT_EQ(exits.questions[0], (std::pair<std::uint16_t, std::string>(40000, "question")));
  Bytes damaged = test::udp_frame(kGateway4, 53, "question");
  damaged.back() ^= 1;
  send(damaged);
  EXPECT_EQ(exits.questions.size(), 1U) << "a wrong checksum";
}

TEST_F(GateTest, QuestionsByTcpGoToTheStackWhichIsGivenTheNameService) {
  expect_passes(test::tcp_frame(kGateway4, 53, kTcpSyn), "TCP to the name server");
}

TEST_F(GateTest, OtherFramesOfTheStackReachTheBoxUnchanged) {
  for (const Bytes& frame : {test::tcp_frame(address("8.8.8.8"), 80), test::tcp_frame(kHostAlias4, 80), Bytes(14), Bytes(3),
                             test::tcp_frame(address("2001:db8::1"), 1)}) {
    exits.box.clear();
    gate.from_stack(frame);
    ASSERT_EQ(exits.box.size(), 1U);
    EXPECT_EQ(exits.box[0], frame);
  }
}

TEST_F(GateTest, LoopbackSendersAreShownOnlyWithHostAccess) {
  const test::Ip ip{.from = address("127.0.0.1"), .to = kGuest4, .protocol = kProtocolUdp};
  const Bytes frame = ip_frame(ip, with_checksum(ip, test::udp(53, 40000, "x"), 6));
  gate.from_stack(frame);
  EXPECT_TRUE(exits.box.empty());
  Gate with_access{Policy(true, {}), counters, exits};
  with_access.from_stack(frame);
  const Packet shown = packet_to_box();
  expect_right_checksums(shown);
  EXPECT_EQ(shown.source, kHostAlias4);
}

TEST_F(GateTest, RepliesOfPublishedPortsAreNotJudged) {
  exits.published_port = 5000;
  send(test::udp_frame(address("10.0.0.1"), 9, "reply", 5000));
  EXPECT_TRUE(exits.stack.empty());
  EXPECT_EQ(counters.denials.load(), 0U);
}

class GateFragmentTest : public GateTest {
 protected:
  // A UDP datagram to the world in parts of these offsets and sizes.
  Bytes part(std::size_t offset, std::size_t size, bool more, std::uint16_t id = 7, const char* to = "8.8.8.8",
             std::uint8_t protocol = kProtocolUdp) {
    test::Ip ip{.to = address(to), .protocol = protocol};
    ip.id = id;
    const Bytes whole = with_checksum(ip, test::udp(40000, 80, std::string(4000, 'x')), 6);
    ip.fragment = static_cast<std::uint16_t>((more ? 0x2000 : 0) | offset / 8);
    return ip_frame(ip, Bytes(whole.begin() + static_cast<std::ptrdiff_t>(offset),
                              whole.begin() + static_cast<std::ptrdiff_t>(offset + size)));
  }
  Bytes whole() { return test::udp_frame(address("8.8.8.8"), 80, std::string(4000, 'x')); }
};

TEST_F(GateFragmentTest, AreJudgedAndPassedOnAsOnePacket) {
  send(part(1480, 1480, true));
  send(part(2960, 1048, false));
  EXPECT_TRUE(exits.stack.empty());
  send(part(0, 1480, true));
  ASSERT_EQ(exits.stack.size(), 1U);
  EXPECT_EQ(exits.stack[0], whole());
}

TEST_F(GateFragmentTest, ToADeniedAddressAreDeniedOnce) {
  send(part(0, 1480, true, 7, "127.0.0.1"));
  send(part(1480, 2528, false, 7, "127.0.0.1"));
  EXPECT_TRUE(exits.stack.empty());
  EXPECT_EQ(counters.denials.load(), 1U);
}

TEST_F(GateFragmentTest, ThatOverlapEndTheirDatagram) {
  send(part(0, 1480, true));
  send(part(0, 1480, true));  // another head for the same datagram
  send(part(1480, 2528, false));
  EXPECT_TRUE(exits.stack.empty());
  send(part(8, 1472, true, 9));
  send(part(0, 16, true, 9));
  send(part(1480, 2528, false, 9));
  EXPECT_TRUE(exits.stack.empty());
}

TEST_F(GateFragmentTest, OfImpossibleLengthsEndTheirDatagram) {
  send(part(0, 1479, true));  // no multiple of 8
  send(part(1480, 2528, false));
  EXPECT_TRUE(exits.stack.empty());
  send(part(0, 1480, true, 8));
  send(part(1480, 8, false, 8));
  send(part(2960, 8, true, 8));  // beyond the last one
  EXPECT_EQ(exits.stack.size(), 0U) << "the UDP length does not fit";
  test::Ip beyond{.to = address("8.8.8.8"), .protocol = kProtocolUdp};
  beyond.fragment = 0x1fff;
  send(ip_frame(beyond, Bytes(64)));  // the ping of death
  EXPECT_TRUE(exits.stack.empty());
}

TEST_F(GateFragmentTest, OfTcpAreDropped) {
  const auto before = counters.dropped.load();
  send(part(0, 1480, true, 7, "8.8.8.8", kProtocolTcp));
  EXPECT_EQ(counters.dropped.load(), before + 1);
}

TEST_F(GateFragmentTest, WithoutEndDriveOutOnlyEachOther) {
  for (int id = 100; id < 2000; ++id) send(part(0, 1480, true, static_cast<std::uint16_t>(id)));
  EXPECT_TRUE(exits.stack.empty());
  send(part(0, 1480, true));
  send(part(1480, 2528, false));
  ASSERT_EQ(exits.stack.size(), 1U);
}

TEST(FramesTest, LongDatagramsAreFragmentsThatGoTogether) {
  const std::string data(65507, 'y');
  const auto bytes = std::span(reinterpret_cast<const std::uint8_t*>(data.data()), data.size());
  std::vector<Bytes> frames;
  make_udp_frames({kGateway4, 53, 4000, bytes}, 1500, [&](auto frame) { frames.emplace_back(frame.begin(), frame.end()); });
  EXPECT_EQ(frames.size(), 45U);
  Defragmenter defragmenter;
  std::optional<Bytes> whole;
  for (Bytes& frame : frames) {
    EXPECT_LE(frame.size(), 1514U);
    const auto packet = parse_packet(frame);
    ASSERT_TRUE(packet && packet->fragment);
    whole = defragmenter.add(*packet, Defragmenter::Clock::now());
  }
  ASSERT_TRUE(whole);
  const auto packet = parse_packet(*whole);
  ASSERT_TRUE(packet);
  EXPECT_TRUE(std::ranges::equal(packet->udp_data(), bytes));
  const Bytes transport(packet->transport().begin(), packet->transport().end());
  EXPECT_EQ(test::slow_transport_checksum(kGateway4, kGuest4, kProtocolUdp, transport), 0);
}

}  // namespace
}  // namespace boxlite::net
