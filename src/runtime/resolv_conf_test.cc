#include "runtime/resolv_conf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace boxlite {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ResolvConf, ServersAndTheLastSearchLineCount) {
  const HostResolver host = parse_resolv_conf(
      "# made by hand\n"
      "domain old.example\n"
      "nameserver 10.0.0.53 ; the office\n"
      "nameserver 2001:db8::53\n"
      "search a.example b.example\n"
      "options edns0\n");
  EXPECT_THAT(host.servers, ElementsAre("10.0.0.53", "2001:db8::53"));
  EXPECT_THAT(host.domains, ElementsAre("a.example", "b.example"));
}

TEST(ResolvConf, WithoutAServerItIsThisHost) {
  EXPECT_THAT(parse_resolv_conf("").servers, ElementsAre("127.0.0.1"));
  EXPECT_THAT(parse_resolv_conf("search .\n").domains, IsEmpty());
}

TEST(ResolvConf, WhatIsNoAddressOrNoDomainIsLeftOut) {
  const HostResolver host =
      parse_resolv_conf("nameserver fe80::1%eth0\nnameserver dns.example\nsearch good.example bad\x01name\n");
  EXPECT_THAT(host.servers, ElementsAre("127.0.0.1"));
  EXPECT_THAT(host.domains, ElementsAre("good.example"));
}

TEST(ResolvConf, ThereAreNoMoreServersThanTheCLibraryTakes) {
  EXPECT_THAT(parse_resolv_conf("nameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\nnameserver 4.4.4.4\n").servers,
              ElementsAre("1.1.1.1", "2.2.2.2", "3.3.3.3"));
}

}  // namespace
}  // namespace boxlite
