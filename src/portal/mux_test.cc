#include "portal/mux.h"

#include <algorithm>
#include <random>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "portal/byte_order.h"

namespace boxlite::portal {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::uint8_t kData = 0, kUpdate = 1, kPing = 2, kGoAway = 3;
constexpr std::uint16_t kSyn = 1, kAck = 2, kFin = 4, kRst = 8;

Bytes frame(std::uint8_t type, std::uint16_t flags, StreamId id, std::uint32_t length, std::size_t payload = 0) {
  Bytes out(12 + payload, std::byte{'p'});
  out[0] = std::byte{0};
  out[1] = std::byte{type};
  put_be(&out[2], flags);
  put_be(&out[4], id);
  put_be(&out[8], length);
  return out;
}

Bytes data_frame(StreamId id, std::size_t size, std::uint16_t flags = 0) {
  return frame(kData, flags, id, static_cast<std::uint32_t>(size), size);
}

struct Header {
  unsigned type;
  std::uint16_t flags;
  StreamId id;
  std::uint32_t length;
  bool operator==(const Header&) const = default;
};

/// The headers of the frames in a mux's output.
std::vector<Header> headers(std::span<const std::byte> wire) {
  std::vector<Header> out;
  while (wire.size() >= 12) {
    const Header h{std::to_integer<unsigned>(wire[1]), get_be<std::uint16_t>(&wire[2]), get_be<StreamId>(&wire[4]),
                   get_be<std::uint32_t>(&wire[8])};
    out.push_back(h);
    wire = wire.subspan(12 + (h.type == kData ? h.length : 0));
  }
  return out;
}

/// One end, with what its callbacks said.
struct End {
  explicit End(Mux::Role role)
      : mux(role, {.on_open = [this](StreamId id) { opened.push_back(id); },
                   .on_data =
                       [this](StreamId id, std::span<const std::byte> data) {
                         received[id].append(reinterpret_cast<const char*>(data.data()), data.size());
                         if (consume_at_once) mux.consume(id, data.size());
                       },
                   .on_end = [this](StreamId id) { ended.insert(id); },
                   .on_reset = [this](StreamId id) { was_reset.insert(id); },
                   .on_writable = [this](StreamId id) { writable.push_back(id); },
                   .on_output = [this] { ++outputs; }}) {}

  std::vector<Header> take_output() {
    const auto result = headers(mux.output());
    mux.drop_output(mux.output().size());
    return result;
  }
  std::size_t send(StreamId id, std::string_view text) { return mux.send(id, std::as_bytes(std::span(text))); }
  Result<void> feed(const Bytes& data) { return mux.feed(data); }

