#include "runtime/published_ports.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace boxlite {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string text(const PortRequest& request) {
  return fmt::format("{} {}-{} {}/{}", request.host_ip, request.first, request.last, request.box_port, request.protocol);
}

std::vector<std::string> asked(std::vector<std::string> publish, bool all = false, const std::vector<std::string>& exposed = {}) {
  BoxOptions options;
  options.publish = std::move(publish);
  options.publish_all = all;
  const auto requests = asked_ports(options, exposed);
  if (!requests) return {requests.error().message()};
  std::vector<std::string> result;
  for (const PortRequest& request : *requests) result.push_back(text(request));
  return result;
}

TEST(PublishedPorts, DockersNotations) {
  EXPECT_THAT(asked({"8080:80"}), ElementsAre("127.0.0.1 8080-8080 80/tcp"));
  EXPECT_THAT(asked({"0.0.0.0:53:53/udp"}), ElementsAre("0.0.0.0 53-53 53/udp"));
  EXPECT_THAT(asked({"[::1]:8080:80"}), ElementsAre("::1 8080-8080 80/tcp"));
  EXPECT_THAT(asked({"80"}), ElementsAre("127.0.0.1 0-0 80/tcp"));
  EXPECT_THAT(asked({":80"}), ElementsAre("127.0.0.1 0-0 80/tcp"));
  EXPECT_THAT(asked({"0:80"}), ElementsAre("127.0.0.1 0-0 80/tcp"));
  EXPECT_THAT(asked({"127.0.0.2::80"}), ElementsAre("127.0.0.2 0-0 80/tcp"));
  EXPECT_THAT(asked({"[::]::80"}), ElementsAre(":: 0-0 80/tcp"));
  EXPECT_THAT(asked({"8000-8001:80-81"}), ElementsAre("127.0.0.1 8000-8000 80/tcp", "127.0.0.1 8001-8001 81/tcp"));
  EXPECT_THAT(asked({"8000-8009:80"}), ElementsAre("127.0.0.1 8000-8009 80/tcp"));
  EXPECT_THAT(asked({"80-81"}), ElementsAre("127.0.0.1 0-0 80/tcp", "127.0.0.1 0-0 81/tcp"));
}

TEST(PublishedPorts, WhatCannotBeRightIsRefusedByNameAndValue) {
  for (const char* value :
       {"", ":", "a:80", "80:b", "70000:80", "80:0", "80:70000", "127.0.0.1:80", "localhost:8080:80", "::1:8080:80",
        "[::1:8080:80", "8080:80/sctp", "9-8:80", "8000-8002:80-81", "80-:80", "-1:80", "8080:80:90:100", "80/tcp/udp"}) {
    const std::vector<std::string> answer = asked({value});
    ASSERT_EQ(answer.size(), 1U) << value;
    EXPECT_THAT(answer[0], HasSubstr("--publish")) << value;
    EXPECT_THAT(answer[0], HasSubstr(value)) << value;
  }
}

TEST(PublishedPorts, MoreExposedPortsThanCanBePublishedAreRefusedAndNotLeftOut) {
  EXPECT_EQ(asked({}, true, {"1-512"}).size(), 512U);
  EXPECT_THAT(asked({}, true, {"1-512", "512/tcp", "600"}), ElementsAre(HasSubstr("--publish-all")));
  EXPECT_THAT(asked({}, true, {"1-65535"}), ElementsAre(HasSubstr("--publish-all")));
}

TEST(PublishedPorts, OnePortOfTheHostLeadsToOneOfTheBox) {
  EXPECT_THAT(asked({"8080:80", "8080:81"})[0], HasSubstr("asked for twice"));
  EXPECT_THAT(asked({"8080:80", "0.0.0.0:8080:81"})[0], HasSubstr("asked for twice"));
  EXPECT_EQ(asked({"8080:80", "[::]:8080:80"}).size(), 2U);
  EXPECT_EQ(asked({"8080:80", "8080:80/udp", "127.0.0.2:8080:80"}).size(), 3U);
}

TEST(PublishedPorts, AllOfTheImageAreTakenButThoseThatWereNamed) {
  EXPECT_THAT(asked({"8080:80"}, true, {"80/tcp", "53/udp", "443", "rubbish", "9-8/tcp", "22/sctp"}),
              ElementsAre("127.0.0.1 8080-8080 80/tcp", "127.0.0.1 0-0 53/udp", "127.0.0.1 0-0 443/tcp"));
}

TEST(PublishedPorts, ABoundPortListensAndIsToldWithItsNumber) {
  auto bound = bind_ports({{.host_ip = "127.0.0.1", .first = 0, .last = 0, .box_port = 80, .protocol = "tcp"}});
  ASSERT_TRUE(bound) << bound.error().message();
  ASSERT_EQ(bound->size(), 1U);
  EXPECT_GT(bound->front().port.host_port, 0);
  int listening = 0;
  socklen_t size = sizeof listening;
  ASSERT_EQ(::getsockopt(bound->front().fd.get(), SOL_SOCKET, SO_ACCEPTCONN, &listening, &size), 0);
  EXPECT_EQ(listening, 1);
}

TEST(PublishedPorts, ATakenPortIsNamedWithWhoHasIt) {
  for (const char* protocol : {"tcp", "udp"}) {
    auto first = bind_ports({{.host_ip = "127.0.0.1", .first = 0, .last = 0, .box_port = 80, .protocol = protocol}});
    ASSERT_TRUE(first) << first.error().message();
    const std::uint16_t port = first->front().port.host_port;
    const auto second = bind_ports({{.host_ip = "127.0.0.1", .first = port, .last = port, .box_port = 80, .protocol = protocol}});
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code(), ErrorCode::kAlreadyExists);
    EXPECT_THAT(second.error().message(),
                HasSubstr(fmt::format("port 127.0.0.1:{}/{} is taken by pid {} (", port, protocol, ::getpid())));
  }
}

TEST(PublishedPorts, ARangeGivesTheFirstFreeOne) {
  auto first = bind_ports({{.host_ip = "127.0.0.1", .first = 0, .last = 0, .box_port = 80, .protocol = "tcp"}});
  ASSERT_TRUE(first);
  const std::uint16_t port = first->front().port.host_port;
  if (port == 65535) GTEST_SKIP() << "the last port has no next";
  const auto second = bind_ports({{.host_ip = "127.0.0.1", .first = port, .last = 65535, .box_port = 80, .protocol = "tcp"}});
  ASSERT_TRUE(second) << second.error().message();
  EXPECT_GT(second->front().port.host_port, port);
}

TEST(PublishedPorts, AnAddressThatIsNotThisHostsIsSaidSo) {
  const auto bound = bind_ports({{.host_ip = "192.0.2.1", .first = 8080, .last = 8080, .box_port = 80, .protocol = "tcp"}});
  ASSERT_FALSE(bound);
  EXPECT_THAT(bound.error().message(), HasSubstr("this host has no address 192.0.2.1"));
}

}  // namespace
}  // namespace boxlite
