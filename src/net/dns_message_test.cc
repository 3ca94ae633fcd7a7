#include "net/dns_message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/addresses.h"
#include "net/wire.h"

namespace boxlite::net {
namespace {

constexpr std::uint16_t kA = 1;
constexpr std::uint16_t kAaaa = 28;

DnsMessage query(std::string_view name, std::uint16_t type = kA, std::uint16_t dns_class = 1) {
  DnsMessage message = {0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0};  // recursion desired, one question
  while (!name.empty()) {
    const std::size_t dot = name.find('.');
    const std::string_view label = name.substr(0, dot);
    message.push_back(static_cast<std::uint8_t>(label.size()));
    message.insert(message.end(), label.begin(), label.end());
    name = dot == std::string_view::npos ? "" : name.substr(dot + 1);
  }
  for (const int value : {0, type >> 8, type & 0xff, dns_class >> 8, dns_class & 0xff})
    message.push_back(static_cast<std::uint8_t>(value));
  return message;
}

DnsQuestion question(const DnsMessage& message) {
  const DnsReading reading = read_query(message);
  EXPECT_TRUE(reading.question);
  return reading.question.value_or(DnsQuestion{});
}

unsigned code(const DnsMessage& answer) { return answer[3] & 0x0fU; }

TEST(DnsMessageTest, ReadsNameAndType) {
  const DnsQuestion read = question(query("Www.Example.ORG", kAaaa));
  EXPECT_EQ(read.name, "www.example.org");
  EXPECT_EQ(read.type, kAaaa);
  EXPECT_EQ(read.dns_class, 1);
  EXPECT_EQ(read.size, query("www.example.org").size() - kDnsHeader);
}

TEST(DnsMessageTest, TheHostHasAnAddress) {
  for (const char* name : {"host.boxlite.internal", "HOST.BoxLite.Internal"}) {
    const DnsMessage asked = query(name);
    const auto answer = local_answer(question(asked), asked);
    ASSERT_TRUE(answer) << name;
    EXPECT_EQ(get16(*answer, 0), 0x1234);
    EXPECT_EQ((*answer)[2], 0x85) << "response, authoritative, recursion desired";
    EXPECT_EQ(code(*answer), 0U);
    EXPECT_EQ(get16(*answer, 4), 1);
    EXPECT_EQ(get16(*answer, 6), 1);
    EXPECT_THAT(std::vector(answer->end() - 4, answer->end()), testing::ElementsAre(192, 168, 127, 254));
  }
}

TEST(DnsMessageTest, TheHostHasNoOtherRecords) {
  const DnsMessage asked = query("host.boxlite.internal", kAaaa);
  const auto answer = local_answer(question(asked), asked);
  ASSERT_TRUE(answer);
  EXPECT_EQ(code(*answer), 0U);
  EXPECT_EQ(get16(*answer, 6), 0);
  EXPECT_EQ(answer->size(), asked.size());
}

TEST(DnsMessageTest, OtherNamesOfTheZoneDoNotExist) {
  for (const char* name : {"x.boxlite.internal", "a.host.boxlite.internal"}) {
    const DnsMessage asked = query(name);
    const auto answer = local_answer(question(asked), asked);
    ASSERT_TRUE(answer) << name;
    EXPECT_EQ(code(*answer), 3U) << name;
  }
  const DnsMessage zone = query("boxlite.internal");
  EXPECT_EQ(code(local_answer(question(zone), zone).value()), 0U);
}

TEST(DnsMessageTest, NamesOfOtherZonesAreForOthersToAnswer) {
  for (const char* name : {"example.org", "internal", "xboxlite.internal", "host.boxlite.internal.example.org", ""}) {
    const DnsMessage asked = query(name);
    EXPECT_FALSE(local_answer(question(asked), asked)) << name;
  }
  const DnsMessage chaos = query("host.boxlite.internal", kA, 3);
  EXPECT_FALSE(local_answer(question(chaos), chaos));
}

TEST(DnsMessageTest, WhatIsNoQueryGetsNoAnswer) {
  DnsMessage response = query("example.org");
  response[2] |= 0x80;
  EXPECT_FALSE(read_query(response).answerable) << "two servers would answer each other for ever";
  EXPECT_FALSE(read_query(DnsMessage(11)).answerable);
  EXPECT_FALSE(read_query({}).answerable);
}

TEST(DnsMessageTest, MalformedQueriesAreRefused) {
  const DnsMessage whole = query("www.example.org");
  for (std::size_t size = kDnsHeader; size < whole.size(); ++size) {
    const auto reading = read_query(std::span(whole).first(size));
    EXPECT_TRUE(reading.answerable && !reading.question) << size;
    EXPECT_EQ(code(refuse(std::span(whole).first(size), 0, reading.refusal)), 1U);
  }
  DnsMessage loop = {0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 0x0c, 0, 1, 0, 1};
  EXPECT_FALSE(read_query(loop).question) << "a name that points at itself";
  DnsMessage two = whole;
  two.at(5) = 2;
  two.insert(two.end(), whole.begin() + kDnsHeader, whole.end());
  EXPECT_FALSE(read_query(two).question);
  DnsMessage update = whole;
  update[2] = 5 << 3;
  EXPECT_EQ(read_query(update).refusal, DnsRefusal::kNotImplemented);
}

TEST(DnsMessageTest, OnlyAnAnswerToTheQuestionIsOne) {
  const DnsMessage asked = query("example.org");
  const DnsQuestion read = question(asked);
  DnsMessage answer = asked;
  EXPECT_FALSE(answers(answer, asked, read)) << "a query";
  answer[2] |= 0x80;
  EXPECT_TRUE(answers(answer, asked, read));
  DnsMessage other_id = answer;
  other_id[0] ^= 1;
  EXPECT_FALSE(answers(other_id, asked, read));
  DnsMessage other_name = answer;
  other_name[13] ^= 1;
  EXPECT_FALSE(answers(other_name, asked, read));
  EXPECT_FALSE(answers(std::span(answer).first(20), asked, read));
  EXPECT_TRUE(answers(refuse(asked, 0, DnsRefusal::kServer), asked, read)) << "an error without the question";
}

}  // namespace
}  // namespace boxlite::net