  bool consume_at_once = true;
  std::vector<StreamId> opened;
  std::map<StreamId, std::string> received;
  std::set<StreamId> ended;
  std::set<StreamId> was_reset;
  std::vector<StreamId> writable;
  int outputs = 0;
  Mux mux;
};

/// Moves everything that waits from one to the other.
void pump(End& from, End& to) {
  const auto out = from.mux.output();
  const Bytes wire(out.begin(), out.end());
  from.mux.drop_output(wire.size());
  const auto result = to.mux.feed(wire);
  ASSERT_TRUE(result) << result.error().message();
}

void settle(End& a, End& b) {
  while (!a.mux.output().empty() || !b.mux.output().empty()) {
    ASSERT_NO_FATAL_FAILURE(pump(a, b));
    ASSERT_NO_FATAL_FAILURE(pump(b, a));
  }
}

class MuxTest : public ::testing::Test {
 protected:
  End host_{Mux::Role::kHost};
  End agent_{Mux::Role::kAgent};
  StreamId open() {
    const auto id = host_.mux.open_stream();
    EXPECT_TRUE(id);
    settle(host_, agent_);
    return *id;
  }
};

// ---- Normal life

TEST_F(MuxTest, AStreamIsOpenedUsedAndForgottenByBothSides) {
  const StreamId id = *host_.mux.open_stream();
  EXPECT_EQ(id, 1U);
  EXPECT_EQ(headers(host_.mux.output()), (std::vector<Header>{{kUpdate, kSyn, 1, 0}}));
  EXPECT_EQ(host_.send(id, "call"), 4U) << "no round trip before the first data";
  settle(host_, agent_);
  EXPECT_EQ(agent_.opened, std::vector<StreamId>{1});
  EXPECT_EQ(agent_.received[1], "call");

  host_.mux.finish(id);
  settle(host_, agent_);
  EXPECT_TRUE(agent_.ended.contains(1));
  EXPECT_TRUE(host_.mux.alive(1));
  EXPECT_EQ(agent_.send(id, "reply"), 5U) << "the other half stays open";
  agent_.mux.finish(id);
  settle(host_, agent_);
  EXPECT_EQ(host_.received[1], "reply");
  EXPECT_TRUE(host_.ended.contains(1));
  EXPECT_TRUE(host_.mux.idle());
  EXPECT_TRUE(agent_.mux.idle());
}

TEST_F(MuxTest, ADataFrameMayCarrySynAndFin) {
  ASSERT_TRUE(agent_.feed(data_frame(1, 5, kSyn | kFin)));
  EXPECT_EQ(agent_.opened, std::vector<StreamId>{1});
  EXPECT_EQ(agent_.received[1], "ppppp");
  EXPECT_TRUE(agent_.ended.contains(1));
  EXPECT_EQ(agent_.take_output(), (std::vector<Header>{{kUpdate, kAck, 1, 0}}));
}

TEST_F(MuxTest, NothingIsSentAfterFinish) {
  const StreamId id = open();
  host_.mux.finish(id);
  host_.mux.finish(id);
  EXPECT_EQ(host_.mux.writable(id), 0U);
  EXPECT_EQ(host_.send(id, "late"), 0U);
  EXPECT_EQ(host_.take_output(), (std::vector<Header>{{kUpdate, kFin, id, 0}}));
}

TEST_F(MuxTest, AResetStreamIsGoneAtOnceAndWhatWasUnderWayIsSkipped) {
  const StreamId id = open();
  const StreamId other = open();
  ASSERT_EQ(agent_.send(id, "under way"), 9U);
  ASSERT_EQ(agent_.send(other, "this one stays"), 14U);
  agent_.mux.finish(id);
  host_.mux.reset(id);
  EXPECT_FALSE(host_.mux.alive(id));
  settle(host_, agent_);
  EXPECT_EQ(host_.received[id], "");
  EXPECT_FALSE(host_.ended.contains(id));
  EXPECT_EQ(host_.received[other], "this one stays");
  EXPECT_TRUE(agent_.was_reset.contains(id));
  EXPECT_FALSE(agent_.mux.alive(id));
  EXPECT_EQ(agent_.send(id, "x"), 0U);
}

TEST_F(MuxTest, AResetBeforeTheAgentKnewTheStreamIsHarmless) {
  const StreamId id = *host_.mux.open_stream();
  host_.mux.reset(id);
  settle(host_, agent_);
  EXPECT_TRUE(host_.mux.idle());
  EXPECT_TRUE(agent_.mux.idle());
}

TEST_F(MuxTest, AHandlerMayResetTheStreamInTheMiddleOfItsFrame) {
  int calls = 0;
  Mux mux(Mux::Role::kAgent, {.on_data = [&](StreamId id, std::span<const std::byte>) {
            ++calls;
            mux.reset(id);
          }});
  Bytes wire = data_frame(1, 100, kSyn | kFin);
  for (const std::byte& byte : wire) ASSERT_TRUE(mux.feed(std::span(&byte, 1)));
  EXPECT_EQ(calls, 1);
  ASSERT_TRUE(mux.feed(data_frame(3, 1, kSyn))) << "the frame after it is in step";
  EXPECT_EQ(calls, 2);
}

TEST_F(MuxTest, AHandlerMayFinishTheStreamWhenThePeerDoes) {
  Mux mux(Mux::Role::kAgent, {.on_end = [&](StreamId id) { mux.finish(id); }});
  ASSERT_TRUE(mux.feed(frame(kUpdate, kSyn, 1, 0)));
  ASSERT_TRUE(mux.feed(frame(kUpdate, kFin, 1, 0)));
  EXPECT_EQ(mux.stream_count(), 0U);
}

TEST_F(MuxTest, AfterGoAwayTheHostOpensNothingAndGoesOnWithTheRest) {
  const StreamId id = open();
  ASSERT_TRUE(host_.feed(frame(kGoAway, 0, 0, 0)));
  const auto refused = host_.mux.open_stream();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kUnavailable);
  ASSERT_EQ(host_.send(id, "still here"), 10U);
}

