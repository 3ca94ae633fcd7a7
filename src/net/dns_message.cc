#include "net/dns_message.h"

#include <arpa/nameser.h>

#include <algorithm>
#include <array>

#include "net/addresses.h"
#include "net/wire.h"

namespace boxlite::net {
namespace {

constexpr std::string_view kZone = "boxlite.internal";
constexpr std::uint32_t kTtlSeconds = 60;
constexpr std::uint8_t kResponse = 0x80;       // in byte 2
constexpr std::uint8_t kAuthoritative = 0x04;  // in byte 2
constexpr std::uint8_t kOpcodeAndRd = 0x79;    // in byte 2, repeated in answers
constexpr std::uint8_t kRecursion = 0x80;      // in byte 3: available

DnsMessage head(std::span<const std::uint8_t> query, std::size_t question_size) {
  DnsMessage answer(kDnsHeader + question_size);
  std::ranges::copy(query.first(std::min(query.size(), answer.size())), answer.begin());
  answer[2] = static_cast<std::uint8_t>((answer[2] & kOpcodeAndRd) | kResponse);
  answer[3] = kRecursion;
  std::fill(answer.begin() + 4, answer.begin() + kDnsHeader, std::uint8_t{0});
  answer[5] = question_size > 0 ? 1 : 0;
  return answer;
}

bool in_zone(std::string_view name) { return name == kZone || name.ends_with("." + std::string(kZone)); }

}  // namespace

DnsReading read_query(std::span<const std::uint8_t> message) {
  DnsReading reading;
  if (message.size() < kDnsHeader || (message[2] & kResponse) != 0) return reading;
  reading.answerable = true;
  if ((message[2] >> 3 & 0x0f) != 0) {
    reading.refusal = DnsRefusal::kNotImplemented;
    return reading;
  }
  ns_msg parsed;
  ns_rr record;
  if (message.size() > NS_MAXMSG || ::ns_initparse(message.data(), static_cast<int>(message.size()), &parsed) < 0) return reading;
  if (ns_msg_count(parsed, ns_s_qd) != 1 || ::ns_parserr(&parsed, ns_s_qd, 0, &record) < 0) return reading;
  const std::uint8_t* name_end = message.data() + kDnsHeader;
  if (::ns_name_skip(&name_end, message.data() + message.size()) < 0) return reading;
  DnsQuestion question;
  question.name = ns_rr_name(record);
  std::ranges::transform(question.name, question.name.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  question.type = record.type;
  question.dns_class = record.rr_class;
  question.size = static_cast<std::size_t>(name_end - message.data()) - kDnsHeader + 4;
  reading.question = std::move(question);
  return reading;
}

std::optional<DnsMessage> local_answer(const DnsQuestion& question, std::span<const std::uint8_t> query) {
  if (question.dns_class != ns_c_in || !in_zone(question.name)) return std::nullopt;
  const bool host = question.name == kHostName;
  DnsMessage answer = head(query, question.size);
  answer[2] |= kAuthoritative;
  if (!host && question.name != kZone) answer[3] |= static_cast<std::uint8_t>(DnsRefusal::kName);
  if (host && (question.type == ns_t_a || question.type == ns_t_any)) {
    std::array<std::uint8_t, 16> record = {0xc0, kDnsHeader};  // the name: where the question's is
    put16(record, 2, ns_t_a);
    put16(record, 4, ns_c_in);
    put32(record, 6, kTtlSeconds);
    put16(record, 10, 4);
    std::ranges::copy(kHostAlias4.bytes(), record.begin() + 12);
    answer.insert(answer.end(), record.begin(), record.end());
    answer[7] = 1;
  }
  return answer;
}

DnsMessage refuse(std::span<const std::uint8_t> query, std::size_t question_size, DnsRefusal refusal) {
  DnsMessage answer = head(query, question_size);
  answer[3] |= static_cast<std::uint8_t>(refusal);
  return answer;
}

bool answers(std::span<const std::uint8_t> answer, std::span<const std::uint8_t> query, const DnsQuestion& question) {
  if (answer.size() < kDnsHeader || (answer[2] & kResponse) == 0 || get16(answer, 0) != get16(query, 0)) return false;
  if (get16(answer, 4) == 0) return true;
  if (get16(answer, 4) != 1 || answer.size() < kDnsHeader + question.size) return false;
  return std::ranges::equal(answer.subspan(kDnsHeader, question.size), query.subspan(kDnsHeader, question.size));
}

}  // namespace boxlite::net
