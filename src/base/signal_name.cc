#include "base/signal_name.h"

#include <strings.h>

#include <charconv>
#include <string>
#include <utility>

namespace boxlite {
namespace {

// The guest is Linux on x86-64 whatever this program was built for, so these are numbers, not macros.
constexpr std::pair<std::string_view, int> kNames[] = {
    {"HUP", 1},     {"INT", 2},   {"QUIT", 3},   {"ILL", 4},    {"TRAP", 5},  {"ABRT", 6},  {"IOT", 6},   {"BUS", 7},
    {"FPE", 8},     {"KILL", 9},  {"USR1", 10},  {"SEGV", 11},  {"USR2", 12}, {"PIPE", 13}, {"ALRM", 14}, {"TERM", 15},
    {"STKFLT", 16}, {"CHLD", 17}, {"CLD", 17},   {"CONT", 18},  {"STOP", 19}, {"TSTP", 20}, {"TTIN", 21}, {"TTOU", 22},
    {"URG", 23},    {"XCPU", 24}, {"XFSZ", 25},  {"PROF", 27},  {"IO", 29},   {"POLL", 29}, {"PWR", 30},  {"VTALRM", 26},
    {"WINCH", 28},  {"SYS", 31},  {"RTMIN", 34}, {"RTMAX", 64},
};
constexpr int kFirstRealTime = 34;
constexpr int kLast = 64;

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && ::strncasecmp(a.data(), b.data(), a.size()) == 0;
}

// A whole string of digits.
Result<int> parse_digits(std::string_view digits, std::string_view text) {
  int value = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (digits.empty() || digits[0] == '-' || parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size()) {
    return fail(ErrorCode::kInvalidArgument, "\"{}\" is not a signal", text);
  }
  return value;
}

}  // namespace

Result<int> signal_number(std::string_view text) {
  std::string_view rest = text;
  int number = 0;
  if (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') {
    TRY_ASSIGN(number, parse_digits(rest, text));
  } else {
    if (equal_ignoring_case(rest.substr(0, 3), "SIG")) rest.remove_prefix(3);
    const std::size_t sign = rest.find_first_of("+-");
    const std::string_view base = rest.substr(0, sign);
    for (const auto& [name, value] : kNames) {
      if (equal_ignoring_case(base, name)) number = value;
    }
    if (sign != std::string_view::npos) {
      TRY_ASSIGN(const int offset, parse_digits(rest.substr(sign + 1), text));
      const bool fits = (number == kFirstRealTime && rest[sign] == '+') || (number == kLast && rest[sign] == '-');
      number = !fits || offset > kLast - kFirstRealTime ? 0 : rest[sign] == '+' ? number + offset : number - offset;
    }
  }
  if (number < 1 || number > kLast) return fail(ErrorCode::kInvalidArgument, "\"{}\" is not a signal", text);
  return number;
}

}  // namespace boxlite
