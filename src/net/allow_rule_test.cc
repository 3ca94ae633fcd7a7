#include "net/allow_rule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/test_frames.h"

namespace boxlite::net {
namespace {

using test::address;

AllowRule rule(std::string_view text) {
  const auto parsed = parse_allow_rule(text);
  EXPECT_TRUE(parsed) << text << ": " << parsed.error().message();
  return parsed.value_or(AllowRule{});
}

TEST(AllowRuleTest, MatchesAddressesOfItsNetworkOnly) {
  EXPECT_TRUE(rule("10.0.0.0/8").matches(address("10.255.1.2"), 80));
  EXPECT_FALSE(rule("10.0.0.0/8").matches(address("11.0.0.0"), 80));
  EXPECT_TRUE(rule("10.1.2.3/8").matches(address("10.9.9.9"), 80)) << "host bits are ignored, as everywhere";
  EXPECT_TRUE(rule("192.0.2.128/25").matches(address("192.0.2.129"), 1));
  EXPECT_FALSE(rule("192.0.2.128/25").matches(address("192.0.2.127"), 1));
  EXPECT_TRUE(rule("0.0.0.0/0").matches(address("203.0.113.5"), 1));
  EXPECT_FALSE(rule("0.0.0.0/0").matches(address("2001:db8::1"), 1)) << "a family says nothing about the other";
  EXPECT_TRUE(rule("2001:db8::/32").matches(address("2001:db8:ffff::1"), 1));
  EXPECT_FALSE(rule("2001:db8::/32").matches(address("2001:db9::1"), 1));
  EXPECT_TRUE(rule("192.168.127.254").matches(address("192.168.127.254"), 1));
}

TEST(AllowRuleTest, WithPortMatchesThatPortAndNoPing) {
  for (const char* text : {"192.0.2.1:443", "192.0.2.0/24:443"}) {
    EXPECT_TRUE(rule(text).matches(address("192.0.2.1"), 443));
    EXPECT_FALSE(rule(text).matches(address("192.0.2.1"), 80));
    EXPECT_FALSE(rule(text).matches(address("192.0.2.1"), std::nullopt));
  }
  EXPECT_TRUE(rule("[2001:db8::/32]:53").matches(address("2001:db8::1"), 53));
  EXPECT_FALSE(rule("[2001:db8::1]:53").matches(address("2001:db8::1"), 54));
  EXPECT_TRUE(rule("[2001:db8::1]").matches(address("2001:db8::1"), std::nullopt));
}

TEST(AllowRuleTest, RefusesWhatIsNoDestinationInOneLine) {
  for (const char* text : {"", "example.org", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "10.0.0.0/-1", "10.0.0.0/8x", "1.2.3.4:0",
                           "1.2.3.4:65536", "1.2.3.4:", "1.2.3.4:http", "[1.2.3.4]:80", "[::1", "[2001:db8::1]80",
                           "2001:db8::1/129", "2001:db8::g", "*", "1.2.3.4 "}) {
    const auto parsed = parse_allow_rule(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(parsed.error().message(), testing::HasSubstr(text));
    EXPECT_THAT(parsed.error().message(), testing::Not(testing::HasSubstr("\n")));
  }
  EXPECT_FALSE(parse_allow_rule(std::string_view("1.2.3.4\0x", 9)));
}

TEST(AllowRuleTest, RefusesToAllowWhatNoBoxReaches) {
  for (const char* text : {"127.0.0.1", "169.254.169.254:80", "::1", "::ffff:10.0.0.1", "0.0.0.0", "fe80::1", "127.0.0.0/8",
                           "169.254.0.0/16", "fe80::/64"}) {
    const auto parsed = parse_allow_rule(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_THAT(parsed.error().message(), testing::HasSubstr("host.boxlite.internal"));
  }
  for (const char* text : {"0.0.0.0/0", "::/0", "126.0.0.0/7"})
    EXPECT_TRUE(parse_allow_rule(text)) << text << " holds others too";
}

}  // namespace
}  // namespace boxlite::net
