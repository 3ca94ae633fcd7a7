// The shim's side of the portal against an agent made of the mux alone.
#include "shim/bridge.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/sys.h"

namespace boxlite::shim {
namespace {

using namespace std::chrono_literals;
using portal::StreamId;

// The other end of the pipe: answers the epoch, keeps what arrives, and does nothing by itself.
class FakeAgent {
 public:
  FakeAgent(EventLoop& loop, UniqueFd fd)
      : fd_(std::move(fd)), watch_(loop, fd_.get()), scanner_(portal::Sender::kHost, std::nullopt) {
    wait();
  }

  void flush() {
    while (!mux.output().empty()) {
      const ssize_t count = ::send(fd_.get(), mux.output().data(), mux.output().size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (count < 0) return;
      mux.drop_output(static_cast<std::size_t>(count));
    }
  }
  void write_raw(std::string_view text) { EXPECT_TRUE(sys::write_all(fd_.get(), text)); }
  void disconnect() {
    ::shutdown(fd_.get(), SHUT_RDWR);
    fd_.reset();
  }

  portal::Mux mux{portal::Mux::Role::kAgent,
                  {.on_open = [this](StreamId id) { opened = id; },
                   .on_data =
                       [this](StreamId id, std::span<const std::byte> data) {
                         received.append(reinterpret_cast<const char*>(data.data()), data.size());
                         if (reading) mux.consume(id, data.size());
                       },
                   .on_end = [this](StreamId) { ended = true; },
                   .on_reset = [this](StreamId) { reset = true; }}};
  StreamId opened = 0;
  std::string received;
  bool reading = true;
  bool ended = false;
  bool reset = false;

 private:
  void wait() {
    watch_.on_readable([this] { read(); });
  }
  void read() {
    std::array<std::byte, 65536> buffer;
    const ssize_t count = ::recv(fd_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (count <= 0) return count < 0 && errno == EAGAIN ? wait() : void();
    std::span<const std::byte> data = std::span(buffer).first(static_cast<std::size_t>(count));
    if (!in_epoch_) {
      const auto found = scanner_.feed(data);
      if (!found) return wait();
      in_epoch_ = true;
      auto header = found->header;
      header.sender = portal::Sender::kAgent;
      EXPECT_TRUE(sys::write_all(fd_.get(), portal::encode(header)));
      data = data.subspan(found->consumed);
    }
    EXPECT_TRUE(mux.feed(data));
    flush();
    wait();
  }

  UniqueFd fd_;
  Watch watch_;
  portal::EpochScanner scanner_;
  bool in_epoch_ = false;
};

class BridgeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto pipe = sys::socket_pair();
    ASSERT_TRUE(sys::set_nonblocking(pipe->a.get(), true));
    pipe_ = std::move(pipe->a);
    agent_.emplace(loop_, std::move(pipe->b));
    link_.emplace(loop_, pipe_.get());
    link_->begin([] {}, [this](const Error& error) { broken_ = error.message(); }, [this] { hung_up_ = true; });
    ASSERT_TRUE(until([&] { return link_->ready(); }));
    auto client = sys::socket_pair();
    client_ = std::move(client->a);
    bridge_ = std::make_shared<Bridge>(
        loop_, *link_, std::move(client->b),
        [this](Bridge*) {
          closed_ = true;
          bridge_.reset();
        },
        [this](const proto::Call& call) { calls_.push_back(call); });
    ASSERT_TRUE(bridge_->begin(early()));
    ASSERT_TRUE(until([&] { return agent_->opened != 0; }));
  }

  virtual std::string early() const { return "early "; }

  bool until(const std::function<bool()>& condition) {
    Timer deadline(loop_);
    bool late = false;
    deadline.start(60s, [&] { late = true; });
    while (!condition() && !late) loop_.run_one();
    return !late;
  }
  // Lets everything happen that can happen.
  void settle() {
    bool done = false;
    Timer pause(loop_);
    pause.start(50ms, [&] { done = true; });
    while (!done) loop_.run_one();
  }

