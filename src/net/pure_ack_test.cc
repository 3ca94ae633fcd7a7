#include "net/pure_ack.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string_view>

#include "base/sys.h"
#include "net/nic.h"
#include "net/test_frames.h"
#include "net/wire.h"

namespace boxlite::net {
namespace {

using test::Bytes;

Bytes ack(std::string_view to, std::uint32_t number, std::uint16_t port = 80, std::uint8_t flags = kTcpAck,
          std::string_view data = "") {
  const IpAddress address = test::address(to);
  Bytes frame = test::tcp_frame(address, port, flags, data);
  put32(frame, kEthernetHeader + (address.is_v6() ? kIp6Header : kIp4Header) + 8, number);
  return frame;
}

bool replaces(const Bytes& later, const Bytes& earlier) { return pure_ack(later)->replaces(*pure_ack(earlier)); }

TEST(PureAckTest, ASegmentWithNothingButAnAcknowledgementIsOne) {
  for (const char* to : {"192.168.127.2", "fd00::2"}) {
    ASSERT_TRUE(pure_ack(ack(to, 7))) << to;
    EXPECT_EQ(pure_ack(ack(to, 7))->number, 7U);
    EXPECT_FALSE(pure_ack(ack(to, 7, 80, kTcpAck, "x"))) << to;
    for (const std::uint8_t flag : {kTcpFin, kTcpSyn, kTcpRst, std::uint8_t{0x08}, std::uint8_t{0x20}, std::uint8_t{0x40}}) {
      EXPECT_FALSE(pure_ack(ack(to, 7, 80, static_cast<std::uint8_t>(kTcpAck | flag)))) << to << " " << int{flag};
    }
    Bytes with_options = ack(to, 7, 80, kTcpAck, "\1\1\1\1");
    with_options[with_options.size() - 4 - 8] = 0x60;  // the header's length, of six words
    EXPECT_FALSE(pure_ack(with_options)) << to;
  }
  Bytes fragment = ack("192.168.127.2", 7);
  fragment[20] = 0x20;
  EXPECT_FALSE(pure_ack(fragment));
  EXPECT_FALSE(pure_ack(test::udp_frame(test::address("192.168.127.2"), 80, "twelve bytes")));
}

TEST(PureAckTest, NoBytesAreReadThatAreNotThere) {
  for (const char* to : {"192.168.127.2", "fd00::2"}) {
    const Bytes whole = ack(to, 7);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      EXPECT_FALSE(pure_ack(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)))) << to << " " << size;
    }
  }
}

TEST(PureAckTest, OnlyALaterOneOfTheSameConnectionReplacesIt) {
  for (const char* to : {"192.168.127.2", "fd00::2"}) {
    EXPECT_TRUE(replaces(ack(to, 8), ack(to, 7))) << to;
    EXPECT_TRUE(replaces(ack(to, 5), ack(to, 0xfffffff0U))) << "numbers begin again";
    EXPECT_FALSE(replaces(ack(to, 7), ack(to, 7))) << "a duplicate says that something is missing";
    EXPECT_FALSE(replaces(ack(to, 6), ack(to, 7)));
    EXPECT_FALSE(replaces(ack(to, 8, 81), ack(to, 7, 80)));
  }
  EXPECT_FALSE(replaces(ack("192.168.127.3", 8), ack("192.168.127.2", 7)));
  EXPECT_FALSE(replaces(ack("fd00::2", 8), ack("192.168.127.2", 7)));
}

class NicTest : public testing::Test {
 protected:
  std::vector<Bytes> arrived() {
    std::vector<Bytes> frames;
    for (;;) {
      Bytes frame(2000);
      const ssize_t size = ::recv(pair_.b.get(), frame.data(), frame.size(), MSG_DONTWAIT);
      if (size < 0) return frames;
      frame.resize(static_cast<std::size_t>(size));
      frames.push_back(frame);
    }
  }

  static sys::SocketPair datagrams() {
    int fds[2] = {-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
    return {.a = UniqueFd(fds[0]), .b = UniqueFd(fds[1])};
  }

  sys::SocketPair pair_ = datagrams();
  NetCounters counters_ = {};
  Nic nic_{std::move(pair_.a), {.mtu = 1500}, counters_};
};

TEST_F(NicTest, OfTheAcknowledgementsOfATurnTheLastOneIsSent) {
  const auto one = ack("192.168.127.2", 1);
  const auto two = ack("192.168.127.2", 2);
  nic_.send(one);
  nic_.send(two);
  EXPECT_EQ(arrived(), std::vector<Bytes>{});
  nic_.release_ack();
  nic_.release_ack();
  EXPECT_EQ(arrived(), std::vector<Bytes>{two});
}

TEST_F(NicTest, EverythingElseKeepsItsPlaceAndItsNumber) {
  const auto one = ack("192.168.127.2", 1);
  const auto other = ack("192.168.127.2", 2, 81);
  const auto data = ack("192.168.127.2", 1, 80, kTcpAck, "data");
  for (const auto& frame : {one, one, other, data, one}) nic_.send(frame);
  nic_.release_ack();
  EXPECT_EQ(arrived(), (std::vector<Bytes>{one, one, other, data, one}));
}

}  // namespace
}  // namespace boxlite::net
