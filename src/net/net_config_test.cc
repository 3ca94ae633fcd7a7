#include "net/net_config.h"

#include <gtest/gtest.h>

#include "net/counters.h"

namespace boxlite::net {
namespace {

NetConfig example() {
  NetConfig config;
  config.nic = 5;
  config.launcher = 6;
  config.counters = 7;
  config.lock = 8;
  config.mtu = 65520;
  config.host_access = true;
  config.allow = {"10.0.0.0/8", "[fd00::/8]:53"};
  config.tx_kbps = 1000;
  config.uid = 65534;
  config.listeners = {{8, Protocol::kTcp, 80, false}, {9, Protocol::kUdp, 53, true}};
  config.resolvers = {"127.0.0.53", "fd00::1"};
  return config;
}

Result<NetConfig> reread(const Json& json) {
  TRY_ASSIGN(const Json parsed, parse_json(dump_json(json), "test"));
  return net_config_from_json(parsed);
}

TEST(NetConfigTest, SurvivesItsJson) {
  const auto config = reread(to_json(example()));
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(*config, example());
}

TEST(NetConfigTest, WithoutUidStaysWhoItIs) {
  NetConfig config = example();
  config.uid.reset();
  const auto again = reread(to_json(config));
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->uid);
}

TEST(NetConfigTest, RefusesWhatCannotBe) {
  for (const auto& [key, value] : std::vector<std::pair<std::string, Json>>{{"mtu", 1279},
                                                                            {"mtu", 65521},
                                                                            {"nic", -1},
                                                                            {"nic", "5"},
                                                                            {"allow", "10.0.0.0/8"},
                                                                            {"uid", -1},
                                                                            {"listeners", Json::object()},
                                                                            {"listeners", {{{"fd", 3}}}},
                                                                            {"tx_kbps", 1.5}}) {
    Json json = to_json(example());
    json[key] = value;
    EXPECT_FALSE(reread(json)) << json.dump();
  }
  Json sctp = to_json(example());
  sctp["listeners"][0]["protocol"] = "sctp";
  EXPECT_FALSE(reread(sctp));
}

TEST(CountersTest, AreReadWhereTheyAreNotWritten) {
  const auto fd = create_counters();
  ASSERT_TRUE(fd);
  auto writer = CounterMap::map(fd->get(), CounterMap::Access::kWrite);
  const auto reader = CounterMap::map(fd->get(), CounterMap::Access::kRead);
  ASSERT_TRUE(writer && reader);
  count(writer->writable().tx_bytes, 1500);
  count(writer->writable().tx_bytes, 60);
  EXPECT_EQ((*reader)->tx_bytes.load(), 1560U);
  EXPECT_EQ((*reader)->denials.load(), 0U);
}

TEST(CountersTest, CannotBeShrunkUnderTheReader) {
  const auto fd = create_counters();
  ASSERT_TRUE(fd);
  EXPECT_LT(::ftruncate(fd->get(), 0), 0);
}

}  // namespace
}  // namespace boxlite::net