// ---- Flow control

TEST_F(MuxTest, ASenderStopsAtTheWindowAndGoesOnWhenHalfOfItIsConsumed) {
  agent_.consume_at_once = false;
  const StreamId id = open();
  const std::string much(Mux::kInitialWindow + 1000, 'x');
  EXPECT_EQ(host_.send(id, much), Mux::kInitialWindow);
  settle(host_, agent_);
  EXPECT_EQ(host_.mux.writable(id), 0U);
  EXPECT_EQ(agent_.received[id].size(), Mux::kInitialWindow);

  agent_.mux.consume(id, Mux::kInitialWindow / 2 - 1);
  EXPECT_TRUE(agent_.mux.output().empty()) << "less than half of the window is not announced";
  agent_.mux.consume(id, 1);
  EXPECT_EQ(headers(agent_.mux.output()), (std::vector<Header>{{kUpdate, 0, id, Mux::kInitialWindow / 2}}));
  host_.writable.clear();
  settle(host_, agent_);
  EXPECT_EQ(host_.writable, std::vector<StreamId>{id});
  EXPECT_EQ(host_.mux.writable(id), Mux::kInitialWindow / 2);
}

TEST_F(MuxTest, ConsumingMoreThanCameAnnouncesOnlyWhatCame) {
  agent_.consume_at_once = false;
  const StreamId id = open();
  ASSERT_EQ(host_.send(id, std::string(Mux::kInitialWindow / 2, 'x')), Mux::kInitialWindow / 2);
  settle(host_, agent_);
  agent_.mux.consume(id, Mux::kInitialWindow * 5);
  agent_.mux.consume(id, Mux::kInitialWindow * 5);
  EXPECT_EQ(headers(agent_.mux.output()), (std::vector<Header>{{kUpdate, 0, id, Mux::kInitialWindow / 2}}));
  settle(host_, agent_);
}

TEST_F(MuxTest, ASlowReaderStopsOnlyItsOwnStream) {
  const StreamId slow = open();
  const StreamId fast = open();
  host_.consume_at_once = false;
  const std::string block(64 * 1024, 'x');
  std::size_t sent_fast = 0;
  for (int i = 0; i < 200; ++i) {
    agent_.send(slow, block);
    sent_fast += agent_.send(fast, block);
    settle(host_, agent_);
    host_.mux.consume(fast, block.size());
    settle(host_, agent_);
  }
  EXPECT_EQ(host_.received[slow].size(), Mux::kInitialWindow);
  EXPECT_EQ(host_.received[fast].size(), sent_fast);
  EXPECT_EQ(sent_fast, 200 * block.size());
}

