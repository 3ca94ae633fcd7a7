#include "cli/values.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <optional>

#include "base/signal_name.h"

namespace boxlite::cli {
namespace {

constexpr std::uint64_t kMaxSeconds = 365ULL * 24 * 3600;
constexpr std::uint64_t kMaxUnixSeconds = 7'258'118'400;  // the year 2200

/// Takes the decimal digits at the front of `text`; nullopt when there are none or the number does not fit.
std::optional<std::uint64_t> take_digits(std::string_view& text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

std::optional<std::uint64_t> whole_number(std::string_view text) {
  const auto number = take_digits(text);
  return text.empty() ? number : std::nullopt;
}

char lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

constexpr int kMaxSignal = 64;

/// "2026-11-24", "2026-11-24T05:46", "2026-11-24T05:46:33.5"
std::optional<Time> local_time(const std::string& text) {
  const std::string_view missing = text.size() == 10 ? "T00:00:00" : text.size() == 16 ? ":00" : "";
  const auto as_utc = parse_time(fmt::format("{}{}Z", text, missing));
  if (!as_utc) return std::nullopt;
  const auto whole = std::chrono::floor<std::chrono::seconds>(*as_utc);
  const std::time_t count = whole.time_since_epoch().count();
  std::tm fields = {};
  if (::gmtime_r(&count, &fields) == nullptr) return std::nullopt;
  fields.tm_isdst = -1;
  return Time(std::chrono::seconds(std::mktime(&fields))) + (*as_utc - whole);
}

/// "1763963193", "1763963193.25"
std::optional<Time> unix_time(std::string_view text) {
  const std::size_t point = text.find('.');
  const auto whole = whole_number(text.substr(0, point));
  std::string fraction(point == std::string_view::npos ? "0" : text.substr(point + 1));
  if (!whole || *whole > kMaxUnixSeconds || fraction.empty() || fraction.size() > 9) return std::nullopt;
  fraction.resize(9, '0');
  const auto nanoseconds = whole_number(fraction);
  if (!nanoseconds) return std::nullopt;
  return Time(std::chrono::seconds(*whole) + std::chrono::nanoseconds(*nanoseconds));
}

/// "90s", "10m", "1h30m"
std::optional<Time> time_before(std::string_view text, Time now) {
  std::chrono::seconds span{0};
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    const auto number = take_digits(text);
    if (!number || *number > kMaxSeconds || text.empty()) return std::nullopt;
    const std::int64_t unit = text[0] == 's' ? 1 : text[0] == 'm' ? 60 : text[0] == 'h' ? 3600 : 0;
    if (unit == 0) return std::nullopt;
    span += std::chrono::seconds(static_cast<std::int64_t>(*number) * unit);
    if (span > std::chrono::seconds(kMaxSeconds)) return std::nullopt;
    text.remove_prefix(1);
  }
  return now - span;
}

}  // namespace

Result<bool> parse_bool(std::string_view flag, std::string_view value) {
  constexpr std::array kTrue = {"1", "t", "T", "true", "True", "TRUE"};
  constexpr std::array kFalse = {"0", "f", "F", "false", "False", "FALSE"};
  if (std::ranges::find(kTrue, value) != kTrue.end()) return true;
  if (std::ranges::find(kFalse, value) != kFalse.end()) return false;
  return fail(ErrorCode::kInvalidArgument, "{}={}: not a truth value; use true or false", flag, value);
}

Result<std::uint64_t> parse_size(std::string_view flag, std::string_view value) {
  const auto bad = [&] {
    return fail(ErrorCode::kInvalidArgument, "{} {}: not a size; use bytes or a number with k, m, g or t, like 512m or 2g", flag,
                value.empty() ? "\"\"" : value);
  };
  const auto too_large = [&] { return fail(ErrorCode::kInvalidArgument, "{} {}: too large; give a smaller one", flag, value); };

  std::string_view rest = value;
  if (rest.empty() || rest[0] < '0' || rest[0] > '9') return bad();
  const auto whole = take_digits(rest);
  if (!whole) return too_large();
  double fraction = 0;
  if (rest.starts_with('.')) {
    rest.remove_prefix(1);
    double scale = 0.1;
    if (rest.empty() || rest[0] < '0' || rest[0] > '9') return bad();
    for (; !rest.empty() && rest[0] >= '0' && rest[0] <= '9'; rest.remove_prefix(1), scale /= 10)
      fraction += scale * (rest[0] - '0');
  }
  if (rest.starts_with(' ')) rest.remove_prefix(1);

  constexpr std::string_view kUnits = "kmgtp";
  int shift = 0;
  if (!rest.empty()) {
    if (const auto unit = kUnits.find(lower(rest[0])); unit != std::string_view::npos) {
      shift = 10 * (static_cast<int>(unit) + 1);
      rest.remove_prefix(1);
      if (!rest.empty() && lower(rest[0]) == 'i') rest.remove_prefix(1);
    }
  }
  if (!rest.empty() && lower(rest[0]) == 'b') rest.remove_prefix(1);
  if (!rest.empty()) return bad();

  const std::uint64_t unit = std::uint64_t{1} << shift;
  if (*whole >= (std::uint64_t{1} << 62) / unit) return too_large();
  return *whole * unit + static_cast<std::uint64_t>(fraction * static_cast<double>(unit));
}

Result<unsigned> parse_cpus(std::string_view flag, std::string_view value) {
  std::string_view rest = value;
  const auto whole = take_digits(rest);
  const auto fraction = rest.starts_with('.') ? rest.substr(1) : std::string_view{};
  const bool digits_only = std::ranges::all_of(fraction, [](char c) { return c >= '0' && c <= '9'; });
  if (!whole || (!rest.empty() && fraction.empty()) || !digits_only || *whole >= std::numeric_limits<unsigned>::max()) {
    return fail(ErrorCode::kInvalidArgument, "{} {}: not a number of CPUs; use a whole number like 2", flag,
                value.empty() ? "\"\"" : value);
  }
  if (fraction.find_first_not_of('0') != std::string_view::npos) {
    return fail(ErrorCode::kInvalidArgument, "{} {}: a box has whole CPUs; use {} {}", flag, value, flag, *whole + 1);
  }
  if (*whole == 0) return fail(ErrorCode::kInvalidArgument, "{} {}: a box needs a CPU; use {} 1 or more", flag, value, flag);
  return static_cast<unsigned>(*whole);
}

Result<std::chrono::seconds> parse_seconds(std::string_view flag, std::string_view value) {
  const auto number = whole_number(value);
  if (!number || *number > kMaxSeconds) {
    return fail(ErrorCode::kInvalidArgument, "{} {}: not a time; use whole seconds like 10, 0 for none", flag,
                value.empty() ? "\"\"" : value);
  }
  return std::chrono::seconds(*number);
}

Result<std::size_t> parse_count(std::string_view flag, std::string_view value, std::string_view use) {
  const auto number = whole_number(value);
  if (number) return *number;
  return fail(ErrorCode::kInvalidArgument, "{} {}: not a number; use {}", flag, value.empty() ? "\"\"" : value, use);
}

Result<std::uint64_t> parse_rate(std::string_view flag, std::string_view value) {
  const auto number = whole_number(value);
  if (number && *number > 0) return *number;
  return fail(ErrorCode::kInvalidArgument, "{} {}: not a rate; use a whole number of kbit/s, or leave it out for no limit", flag,
              value.empty() ? "\"\"" : value);
}

Result<Time> parse_moment(std::string_view flag, const std::string& value, Time now) {
  const auto sane = [](Time time) {
    constexpr std::chrono::sys_days kEnd{std::chrono::year(2200) / 1 / 1};  // nanoseconds in 64 bits reach until 2262
    return time >= Time{} && time < Time{kEnd};
  };
  for (const auto& found : {parse_time(value), local_time(value), unix_time(value), time_before(value, now)}) {
    if (found && sane(*found)) return *found;
  }
  return fail(ErrorCode::kInvalidArgument, "{} {}: not a time; use 2026-11-24T05:46:33Z, seconds since 1970, or a span like 10m",
              flag, value.empty() ? "\"\"" : value);
}

Result<int> parse_signal(std::string_view flag, std::string_view value) {
  if (const auto number = signal_number(value)) return *number;
  return fail(ErrorCode::kInvalidArgument, "{} {}: not a signal; use a name like TERM or a number from 1 to {}", flag,
              value.empty() ? "\"\"" : value, kMaxSignal);
}

Result<std::vector<std::string>> resolve_environment(std::string_view flag, const std::vector<std::string>& values) {
  std::vector<std::string> result;
  for (const std::string& value : values) {
    if (value.empty() || value[0] == '=') {
      // Only the flag is named: the value may be a secret.
      return fail(ErrorCode::kInvalidArgument,
                  "{}: a variable without a name; use {} NAME=value, or {} NAME to take it from here", flag, flag, flag);
    }
    if (value.find('=') != std::string::npos) {
      result.push_back(value);
    } else if (const char* here = std::getenv(value.c_str()); here != nullptr) {
      result.push_back(value + "=" + here);
    }
  }
  return result;
}

}  // namespace boxlite::cli
