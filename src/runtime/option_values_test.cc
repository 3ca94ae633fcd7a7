#include "runtime/option_values.h"

#include <sys/resource.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace boxlite {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::UnorderedElementsAre;

constexpr std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }
constexpr unsigned kNetAdmin = 12, kSysAdmin = 21, kChown = 0;

TEST(UlimitTest, HasASoftAndAHardLimit) {
  const Ulimit one = *parse_ulimit("nofile=1024");
  EXPECT_EQ(one.resource, static_cast<std::uint32_t>(RLIMIT_NOFILE));
  EXPECT_EQ(one.soft, 1024U);
  EXPECT_EQ(one.hard, 1024U);
  const Ulimit two = *parse_ulimit("core=0:-1");
  EXPECT_EQ(two.soft, 0U);
  EXPECT_EQ(two.hard, ~std::uint64_t{0});
}

TEST(UlimitTest, WhatIsNoneIsRefusedWithFlagAndValue) {
  for (const char* text : {"", "nofile", "nofile=", "nofile=x", "nofile=2:1", "nofile=-2", "files=1", "nofile=1:2:3", "nofile=-1",
                           "nofile=1048577", "=1"}) {
    const auto limit = parse_ulimit(text);
    ASSERT_FALSE(limit) << text;
    EXPECT_THAT(limit.error().message(), HasSubstr(*text == '\0' ? "--ulimit \"\":" : std::string("--ulimit ") + text + ":"));
  }
}

TEST(TmpfsTest, HasDockersDefaultsAndTheLastWordCounts) {
  const TmpfsOptions plain = *parse_tmpfs("/run", "");
  EXPECT_FALSE(plain.exec || plain.suid || plain.dev || plain.read_only);
  EXPECT_THAT(plain.settings, ElementsAre(Pair("mode", "1777")));
  const TmpfsOptions full = *parse_tmpfs("/run", "ro,rw,exec,dev,suid,size=64m,mode=700,uid=7,nr_inodes=10k");
  EXPECT_TRUE(full.exec && full.suid && full.dev);
  EXPECT_FALSE(full.read_only);
  EXPECT_THAT(full.settings,
              UnorderedElementsAre(Pair("mode", "700"), Pair("size", "64m"), Pair("uid", "7"), Pair("nr_inodes", "10k")));
}

TEST(TmpfsTest, BadPathsAndOptionsAreNamed) {
  for (const char* path : {"", "run", "/", "/proc", "/sys/x", "/a/../b", "/a//b", "/a/", "/./a"})
    EXPECT_FALSE(parse_tmpfs(path, "")) << path;
  for (const char* option : {"size=big", "size=", "size=101%", "size=99999999999999999999", "mode=9", "mode=17777", "uid=-1",
                             "gid=x", "bind", ",", "ro=1", "nr_inodes=5%"}) {
    const auto parsed = parse_tmpfs("/run", option);
    ASSERT_FALSE(parsed) << option;
    EXPECT_THAT(parsed.error().message(), HasSubstr("--tmpfs /run: option"));
  }
}

TEST(CapabilityTest, NamesWithAndWithoutPrefixAndAllMeanWhatDockersDo) {
  const auto change = *capability_change({"NET_ADMIN", "cap_sys_admin"}, {"CAP_CHOWN"});
  EXPECT_EQ(change.add, bit(kNetAdmin) | bit(kSysAdmin));
  EXPECT_EQ(change.drop, bit(kChown));
  const auto only = *capability_change({"CHOWN"}, {"ALL"});
  EXPECT_EQ(only.add, bit(kChown));
  EXPECT_EQ(only.drop, bit(41) - 1);
  EXPECT_EQ(capability_change({"all"}, {"SYS_ADMIN"})->add, (bit(41) - 1) & ~bit(kSysAdmin));
  EXPECT_THAT(capability_change({}, {"ROOT"}).error().message(), HasSubstr("--cap-drop ROOT:"));
  EXPECT_FALSE(capability_change({"CAP_"}, {}));
}

TEST(HostsLineTest, TakesDockersNotations) {
  EXPECT_EQ(*hosts_line("db:10.0.0.7"), "10.0.0.7\tdb");
  EXPECT_EQ(*hosts_line("db:::1"), "::1\tdb");
  EXPECT_EQ(*hosts_line("db=[fe80::1]"), "fe80::1\tdb");
  for (const char* text : {"", "db", "db:", ":1.2.3.4", "db:1.2.3", "d b:1.2.3.4", "db:1.2.3.4\n1.1.1.1 x"}) {
    EXPECT_FALSE(hosts_line(text)) << text;
  }
}

TEST(ResolvConfTest, IsWrittenAsDockerWritesIt) {
  BoxOptions options;
  options.dns = {"1.1.1.1", "::1"};
  options.dns_search = {"a.example", "b.example"};
  options.dns_options = {"ndots:2"};
  EXPECT_THAT(resolv_conf_lines(options, {"host.example"}),
              ElementsAre("nameserver 1.1.1.1", "nameserver ::1", "search a.example b.example", "options ndots:2"));
  BoxOptions none;
  none.dns_search = {"."};
  EXPECT_THAT(resolv_conf_lines(none, {"host.example"}), ElementsAre("nameserver 192.168.127.1"));
  none.dns_search = {};
  EXPECT_THAT(resolv_conf_lines(none, {"host.example"}), ElementsAre("nameserver 192.168.127.1", "search host.example"));
  none.network = "none";
  EXPECT_THAT(resolv_conf_lines(none, {"host.example"}), ElementsAre());
}

}  // namespace
}  // namespace boxlite
