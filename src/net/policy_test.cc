#include "net/policy.h"

#include <gtest/gtest.h>

#include "net/test_frames.h"

namespace boxlite::net {
namespace {

using test::address;
using test::icmp_frame;
using test::tcp_frame;
using test::udp_frame;

Verdict judge(const Policy& policy, test::Bytes frame) {
  const auto packet = parse_packet(frame);
  EXPECT_TRUE(packet);
  return packet ? policy.judge(*packet) : Verdict::kIgnore;
}

Policy open_policy(bool host_access = false) { return Policy(host_access, {}); }

Policy allowing(const std::vector<std::string>& texts, bool host_access = false) {
  std::vector<AllowRule> rules;
  for (const std::string& text : texts) rules.push_back(parse_allow_rule(text).value());
  return Policy(host_access, rules);
}

// Every address by TCP, UDP and ping.
void expect_denied(const Policy& policy, const std::vector<const char*>& texts) {
  for (const char* text : texts) {
    const IpAddress to = address(text);
    EXPECT_EQ(judge(policy, tcp_frame(to, 80)), Verdict::kDeny) << "tcp " << text;
    EXPECT_EQ(judge(policy, udp_frame(to, 80)), Verdict::kDeny) << "udp " << text;
    EXPECT_EQ(judge(policy, icmp_frame(to, to.is_v6() ? 128 : 8)), Verdict::kDeny) << "ping " << text;
  }
}

TEST(PolicyTest, TheWorldIsReached) {
  for (const char* text : {"8.8.8.8", "10.1.2.3", "2001:db8::1", "fd00::1"}) {
    EXPECT_EQ(judge(open_policy(), tcp_frame(address(text), 80)), Verdict::kPass) << text;
    EXPECT_EQ(judge(open_policy(), udp_frame(address(text), 80)), Verdict::kPass) << text;
  }
  EXPECT_EQ(judge(open_policy(), icmp_frame(address("8.8.8.8"), 8)), Verdict::kPass);
}

TEST(PolicyTest, TheHostByAnyOfItsNamesIsNot) {
  for (const bool host_access : {false, true})
    expect_denied(open_policy(host_access), {"127.0.0.1", "127.1.2.3", "0.0.0.0", "0.0.0.1", "::", "::1", "::ffff:127.0.0.1",
                                             "::127.0.0.1", "::ffff:0.0.0.0", "64:ff9b::7f00:1", "2002:7f00:1::1", "240.0.0.1",
                                             "fd62:6f78:6c69::3", "fd62:6f78:6c69::ffff:1"});
}

TEST(PolicyTest, TheMetadataServiceIsNot) {
  expect_denied(open_policy(true), {"169.254.169.254", "169.254.170.2", "fd00:ec2::254", "::ffff:169.254.169.254",
                                    "64:ff9b::a9fe:a9fe", "fe80::a9fe:a9fe"});
  expect_denied(allowing({"0.0.0.0/0", "::/0"}, true), {"169.254.169.254", "fd00:ec2::254", "127.0.0.1", "::1"});
}

TEST(PolicyTest, TheHostAliasNeedsHostAccess) {
  expect_denied(open_policy(false), {"192.168.127.254", "fd62:6f78:6c69::fe"});
  for (const char* text : {"192.168.127.254", "fd62:6f78:6c69::fe"}) {
    EXPECT_EQ(judge(open_policy(true), tcp_frame(address(text), 80)), Verdict::kPass) << text;
    EXPECT_EQ(judge(open_policy(true), udp_frame(address(text), 80)), Verdict::kPass) << text;
  }
}

TEST(PolicyTest, NobodyElseIsInTheBoxsOwnNetwork) {
  expect_denied(open_policy(true), {"192.168.127.3", "192.168.127.0", "192.168.127.2", "192.168.127.253", "fd62:6f78:6c69::2"});
  EXPECT_EQ(judge(open_policy(true), tcp_frame(kGateway4, 80)), Verdict::kDeny);
  EXPECT_EQ(judge(open_policy(true), udp_frame(kGateway4, 54)), Verdict::kDeny);
  EXPECT_EQ(judge(open_policy(true), tcp_frame(kGateway6, 80)), Verdict::kDeny);
}

TEST(PolicyTest, ServersOfLibslirpAtTheHostAliasAreNotReached) {
  EXPECT_EQ(judge(open_policy(true), udp_frame(kHostAlias4, 69)), Verdict::kDeny);
  EXPECT_EQ(judge(open_policy(true), udp_frame(kHostAlias4, 67)), Verdict::kDeny);
  EXPECT_EQ(judge(open_policy(true), udp_frame(kHostAlias6, 69)), Verdict::kDeny);
  EXPECT_EQ(judge(open_policy(true), udp_frame(address("255.255.255.255"), 67)), Verdict::kIgnore);
}

TEST(PolicyTest, TheGatewayAnswersPingAndQuestions) {
  for (const Policy& policy : {open_policy(), allowing({"10.0.0.0/8"})}) {
    EXPECT_EQ(judge(policy, icmp_frame(kGateway4, 8)), Verdict::kPass);
    EXPECT_EQ(judge(policy, icmp_frame(kGateway6, 128)), Verdict::kPass);
    EXPECT_EQ(judge(policy, udp_frame(kGateway4, 53)), Verdict::kDns);
    EXPECT_EQ(judge(policy, tcp_frame(kGateway4, 53)), Verdict::kDns);
    EXPECT_EQ(judge(policy, tcp_frame(kGateway4, 53, kTcpAck)), Verdict::kDns);
  }
}

TEST(PolicyTest, MulticastAndBroadcastAreIgnoredWithoutAWord) {
  for (const char* text :
       {"224.0.0.22", "239.255.255.250", "255.255.255.255", "192.168.127.255", "ff02::1", "ff02::16", "ff05::1"}) {
    EXPECT_EQ(judge(open_policy(true), udp_frame(address(text), 5353)), Verdict::kIgnore) << text;
    EXPECT_EQ(judge(open_policy(true), tcp_frame(address(text), 80)), Verdict::kIgnore) << text;
  }
}

TEST(PolicyTest, NeighbourDiscoveryReachesTheGatewayOnly) {
  EXPECT_EQ(judge(open_policy(), icmp_frame(address("ff02::1:ff00:1"), 135, 24)), Verdict::kPass);
  EXPECT_EQ(judge(open_policy(), icmp_frame(kGateway6, 136, 24)), Verdict::kPass);
  EXPECT_EQ(judge(open_policy(), icmp_frame(address("ff02::1:ff00:1"), 135, 23)), Verdict::kIgnore)
      << "too short for libslirp to read";
  EXPECT_EQ(judge(open_policy(), icmp_frame(address("ff02::2"), 133)), Verdict::kIgnore) << "router solicitation";
  EXPECT_EQ(judge(open_policy(), icmp_frame(address("ff02::1"), 134, 64)), Verdict::kIgnore) << "router advertisement of a guest";
  EXPECT_EQ(judge(open_policy(), icmp_frame(kGateway6, 137, 64)), Verdict::kIgnore) << "redirect of a guest";
}

TEST(PolicyTest, OnlyEchoRequestsOfIcmpPass) {
  for (const int type : {0, 3, 5, 11, 13, 17})
    EXPECT_EQ(judge(open_policy(), icmp_frame(address("8.8.8.8"), static_cast<std::uint8_t>(type))), Verdict::kIgnore) << type;
}

TEST(PolicyTest, ConnectionsAreJudgedByTheirFirstSegment) {
  const Policy policy = allowing({"10.0.0.0/8"});
  EXPECT_EQ(judge(policy, tcp_frame(address("8.8.8.8"), 80)), Verdict::kDeny);
  for (const int more : {0x01, 0x04, 0x08, 0x20, 0x40, 0x80, 0xc0, 0xed})
    EXPECT_EQ(judge(policy, tcp_frame(address("8.8.8.8"), 80, static_cast<std::uint8_t>(kTcpSyn | more))), Verdict::kDeny)
        << more;
  // Answers of a published port, to whoever asked.
  EXPECT_EQ(judge(policy, tcp_frame(address("8.8.8.8"), 80, kTcpSyn | kTcpAck)), Verdict::kPass);
  EXPECT_EQ(judge(policy, tcp_frame(address("8.8.8.8"), 80, kTcpAck)), Verdict::kPass);
}

TEST(PolicyTest, AListAllowsWhatIsOnItAndNothingElse) {
  const Policy policy = allowing({"10.0.0.0/8", "192.0.2.1:443", "[2001:db8::/32]:53"});
  EXPECT_EQ(judge(policy, tcp_frame(address("10.9.8.7"), 1)), Verdict::kPass);
  EXPECT_EQ(judge(policy, icmp_frame(address("10.9.8.7"), 8)), Verdict::kPass);
  EXPECT_EQ(judge(policy, tcp_frame(address("192.0.2.1"), 443)), Verdict::kPass);
  EXPECT_EQ(judge(policy, udp_frame(address("192.0.2.1"), 443)), Verdict::kPass);
  EXPECT_EQ(judge(policy, tcp_frame(address("192.0.2.1"), 80)), Verdict::kDeny);
  EXPECT_EQ(judge(policy, icmp_frame(address("192.0.2.1"), 8)), Verdict::kDeny) << "a rule for a port is none for ping";
  EXPECT_EQ(judge(policy, udp_frame(address("2001:db8::5"), 53)), Verdict::kPass);
  EXPECT_EQ(judge(policy, udp_frame(address("2001:db8::5"), 54)), Verdict::kDeny);
  EXPECT_EQ(judge(policy, tcp_frame(address("8.8.8.8"), 443)), Verdict::kDeny);
}

TEST(PolicyTest, WithAListTheHostAliasNeedsBoth) {
  EXPECT_EQ(judge(allowing({"10.0.0.0/8"}, true), tcp_frame(kHostAlias4, 80)), Verdict::kDeny);
  EXPECT_EQ(judge(allowing({"192.168.127.254:80"}, false), tcp_frame(kHostAlias4, 80)), Verdict::kDeny);
  EXPECT_EQ(judge(allowing({"192.168.127.254:80"}, true), tcp_frame(kHostAlias4, 80)), Verdict::kPass);
}

}  // namespace
}  // namespace boxlite::net
