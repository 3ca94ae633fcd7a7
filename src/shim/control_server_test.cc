// portal.sock's server with clients of this process.
#include "shim/control_server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/sys.h"
#include "base/unix_socket.h"

namespace boxlite::shim {
namespace {

class ControlServerTest : public ::testing::Test {
 protected:
  UniqueFd connect(std::string_view said) {
    auto client = connect_unix(directory_.path(), "portal.sock");
    EXPECT_TRUE(client) << client.error().message();
    EXPECT_TRUE(sys::write_all(client->get(), said));
    return std::move(*client);
  }

  /// Everything said so far has been read once this one is served.
  void serve_one_more() {
    const UniqueFd client = connect("control 1\n{\"call\":\"last\"}\n");
    while (calls_.empty() || calls_.back() != "last") loop_.run_one();
  }

  TempDir directory_ = *TempDir::create("/tmp", "boxlite-control-server-");
  EventLoop loop_;
  std::vector<std::string> calls_;
  int agent_streams_ = 0;
  ControlServer server_{loop_,
                        *listen_unix(directory_.path(), "portal.sock"),
                        {.on_call =
                             [this](const Json& call, const Answer& answer) {
                               calls_.push_back(call["call"]);
                               answer({{"ok", true}});
                             },
                         .on_agent = [this](UniqueFd, const std::string&) { ++agent_streams_; }}};
};

TEST_F(ControlServerTest, ACallIsAnswered) {
  const UniqueFd client = connect("control 1\n{\"call\":\"ping\"}\n");
  serve_one_more();
  EXPECT_EQ(calls_, (std::vector<std::string>{"ping", "last"}));
  std::array<std::byte, 64> buffer;
  const auto count = sys::read(client.get(), buffer);
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(buffer.data()), count.value_or(0)), "{\"ok\":true}\n");
}

// A shim that stood still: its client was told that the call failed, and has gone.
TEST_F(ControlServerTest, WhatAClientAskedForThatHasGoneIsNotDone) {
  (void)connect("control 1\n{\"call\":\"signal\",\"signal\":9}\n");
  (void)connect("agent 1\nearly");
  serve_one_more();
  EXPECT_EQ(calls_, std::vector<std::string>{"last"});
  EXPECT_EQ(agent_streams_, 0);
}

TEST_F(ControlServerTest, AClientThatOnlySaysNoMoreIsServed) {
  const UniqueFd client = connect("control 1\n{\"call\":\"ping\"}\n");
  ASSERT_EQ(::shutdown(client.get(), SHUT_WR), 0);
  serve_one_more();
  EXPECT_EQ(calls_, (std::vector<std::string>{"ping", "last"}));
}

}  // namespace
}  // namespace boxlite::shim
