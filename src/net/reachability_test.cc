#include "net/reachability.h"

#include <gtest/gtest.h>

#include "net/test_frames.h"

namespace boxlite::net {
namespace {

using test::address;

TEST(ReachabilityTest, NoFormOfTheHostItselfIsReached) {
  for (const char* text : {"127.0.0.1",
                           "127.255.255.254",
                           "0.0.0.0",
                           "0.1.2.3",
                           "255.255.255.255",
                           "240.0.0.1",
                           "224.0.0.1",
                           "::",
                           "::1",
                           "::127.0.0.1",
                           "::ffff:127.0.0.1",
                           "::ffff:8.8.8.8",
                           "64:ff9b::127.0.0.1",
                           "64:ff9b::7f00:1",
                           "64:ff9b::0.0.0.0",
                           "64:ff9b:1::127.0.0.1",
                           "2002:7f00:1::",
                           "2002:0:0::1",
                           "ff02::1",
                           "ff05::2"})
    EXPECT_TRUE(never_reachable(address(text))) << text;
}

TEST(ReachabilityTest, NoFormOfTheMetadataServiceIsReached) {
  for (const char* text : {"169.254.169.254", "169.254.0.1", "fd00:ec2::254", "fe80::a9fe:a9fe", "::ffff:169.254.169.254",
                           "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "::169.254.169.254"})
    EXPECT_TRUE(never_reachable(address(text))) << text;
}

TEST(ReachabilityTest, NoTranslationLeadsIntoTheBoxsOwnNetwork) {
  EXPECT_TRUE(never_reachable(address("64:ff9b::192.168.127.254")));
  EXPECT_TRUE(never_reachable(address("2002:c0a8:7ffe::1")));
}

TEST(ReachabilityTest, TheRestOfTheWorldIs) {
  for (const char* text :
       {"8.8.8.8", "10.0.0.1", "192.168.126.1", "172.16.0.1", "126.255.255.255", "128.0.0.1", "1.0.0.0", "169.253.0.1",
        "223.255.255.255", "2001:db8::1", "fd00:ec2::253", "fc00::1", "64:ff9b::8.8.8.8", "2002:808:808::1", "fec0::1"})
    EXPECT_FALSE(never_reachable(address(text))) << text;
}

}  // namespace
}  // namespace boxlite::net
