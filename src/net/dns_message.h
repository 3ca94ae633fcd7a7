// The little of DNS (RFC 1035) that the name service has to understand: one question, and answers about the box's own zone.
// Parsed by the C library's resolver (ns_initparse), which checks every bound of a message.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace boxlite::net {

using DnsMessage = std::vector<std::uint8_t>;

inline constexpr std::size_t kDnsHeader = 12;

struct DnsQuestion {
  std::string name;  // lower case, without the final dot; special characters escaped as in zone files
  std::uint16_t type = 0;
  std::uint16_t dns_class = 0;
  std::size_t size = 0;  // bytes of the question section
};

enum class DnsRefusal : std::uint8_t { kFormat = 1, kServer = 2, kName = 3, kNotImplemented = 4 };

/// What to do with a message of the box.
struct DnsReading {
  std::optional<DnsQuestion> question;       // absent: refuse
  DnsRefusal refusal = DnsRefusal::kFormat;  // with this
  bool answerable = false;                   // false: no query at all, no answer either
};
DnsReading read_query(std::span<const std::uint8_t> message);

/// The answer when the name is of boxlite.internal, which this process knows all of.
std::optional<DnsMessage> local_answer(const DnsQuestion& question, std::span<const std::uint8_t> query);

/// An answer without records. `question_size` bytes of the question are repeated.
DnsMessage refuse(std::span<const std::uint8_t> query, std::size_t question_size, DnsRefusal refusal);

/// True if `answer` may be one to `query`: a response, of this id, to this question (which some servers leave out in errors).
bool answers(std::span<const std::uint8_t> answer, std::span<const std::uint8_t> query, const DnsQuestion& question);

}  // namespace boxlite::net