  std::string read_client() {
    std::string text(1U << 20U, '\0');
    const ssize_t count = ::recv(client_.get(), text.data(), text.size(), MSG_DONTWAIT);
    text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    client_at_end_ = count == 0;
    return text;
  }
  void agent_sends(std::string_view text) {
    while (!text.empty()) {
      const std::size_t count = agent_->mux.send(agent_->opened, std::as_bytes(std::span(text)));
      agent_->flush();
      text.remove_prefix(count);
      if (count == 0) loop_.run_one();
    }
  }

  EventLoop loop_;
  UniqueFd pipe_;
  std::optional<FakeAgent> agent_;
  std::optional<AgentLink> link_;
  UniqueFd client_;
  std::shared_ptr<Bridge> bridge_;
  std::vector<proto::Call> calls_;
  std::string broken_;
  bool hung_up_ = false;
  bool closed_ = false;
  bool client_at_end_ = false;
};

TEST_F(BridgeTest, BytesGoBothWaysAndEachEndIsPassedOnAlone) {
  ASSERT_TRUE(sys::write_all(client_.get(), "question"));
  ASSERT_TRUE(until([&] { return agent_->received == "early question"; }));
  ::shutdown(client_.get(), SHUT_WR);
  ASSERT_TRUE(until([&] { return agent_->ended; }));
  EXPECT_FALSE(closed_);
  agent_sends("answer");
  agent_->mux.finish(agent_->opened);
  agent_->flush();
  std::string seen;
  ASSERT_TRUE(until([&] {
    seen += read_client();
    return client_at_end_;
  }));
  EXPECT_EQ(seen, "answer");
  EXPECT_TRUE(closed_);
  EXPECT_EQ(link_->open(nullptr).has_value(), true) << "the link lives on";
}

TEST_F(BridgeTest, HoweverManyClientsThereAreTheShimsOwnCallsGetThrough) {
  const auto one_more = [this] {
    auto pair = sys::socket_pair();
    return std::make_shared<Bridge>(loop_, *link_, std::move(pair->b), [](Bridge*) {});
  };
  while (link_->open(nullptr, kSpareStreams + 1)) {
  }
  const auto last = one_more();
  EXPECT_TRUE(last->begin(""));
  const auto refused = one_more()->begin("");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
  for (std::size_t i = 0; i < kSpareStreams; ++i) EXPECT_TRUE(link_->open(nullptr)) << i;
  EXPECT_FALSE(link_->open(nullptr));
  last->close();
}

class BridgeCallTest : public BridgeTest {
 protected:
  std::string early() const override { return ""; }

