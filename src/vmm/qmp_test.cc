#include "vmm/qmp.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

namespace boxlite::vmm {
namespace {

constexpr const char* kGreeting = R"({"QMP":{"version":{"qemu":{"micro":22,"minor":2,"major":7}},"capabilities":["oob"]}})"
                                  "\r\n";

class QmpTest : public ::testing::Test {
 protected:
  Result<void> feed(std::string_view text) { return client_.feed(std::as_bytes(std::span(text))); }
  QmpClient::OnReply keep() {
    return [this](Result<Json> reply) { replies_.push_back(std::move(reply)); };
  }

  std::vector<std::string> events_;
  std::vector<Result<Json>> replies_;
  QmpClient client_{[this](const std::string& name, const Json&) { events_.push_back(name); }};
};

TEST_F(QmpTest, CommandsWaitForTheGreetingAndComeAfterTheCapabilities) {
  client_.execute("query-status", Json::object(), keep());
  EXPECT_EQ(client_.take_output(), "");
  ASSERT_TRUE(feed(kGreeting));
  EXPECT_EQ(client_.take_output(), "{\"execute\":\"qmp_capabilities\",\"id\":0}\n{\"execute\":\"query-status\",\"id\":1}\n");
}

TEST_F(QmpTest, RepliesAreMatchedByIdInAnyOrderAndAnyPortions) {
  ASSERT_TRUE(feed(kGreeting));
  std::vector<int> order;
  client_.execute("first", Json::object(), [&](Result<Json> r) { order.push_back(r->get<int>()); });
  client_.execute("second", {{"a", 1}}, [&](Result<Json> r) { order.push_back(r->get<int>()); });
  EXPECT_NE(client_.take_output().find(R"("arguments":{"a":1})"), std::string::npos);
  const std::string text = "{\"return\":{},\"id\":0}\n{\"return\":2,\"id\":2}\n{\"return\":1,\"id\":1}\n";
  for (const char c : text) ASSERT_TRUE(feed(std::string_view(&c, 1)));
  EXPECT_EQ(order, (std::vector<int>{2, 1}));
}

TEST_F(QmpTest, QemusErrorIsTheCommandsError) {
  ASSERT_TRUE(feed(kGreeting));
  client_.execute("nonsense", Json::object(), keep());
  ASSERT_TRUE(feed(R"({"error":{"class":"CommandNotFound","desc":"no such command"},"id":1})"
                   "\n"));
  ASSERT_EQ(replies_.size(), 1U);
  EXPECT_EQ(replies_[0].error().message(), "QEMU: no such command");
}

TEST_F(QmpTest, EventsArriveBetweenReplies) {
  ASSERT_TRUE(feed(std::string(kGreeting) + R"({"event":"SHUTDOWN","data":{"guest":true},"timestamp":{}})"
                                            "\n"));
  EXPECT_EQ(events_, std::vector<std::string>{"SHUTDOWN"});
}

TEST_F(QmpTest, CommandsWithoutAReplyFailWhenTheConnectionEnds) {
  client_.execute("quit", Json::object(), keep());
  client_.close(Error(ErrorCode::kUnavailable, "QEMU is gone"));
  client_.close(Error(ErrorCode::kUnavailable, "again"));
  ASSERT_EQ(replies_.size(), 1U);
  EXPECT_EQ(replies_[0].error().message(), "QEMU is gone");
}

TEST_F(QmpTest, WhatIsNotTheProtocolEndsTheConnection) {
  EXPECT_FALSE(feed("garbage\n"));
  EXPECT_FALSE(feed("[1]\n"));
  EXPECT_FALSE(feed("{\"return\":{},\"id\":99}\n"));
  EXPECT_FALSE(feed("{\"return\":{}}\n"));
  EXPECT_FALSE(feed("{\"event\":1}\n"));
  ASSERT_TRUE(feed(kGreeting));
  EXPECT_FALSE(feed(kGreeting));
}

TEST_F(QmpTest, AnEndlessLineIsRefusedBeforeItFillsTheMemory) {
  const std::string piece(64 * 1024, 'x');
  std::size_t fed = 0;
  while (feed(piece)) {
    fed += piece.size();
    ASSERT_LE(fed, QmpClient::kMaxLine);
  }
  EXPECT_GE(fed + piece.size(), QmpClient::kMaxLine);
}

}  // namespace
}  // namespace boxlite::vmm
