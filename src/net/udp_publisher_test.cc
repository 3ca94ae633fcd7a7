#include "net/udp_publisher.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "net/test_frames.h"

namespace boxlite::net {
namespace {

using test::Bytes;

// A UDP socket bound to 127.0.0.1 and a free port.
UniqueFd bound_socket() {
  UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  return socket;
}

class UdpPublisherTest : public testing::Test {
 protected:
  UdpPublisherTest() {
    UniqueFd socket = bound_socket();
    socklen_t size = sizeof published_;
    EXPECT_EQ(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&published_), &size), 0);
    EXPECT_TRUE(publisher_.publish(std::move(socket), 53));
  }

  // A datagram of a client; what the box is shown of its sender.
  Packet deliver(const UniqueFd& client, std::string_view text) {
    EXPECT_EQ(::sendto(client.get(), text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&published_), sizeof published_),
              static_cast<ssize_t>(text.size()));
    frames_.clear();
    PollSet polls;
    publisher_.prepare(polls);
    polls.wait();
    publisher_.dispatch(polls);
    EXPECT_EQ(frames_.size(), 1U);
    const auto packet = parse_packet(frames_.at(0));
    EXPECT_TRUE(packet);
    return packet.value_or(Packet{});
  }

  static Packet shown(std::uint16_t port) {
    Packet packet;
    packet.source = kHostAlias4;
    packet.source_port = port;
    return packet;
  }

  bool answer(const Packet& question, std::string_view text) {
    const test::Ip ip{.to = question.source, .protocol = kProtocolUdp};
    Bytes frame = ip_frame(ip, with_checksum(ip, test::udp(53, question.source_port, text), 6));
    const auto packet = parse_packet(frame);
    return packet && publisher_.reply(*packet);
  }

  static std::string received(const UniqueFd& client) {
    std::string text(100, '\0');
    const ssize_t size = ::recv(client.get(), text.data(), text.size(), 0);
    text.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
    return text;
  }

  NetCounters counters_ = {};
  std::vector<Bytes> frames_;
  UdpPublisher publisher_{65520, counters_, [this](auto frame) { frames_.emplace_back(frame.begin(), frame.end()); }};
  sockaddr_in published_ = {};
};

TEST_F(UdpPublisherTest, AClientIsTheSameFlowEachTime) {
  const UniqueFd client = bound_socket();
  const Packet first = deliver(client, "one");
  const auto port = first.source_port;
  EXPECT_EQ(first.source, kHostAlias4);
  EXPECT_EQ(first.destination_port, 53);
  EXPECT_EQ(deliver(client, "two").source_port, port);
  EXPECT_EQ(counters_.udp_flows.load(), 1U);
}

TEST_F(UdpPublisherTest, APacketOfNoFlowIsNotTaken) {
  const UniqueFd client = bound_socket();
  Packet question = deliver(client, "question");
  EXPECT_TRUE(answer(question, "answer"));
  EXPECT_EQ(received(client), "answer");
  question.source_port ^= 1;
  EXPECT_FALSE(answer(question, "to nobody")) << "the policy judges it then";
}

TEST_F(UdpPublisherTest, TheFlowUnusedForLongestIsForgottenFirst) {
  const UniqueFd first = bound_socket();
  const UniqueFd faithful = bound_socket();
  const std::uint16_t first_port = deliver(first, "x").source_port;
  const std::uint16_t faithful_port = deliver(faithful, "x").source_port;
  // Ports come back, so there are more datagrams than flows.
  for (int i = 0; counters_.udp_flows.load() < UdpPublisher::kMaxFlows + 1; ++i) {
    deliver(bound_socket(), "x");
    if (i % 1000 == 0) {
      EXPECT_TRUE(answer(shown(faithful_port), "still known"));
    }
  }
  EXPECT_FALSE(answer(shown(first_port), "forgotten"));
  EXPECT_TRUE(answer(shown(faithful_port), "still known"));
}

}  // namespace
}  // namespace boxlite::net