TEST_F(MuxTest, APipeThatStandsStillStopsTheSendersAtABound) {
  std::vector<StreamId> ids;
  for (int i = 0; i < 100; ++i) ids.push_back(*host_.mux.open_stream());
  const std::string block(10'000, 'x');
  std::size_t taken = 1;
  while (taken > 0) {
    taken = 0;
    for (const StreamId id : ids) taken += host_.send(id, block);
  }
  EXPECT_LE(host_.mux.output().size(), Mux::kMaxQueuedOutput + 12 * 10);
  for (const StreamId id : ids) EXPECT_EQ(host_.mux.writable(id), 0U);
}

TEST_F(MuxTest, OpeningOnAPipeThatStandsStillEndsInAnErrorNotInMemory) {
  Result<StreamId> id = host_.mux.open_stream();
  for (int i = 0; i < 100'000 && id; ++i) {
    host_.mux.reset(*id);
    id = host_.mux.open_stream();
  }
  ASSERT_FALSE(id);
  EXPECT_EQ(id.error().code(), ErrorCode::kResourceExhausted);
  EXPECT_LE(host_.mux.output().size(), Mux::kMaxQueuedOutput + Mux::kControlReserve + 24);
}

TEST_F(MuxTest, WhenOutputDrainsEveryStreamHasATurnToBeFirst) {
  std::set<StreamId> first;
  std::vector<StreamId> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(open());
  for (int round = 0; round < 5; ++round) {
    while (host_.send(ids[0], std::string(1000, 'x')) > 0 || host_.send(ids[1], std::string(1000, 'x')) > 0) {
    }
    host_.writable.clear();
    const auto out = host_.mux.output();
    const Bytes wire(out.begin(), out.end());
    host_.mux.drop_output(wire.size());
    ASSERT_EQ(host_.writable.size(), 5U);
    first.insert(host_.writable.front());
    ASSERT_TRUE(agent_.mux.feed(wire));
    settle(host_, agent_);
  }
  EXPECT_EQ(first, std::set<StreamId>(ids.begin(), ids.end()));
}

TEST_F(MuxTest, AHandlerThatWritesToThePipeAtOnceSendsEverything) {
  // on_writable sends, on_output drains: each calls the other.
  std::size_t left = 3 * Mux::kInitialWindow;
  std::size_t written = 0;
  const std::string block(50'000, 'x');
  const auto send_more = [&](Mux& mux, StreamId id) {
    const std::size_t sent = mux.send(id, std::as_bytes(std::span(block).first(std::min(block.size(), left))));
    left -= sent;
    return sent;
  };
  Mux mux(Mux::Role::kHost, {.on_writable =
                                 [&](StreamId id) {
                                   while (send_more(mux, id) > 0) {
                                   }
                                 },
                             .on_output =
                                 [&] {
                                   if (mux.output().size() < 200'000) return;
                                   written += mux.output().size();
                                   mux.drop_output(mux.output().size());
                                 }});
  std::vector<StreamId> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(*mux.open_stream());
  while (send_more(mux, ids[0]) > 0) {
  }
  EXPECT_EQ(left, 0U) << "the drained queue must have started the other streams";
  EXPECT_GE(written + mux.output().size(), 3 * Mux::kInitialWindow);
}

// ---- A hostile peer

using Violation = std::pair<const char*, Bytes>;

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Bytes of_version_1() {
  Bytes bad = frame(kData, 0, 1, 0);
  bad[0] = std::byte{1};
  return bad;
}

TEST(MuxViolationTest, EachBreachByTheAgentEndsTheLink) {
  const std::vector<Violation> violations = {
      {"version", of_version_1()},
      {"type", frame(4, 0, 1, 0)},
      {"flags", frame(kUpdate, 16, 1, 0)},
      {"stream 0", data_frame(0, 1)},
      {"even stream", data_frame(2, 1)},
      {"a stream not opened yet", data_frame(3, 1)},
      {"the highest id", data_frame(0xffffffff, 1)},
      {"opening a stream", frame(kUpdate, kSyn, 3, 0)},
      {"opening an even stream", frame(kUpdate, kSyn, 2, 0)},
      {"opening the open stream", frame(kUpdate, kSyn, 1, 0)},
      {"more than the window in one frame", data_frame(1, Mux::kInitialWindow + 1)},
      {"more than the window in two frames", data_frame(1, Mux::kInitialWindow) + data_frame(1, 1)},
      {"a huge length", frame(kData, 0, 1, 0xffffffff)},
      {"a huge length for a forgotten stream", frame(kUpdate, kRst, 1, 0) + frame(kData, 0, 1, 0xffffffff)},
      {"returning what was not sent", frame(kUpdate, 0, 1, 1)},
      {"returning all there is", frame(kUpdate, 0, 1, 0xffffffff)},
      {"data after the end", frame(kUpdate, kFin, 1, 0) + data_frame(1, 1)},
      {"ending twice", frame(kUpdate, kFin, 1, 0) + frame(kUpdate, kFin, 1, 0)},
      {"ending twice, by data", data_frame(1, 0, kFin) + data_frame(1, 0, kFin)},
      {"a ping on a stream", frame(kPing, kSyn, 1, 0)},
      {"a ping that is neither", frame(kPing, 0, 0, 0)},
      {"a ping that is both", frame(kPing, kSyn | kAck, 0, 0)},
      {"going away from a stream", frame(kGoAway, 0, 1, 0)},
      {"going away with flags", frame(kGoAway, kFin, 0, 0)},
      {"going away in anger", frame(kGoAway, 0, 0, 1)},
  };
  for (const auto& [what, wire] : violations) {
    End host(Mux::Role::kHost);
    host.consume_at_once = false;
    ASSERT_TRUE(host.mux.open_stream());
    const auto result = host.feed(wire);
    ASSERT_FALSE(result) << what;
    EXPECT_EQ(result.error().code(), ErrorCode::kCorrupt) << what;
    EXPECT_FALSE(host.feed(frame(kPing, kAck, 0, 0))) << "the link must stay dead after: " << what;
    EXPECT_FALSE(host.mux.open_stream()) << what;
  }
}

TEST(MuxViolationTest, EachBreachByTheHostEndsTheLink) {
  const Bytes open = frame(kUpdate, kSyn, 5, 0);
  const std::vector<Violation> violations = {
      {"opening it twice", open + open},
      {"going back", open + frame(kUpdate, kSyn, 3, 0)},
      {"an even id", frame(kUpdate, kSyn, 2, 0)},
      {"id 0", frame(kUpdate, kSyn, 0, 0)},
      {"the id after which there is none", frame(kUpdate, kSyn, 0xffffffff, 0)},
      {"reusing a forgotten id", open + frame(kUpdate, kRst, 5, 0) + open},
      {"a SYN that is an ACK", frame(kUpdate, kSyn | kAck, 5, 0)},
      {"a SYN that is a RST", frame(kUpdate, kSyn | kRst, 5, 0)},
      {"a window above the window", frame(kUpdate, kSyn, 5, 1)},
      {"data without SYN", data_frame(5, 1)},
  };
  for (const auto& [what, wire] : violations) {
    End agent(Mux::Role::kAgent);
    EXPECT_FALSE(agent.feed(wire)) << what;
  }
}

TEST(MuxViolationTest, AnEpochHeaderIsSeenAtItsFirstByteAndLeftToTheScanner) {
  End agent(Mux::Role::kAgent);
  ASSERT_TRUE(agent.feed(frame(kUpdate, kSyn, 1, 0)));
  const std::byte first{'B'};
  EXPECT_FALSE(agent.mux.feed(std::span(&first, 1)));
}

TEST(MuxViolationTest, AStreamTooManyIsResetAndTheOthersLive) {
  End agent(Mux::Role::kAgent);
  StreamId id = 1;
  for (std::size_t i = 0; i < Mux::kMaxStreams; ++i, id += 2) ASSERT_TRUE(agent.feed(frame(kUpdate, kSyn, id, 0)));
  agent.take_output();
  ASSERT_TRUE(agent.feed(data_frame(id, 10, kSyn)));
  EXPECT_EQ(agent.take_output(), (std::vector<Header>{{kUpdate, kRst, id, 0}}));
  ASSERT_TRUE(agent.feed(data_frame(id, 10))) << "sent before the reset arrived";
  EXPECT_FALSE(agent.received.contains(id));
  EXPECT_EQ(agent.mux.stream_count(), Mux::kMaxStreams);
  ASSERT_TRUE(agent.feed(frame(kUpdate, kRst, 1, 0)));
  ASSERT_TRUE(agent.feed(frame(kUpdate, kSyn, id + 2, 0)));
  EXPECT_EQ(agent.opened.back(), id + 2);
}

TEST(MuxViolationTest, TheHostOpensNoMoreStreamsThanTheLimit) {
  End host(Mux::Role::kHost);
  for (std::size_t i = 0; i < Mux::kMaxStreams; ++i) ASSERT_TRUE(host.mux.open_stream());
  const auto refused = host.mux.open_stream();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
}

TEST(MuxViolationTest, AFloodOfPingsIsAnsweredWithinABound) {
  End host(Mux::Role::kHost);
  ASSERT_TRUE(host.feed(frame(kPing, kSyn, 0, 77)));
  EXPECT_EQ(headers(host.mux.output()), (std::vector<Header>{{kPing, kAck, 0, 77}}));
  for (int i = 0; i < 100'000; ++i) ASSERT_TRUE(host.feed(frame(kPing, kSyn, 0, 1)));
  EXPECT_LE(host.mux.output().size(), Mux::kMaxQueuedOutput + Mux::kControlReserve + 12);
  host.take_output();
  ASSERT_TRUE(host.feed(frame(kPing, kSyn, 0, 78)));
  EXPECT_EQ(host.take_output(), (std::vector<Header>{{kPing, kAck, 0, 78}}));
}

TEST(MuxViolationTest, AFloodOfStreamsEndsTheLinkWithinABound) {
  End agent(Mux::Role::kAgent);
  Result<void> result;
  for (StreamId id = 1; result && id < 2'000'000; id += 2) result = agent.feed(frame(kUpdate, kSyn, id, 0));
  EXPECT_FALSE(result);
  EXPECT_LE(agent.mux.output().size(), Mux::kMaxQueuedOutput + Mux::kControlReserve + 12);
}

TEST(MuxViolationTest, APeerThatSendsAndNeverReadsRunsOutOfWindowNotUsOfMemory) {
  End host(Mux::Role::kHost);
  std::vector<StreamId> ids;
  for (std::size_t i = 0; i < Mux::kMaxStreams; ++i) ids.push_back(*host.mux.open_stream());
  while (host.mux.writable(ids[0]) > 0) {
    for (const StreamId id : ids) host.send(id, std::string(1000, 'x'));
  }
  // The output stands still. Every half window consumed asks for an update of 12 bytes, for which half of the streams find room.
  while (host.mux.output().size() < Mux::kMaxQueuedOutput + Mux::kControlReserve - 12 * Mux::kMaxStreams / 2) {
    ASSERT_TRUE(host.feed(frame(kPing, kSyn, 0, 0)));
  }
  bool accepted = true;
  std::size_t rounds = 0;
  for (; accepted && rounds < 20; ++rounds) {
    for (const StreamId id : ids) {
      if (!(accepted = host.feed(data_frame(id, Mux::kInitialWindow / 2)).has_value())) break;
    }
  }
  EXPECT_FALSE(accepted);
  EXPECT_LE(host.mux.output().size(), Mux::kMaxQueuedOutput + Mux::kControlReserve + 12);
}

TEST(MuxViolationTest, DeferredWindowUpdatesAreSentWhenTheOutputDrains) {
  End host(Mux::Role::kHost);
  const StreamId id = *host.mux.open_stream();
  while (host.mux.output().size() < Mux::kMaxQueuedOutput + Mux::kControlReserve) {
    ASSERT_TRUE(host.feed(frame(kPing, kSyn, 0, 0)));
  }
  ASSERT_TRUE(host.feed(data_frame(id, Mux::kInitialWindow)));
  const std::size_t full = host.mux.output().size();
  ASSERT_EQ(headers(host.mux.output()).back().type, kPing);
  host.mux.drop_output(full);
  EXPECT_EQ(headers(host.mux.output()), (std::vector<Header>{{kUpdate, 0, id, Mux::kInitialWindow}}));
}

TEST(MuxViolationTest, DataForAForgottenStreamIsSkippedWithoutAnAnswer) {
  End host(Mux::Role::kHost);
  const StreamId id = *host.mux.open_stream();
  host.mux.reset(id);
  host.take_output();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(host.feed(data_frame(id, Mux::kInitialWindow)));
  ASSERT_TRUE(host.feed(frame(kUpdate, kFin, id, 5)));
  ASSERT_TRUE(host.feed(frame(kUpdate, kRst, id, 0)));
  EXPECT_TRUE(host.mux.idle());
  EXPECT_TRUE(host.received.empty());
  EXPECT_TRUE(host.was_reset.empty());
}

// ---- Two ends against each other

struct Transfer {
  std::string to_agent, to_host;  // what is to be sent
  std::size_t sent_to_agent = 0, sent_to_host = 0;
  std::size_t unread_agent = 0, unread_host = 0;
};

char byte_at(StreamId id, std::size_t i) { return static_cast<char>((i * 131 + id * 17 + (i >> 9U)) & 0xffU); }

std::string pattern(StreamId id, std::size_t size) {
  std::string out(size, '\0');
  for (std::size_t i = 0; i < size; ++i) out[i] = byte_at(id, i);
  return out;
}

/// Moves a random part of what waits.
void trickle(End& from, End& to, std::mt19937& random) {
  const auto out = from.mux.output();
  if (out.empty()) return;
  const std::size_t count = std::min<std::size_t>(out.size(), 1 + random() % 40'000);
  const Bytes wire(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(count));
  from.mux.drop_output(count);
  std::size_t at = 0;
  while (at < count) {
    const std::size_t part = std::min<std::size_t>(count - at, 1 + (random() % 4 == 0 ? random() % 13 : random() % 20'000));
    const auto result = to.mux.feed(std::span(wire).subspan(at, part));
    ASSERT_TRUE(result) << result.error().message();
    at += part;
  }
}

class MuxPairTest : public ::testing::TestWithParam<unsigned> {};

TEST_P(MuxPairTest, EveryByteArrivesOnceInOrderWhateverThePortions) {
  std::mt19937 random(GetParam());
  End host(Mux::Role::kHost);
  End agent(Mux::Role::kAgent);
  host.consume_at_once = agent.consume_at_once = false;
  std::map<StreamId, Transfer> transfers;
  std::map<StreamId, std::size_t> seen_agent, seen_host;
  int to_open = 30;

  const auto step = [&](End& end, StreamId id, const std::string& data, std::size_t& sent) {
    if (sent > data.size()) return;
    const auto part = std::string_view(data).substr(sent, 1 + random() % 60'000);
    sent += end.send(id, part);
    if (sent == data.size()) {
      end.mux.finish(id);
      ++sent;  // marks that FIN was sent
    }
  };
  const auto read_some = [&](End& end, StreamId id, std::size_t& read) {
    const std::size_t available = end.received[id].size() - read;
    const std::size_t count = std::min<std::size_t>(available, random() % 50'000);
    end.mux.consume(id, count);
    read += count;
  };

  for (int rounds = 0; rounds < 1'000'000; ++rounds) {
    if (to_open > 0 && random() % 8 == 0) {
      const StreamId id = *host.mux.open_stream();
      transfers[id] = {.to_agent = pattern(id, random() % 600'000), .to_host = pattern(id + 1, random() % 600'000)};
      --to_open;
    }
    bool busy = to_open > 0;
    for (auto& [id, t] : transfers) {
      busy = busy || host.mux.alive(id) || agent.mux.alive(id);
      if (random() % 3 == 0) step(host, id, t.to_agent, t.sent_to_agent);
      if (random() % 3 == 0 && agent.mux.alive(id)) step(agent, id, t.to_host, t.sent_to_host);
      if (random() % 3 == 0) read_some(agent, id, t.unread_agent);
      if (random() % 3 == 0) read_some(host, id, t.unread_host);
    }
    ASSERT_NO_FATAL_FAILURE(trickle(host, agent, random));
    ASSERT_NO_FATAL_FAILURE(trickle(agent, host, random));
    ASSERT_LE(host.mux.output().size(), Mux::kMaxQueuedOutput + Mux::kControlReserve);
    ASSERT_LE(agent.mux.output().size(), Mux::kMaxQueuedOutput + Mux::kControlReserve);
    for (const auto& [id, t] : transfers) {
      ASSERT_LE(agent.received[id].size() - t.unread_agent, Mux::kInitialWindow);
      ASSERT_LE(host.received[id].size() - t.unread_host, Mux::kInitialWindow);
    }
    if (!busy && host.mux.output().empty() && agent.mux.output().empty()) break;
  }
  EXPECT_TRUE(host.mux.idle());
  EXPECT_TRUE(agent.mux.idle());
  for (const auto& [id, t] : transfers) {
    EXPECT_TRUE(agent.received[id] == t.to_agent) << "stream " << id << " to the agent, seed " << GetParam();
    EXPECT_TRUE(host.received[id] == t.to_host) << "stream " << id << " to the host, seed " << GetParam();
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, MuxPairTest, ::testing::Range(1U, 13U));

}  // namespace
}  // namespace boxlite::portal