  static std::string exec_of(std::string_view word) {
    proto::Call call;
    call.mutable_exec()->mutable_process()->add_args(std::string(word));
    return *portal::encode_message(call);
  }
};

TEST_F(BridgeCallTest, TheClientsCallIsToldOnceAllOfItIsPassedOnAndNothingBehindIt) {
  const std::string call = exec_of("first");
  const std::string behind = exec_of("second");
  ASSERT_TRUE(sys::write_all(client_.get(), std::string_view(call).substr(0, 7)));
  ASSERT_TRUE(until([&] { return agent_->received.size() == 7; }));
  EXPECT_TRUE(calls_.empty());
  ASSERT_TRUE(sys::write_all(client_.get(), call.substr(7) + behind));
  ASSERT_TRUE(until([&] { return agent_->received == call + behind; })) << "as it came";
  ASSERT_EQ(calls_.size(), 1U);
  EXPECT_EQ(calls_.front().exec().process().args(0), "first");
}

TEST_F(BridgeTest, AnAgentThatDoesNotReadStopsTheClientAndFillsNoMemory) {
  agent_->reading = false;
  ASSERT_TRUE(sys::set_nonblocking(client_.get(), true));
  const std::string piece(65536, 'x');
  std::size_t sent = 0;
  for (int idle = 0; idle < 3;) {
    const ssize_t count = ::send(client_.get(), piece.data(), piece.size(), MSG_NOSIGNAL);
    idle = count > 0 ? 0 : idle + 1;
    if (count > 0) sent += static_cast<std::size_t>(count);
    settle();
  }
  EXPECT_EQ(agent_->received.size(), portal::Mux::kInitialWindow);
  const std::size_t held = agent_->received.size();
  agent_->reading = true;
  agent_->mux.consume(agent_->opened, held);
  agent_->flush();
  ASSERT_TRUE(until([&] { return agent_->received.size() == sent + std::string_view("early ").size(); }));
}

TEST_F(BridgeTest, AClientThatDoesNotReadStopsTheAgentAndLosesNothing) {
  const std::string text(4U << 20U, 'y');
  std::string_view rest = text;
  for (int idle = 0; idle < 3;) {
    const std::size_t count = agent_->mux.send(agent_->opened, std::as_bytes(std::span(rest)));
    agent_->flush();
    rest.remove_prefix(count);
    idle = count > 0 ? 0 : idle + 1;
    settle();
  }
  EXPECT_GT(rest.size(), 2U << 20U) << "all of it was taken although nobody reads";
  std::size_t got = 0;
  ASSERT_TRUE(until([&] {
    got += read_client().size();
    rest.remove_prefix(agent_->mux.send(agent_->opened, std::as_bytes(std::span(rest))));
    agent_->flush();
    return got == text.size();
  }));
}

TEST_F(BridgeTest, AClientThatIsGoneResetsItsStream) {
  client_.reset();
  EXPECT_TRUE(until([&] { return agent_->reset && closed_; }));
}

TEST_F(BridgeTest, AClientThatGoesWhileTheAgentDoesNotReadIsNoticed) {
  agent_->reading = false;
  ASSERT_TRUE(sys::set_nonblocking(client_.get(), true));
  const std::string piece(65536, 'x');
  for (int idle = 0; idle < 3; settle()) {
    idle = ::send(client_.get(), piece.data(), piece.size(), MSG_NOSIGNAL) > 0 ? 0 : idle + 1;
  }
  client_.reset();
  EXPECT_TRUE(until([&] { return agent_->reset && closed_; }));
}

TEST_F(BridgeTest, WhatAClientThatIsGoneHasSentIsStillDelivered) {
  ASSERT_TRUE(sys::write_all(client_.get(), std::string(100'000, 'x')));
  client_.reset();
  EXPECT_TRUE(until([&] { return agent_->reset && closed_; }));
  EXPECT_EQ(agent_->received.size(), std::string_view("early ").size() + 100'000);
}

TEST_F(BridgeTest, AHalfClosedClientThatGoesIsNoticed) {
  ::shutdown(client_.get(), SHUT_WR);
  ASSERT_TRUE(until([&] { return agent_->ended; }));
  client_.reset();
  EXPECT_TRUE(until([&] { return agent_->reset && closed_; }));
}

TEST_F(BridgeTest, WhatArrivedBeforeTheVmsEndIsStillDelivered) {
  agent_sends("last words");
  agent_->disconnect();
  bool drained = false;
  link_->drain([&] { drained = true; });
  std::string seen;
  ASSERT_TRUE(until([&] {
    seen += read_client();
    return drained && client_at_end_;
  }));
  EXPECT_EQ(seen, "last words");
  EXPECT_TRUE(hung_up_);
  EXPECT_TRUE(closed_);
}

TEST_F(BridgeTest, AnAgentThatBreaksTheProtocolEndsTheLinkAndItsStreams) {
  agent_->write_raw("this is no frame of the multiplexer");
  ASSERT_TRUE(until([&] { return !broken_.empty(); }));
  ASSERT_TRUE(until([&] {
    (void)read_client();
    return client_at_end_;
  }));
  EXPECT_TRUE(closed_);
  EXPECT_FALSE(hung_up_);
  EXPECT_FALSE(link_->open(nullptr));
}

}  // namespace
}  // namespace boxlite::shim
