#include "portal/message_codec.h"

#include <gtest/gtest.h>

#include "agent.pb.h"

namespace boxlite::portal {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

proto::Call exec_of(const std::string& argument) {
  proto::Call call;
  call.mutable_exec()->mutable_process()->add_args(argument);
  return call;
}

TEST(MessageCodecTest, MessagesComeOutAsTheyWentInForAnyPortions) {
  std::string wire;
  for (int i = 0; i < 20; ++i)
    wire += *encode_message(exec_of(std::string(static_cast<std::size_t>(i * 37), static_cast<char>(0x80 + i))));
  for (std::size_t portion = 1; portion < 400; portion += 13) {
    MessageReader reader;
    int count = 0;
    for (std::size_t at = 0; at < wire.size(); at += portion) {
      reader.feed(bytes_of(std::string_view(wire).substr(at, portion)));
      for (;;) {
        proto::Call call;
        const auto got = reader.next(call);
        ASSERT_TRUE(got) << got.error().message();
        if (!*got) break;
        EXPECT_EQ(call.exec().process().args(0),
                  std::string(static_cast<std::size_t>(count * 37), static_cast<char>(0x80 + count)));
        ++count;
      }
    }
    EXPECT_EQ(count, 20);
    EXPECT_EQ(reader.buffered(), 0U);
  }
}

TEST(MessageCodecTest, TheLengthIsBigEndianAndBeforeTheMessage) {
  proto::Call call;
  call.mutable_ping();
  EXPECT_EQ(*encode_message(call), std::string("\0\0\0\x02\x42\0", 6));  // field 8, length-delimited, empty
}

TEST(MessageCodecTest, AnEmptyMessageIsAMessage) {
  MessageReader reader;
  reader.feed(bytes_of(std::string_view("\0\0\0\0", 4)));
  proto::Call call = exec_of("left over");
  const auto got = reader.next(call);
  ASSERT_TRUE(got && *got);
  EXPECT_EQ(call.call_case(), proto::Call::CALL_NOT_SET);
}

TEST(MessageCodecTest, AnAnnouncedLengthAboveTheLimitIsRefusedBeforeItsBytesCome) {
  MessageReader reader;
  reader.feed(bytes_of("\x7f\xff\xff\xff"));
  proto::Call call;
  const auto got = reader.next(call);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code(), ErrorCode::kCorrupt);
  reader.feed(bytes_of(*encode_message(exec_of("x"))));
  EXPECT_FALSE(reader.next(call)) << "the stream must stay unusable";
}

TEST(MessageCodecTest, AChunkWhoseBytesFollowItsHeadIsTheSameMessage) {
  for (const auto stream : {proto::Chunk::STDOUT, proto::Chunk::STDERR}) {
    for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{1} << 20U, ~std::uint64_t{0}}) {
      for (const std::size_t size :
           {std::size_t{1}, std::size_t{100}, std::size_t{127}, std::size_t{128}, std::size_t{20'000}, kMaxChunk}) {
        const std::string data(size, 'd');
        const std::string head = encode_chunk_head(stream, offset, size);
        EXPECT_LE(head.size(), kMaxChunkHead);
        MessageReader reader;
        reader.feed(bytes_of(head + data));
        proto::SessionOutput output;
        const auto whole = reader.next(output);
        ASSERT_TRUE(whole && *whole) << size;
        EXPECT_EQ(reader.buffered(), 0U);
        EXPECT_EQ(output.chunk().stream(), stream);
        EXPECT_EQ(output.chunk().offset(), offset);
        EXPECT_EQ(output.chunk().data(), data);
      }
    }
  }
}

TEST(MessageCodecTest, AReaderMayHaveALowerLimit) {
  MessageReader reader(100);
  proto::Call call;
  reader.feed(bytes_of(*encode_message(exec_of(std::string(90, 'x')))));
  EXPECT_TRUE(*reader.next(call));
  reader.feed(bytes_of(*encode_message(exec_of(std::string(101, 'x')))));
  EXPECT_EQ(reader.next(call).error().code(), ErrorCode::kCorrupt);
}

TEST(MessageCodecTest, BytesThatAreNoMessageAreRefusedForGood) {
  MessageReader reader;
  reader.feed(bytes_of(std::string_view("\0\0\0\x02\xff\xff", 6)));
  reader.feed(bytes_of(*encode_message(exec_of("x"))));
  proto::Call call;
  EXPECT_FALSE(reader.next(call));
  EXPECT_FALSE(reader.next(call));
}

TEST(MessageCodecTest, AReaderThatAsksWhatIsMissingNeverReadsTooMuch) {
  const std::string wire = *encode_message(exec_of("one")) + *encode_message(exec_of("two"));
  MessageReader reader;
  proto::Call call;
  std::size_t at = 0;
  while (!*reader.next(call)) {
    const std::size_t missing = reader.missing();
    reader.feed(bytes_of(std::string_view(wire).substr(at, missing)));
    at += missing;
  }
  EXPECT_EQ(at, encode_message(exec_of("one"))->size());
  EXPECT_EQ(reader.buffered(), 0U);
}

TEST(MessageCodecTest, TheLargestMessagePassesAndALargerOneIsNotSent) {
  const std::size_t overhead = exec_of(std::string(kMaxMessage - 100, 'x')).ByteSizeLong() - (kMaxMessage - 100);
  const auto largest = encode_message(exec_of(std::string(kMaxMessage - overhead, 'x')));
  ASSERT_TRUE(largest);
  EXPECT_EQ(largest->size(), kMaxMessage + 4);
  MessageReader reader;
  proto::Call call;
  reader.feed(bytes_of(std::string_view(*largest).substr(0, kMaxMessage + 3)));
  ASSERT_FALSE(*reader.next(call));
  EXPECT_LE(reader.buffered(), kMaxMessage + 4);
  reader.feed(bytes_of(std::string_view(*largest).substr(kMaxMessage + 3)));
  EXPECT_TRUE(*reader.next(call));

  const auto larger = encode_message(exec_of(std::string(kMaxMessage - overhead + 1, 'x')));
  ASSERT_FALSE(larger);
  EXPECT_EQ(larger.error().code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace boxlite::portal
