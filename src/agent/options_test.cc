#include "agent/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace boxlite::agent {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

proto::Process process_of(std::initializer_list<std::string> args) {
  proto::Process process;
  for (const std::string& arg : args) process.add_args(arg);
  return process;
}

TEST(OptionsTest, ACommandNeedsOnlyItsArguments) {
  const Command command = *parse_command(process_of({"sh", ""}));
  EXPECT_THAT(command.args, ElementsAre("sh", ""));
  EXPECT_EQ(command.working_dir, "/");
  EXPECT_FALSE(command.tty);
}

TEST(OptionsTest, RefusesNoCommandAndEmbeddedNulBytes) {
  EXPECT_FALSE(parse_command(process_of({})));
  EXPECT_FALSE(parse_command(process_of({""})));
  EXPECT_FALSE(parse_command(process_of({"sh", std::string("a\0b", 3)})));
}

TEST(OptionsTest, RefusesAnEnvironmentEntryWithoutRevealingIt) {
  proto::Process process = process_of({"sh"});
  process.add_env("A=1");
  process.add_env("secret-without-name");
  const auto command = parse_command(process);
  ASSERT_FALSE(command);
  EXPECT_THAT(command.error().message(), Not(HasSubstr("secret")));
}

TEST(OptionsTest, RefusesARelativeWorkingDirectoryAndAHugeTerminal) {
  proto::Process process = process_of({"sh"});
  process.set_working_dir("relative");
  EXPECT_FALSE(parse_command(process));
  process.set_working_dir("/ok");
  EXPECT_TRUE(parse_command(process));
  process.set_rows(65536);
  EXPECT_FALSE(parse_command(process));
}

TEST(OptionsTest, TheEnvironmentGetsDockersDefaults) {
  Command command{.args = {"sh"}};
  EXPECT_THAT(complete_environment(command, "box", "/root"),
              ElementsAre("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=box", "HOME=/root"));
  command.tty = true;
  command.env = {"PATH=/bin", "A=1", "HOME=/x", "A=2", "EMPTY="};
  EXPECT_THAT(complete_environment(command, "box", "/root"),
              ElementsAre("PATH=/bin", "HOSTNAME=box", "TERM=xterm", "HOME=/x", "A=2", "EMPTY="));
}

TEST(OptionsTest, AContainersFilesAreWrittenFromCheckedLines) {
  proto::Configure configure;
  configure.set_hostname("web-1");
  configure.add_resolv_conf("nameserver 10.0.2.3");
  configure.add_extra_hosts("10.0.0.7 db");
  const ContainerOptions options = *parse_container(configure);
  EXPECT_EQ(options.resolv_conf, "nameserver 10.0.2.3\n");
  EXPECT_THAT(options.hosts, HasSubstr("127.0.1.1\tweb-1\n10.0.0.7 db\n"));
  configure.add_extra_hosts("10.0.0.8 x\n127.0.0.1 evil");
  EXPECT_FALSE(parse_container(configure));
}

TEST(OptionsTest, RefusesADirectoryThatIsNoAbsolutePath) {
  for (const std::string& path :
       {std::string("relative"), std::string(), std::string("/a\0b", 4), "/" + std::string(5000, 'a')}) {
    proto::Configure configure;
    configure.set_hostname("box");
    configure.add_directories("/var/lib/docker");
    EXPECT_TRUE(parse_container(configure));
    configure.add_directories(path);
    EXPECT_FALSE(parse_container(configure)) << path.substr(0, 20);
  }
}

TEST(OptionsTest, RefusesAHostNameThatIsNone) {
  proto::Configure configure;
  for (const char* bad : {"", "a b", "a\nb", "x/y"}) {
    configure.set_hostname(bad);
    EXPECT_FALSE(parse_container(configure)) << bad;
  }
  configure.set_hostname(std::string(64, 'a'));
  EXPECT_FALSE(parse_container(configure));
}

proto::Configure with_network() {
  proto::Configure configure;
  configure.set_hostname("box");
  proto::Network& network = *configure.mutable_network();
  network.set_address4("192.168.127.2");
  network.set_prefix4(24);
  network.set_gateway4("192.168.127.1");
  network.set_address6("fd62::2");
  network.set_prefix6(64);
  network.set_gateway6("fd62::1");
  network.set_mtu(65520);
  return configure;
}

TEST(OptionsTest, TheHostsNameStandsForTheNetworksAddress) {
  const auto options = parse_container(with_network());
  ASSERT_TRUE(options) << options.error().message();
  ASSERT_TRUE(options->network);
  EXPECT_EQ(options->network->mtu, 65520U);
  EXPECT_NE(options->hosts.find("192.168.127.2\tbox\n"), std::string::npos);
  proto::Configure none;
  none.set_hostname("box");
  const auto without = parse_container(none);
  ASSERT_TRUE(without);
  EXPECT_FALSE(without->network);
  EXPECT_NE(without->hosts.find("127.0.1.1\tbox\n"), std::string::npos);
}

TEST(OptionsTest, RefusesANetworkThatCannotBe) {
  const auto refused = [](auto change) {
    proto::Configure configure = with_network();
    change(*configure.mutable_network());
    return !parse_container(configure);
  };
  EXPECT_TRUE(refused([](proto::Network& network) { network.set_address4("192.168.127"); }));
  EXPECT_TRUE(refused([](proto::Network& network) { network.set_gateway4(""); }));
  EXPECT_TRUE(refused([](proto::Network& network) { network.set_prefix4(33); }));
  EXPECT_TRUE(refused([](proto::Network& network) { network.set_address6("192.168.127.2"); }));
  EXPECT_TRUE(refused([](proto::Network& network) { network.set_prefix6(129); }));
  EXPECT_TRUE(refused([](proto::Network& network) { network.set_mtu(1279); }));
  EXPECT_TRUE(refused([](proto::Network& network) { network.set_mtu(65536); }));
}

}  // namespace
}  // namespace boxlite::agent
