#include "cli/format.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include <fmt/format.h>

#include "cli/output.h"

namespace boxlite::cli {
namespace {

bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return !continues_character(c); }));
}

std::string count(std::int64_t number, std::string_view unit) {
  return fmt::format("{} {}{}", number, unit, number == 1 ? "" : "s");
}

/// The number in the largest unit, of `base` to the n-th, in which it is below `limit` times the next.
std::pair<double, std::size_t> scaled(std::uint64_t bytes, double base, double limit) {
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= limit && unit < 6; ++unit) value /= base;
  return {value, unit};
}

}  // namespace

std::string Table::text() const {
  std::vector<std::size_t> widths(rows_.front().size());
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  std::string result;
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      result += row[i];
      if (i + 1 < row.size()) result.append(widths[i] - width_of(row[i]) + 3, ' ');
    }
    result += '\n';
  }
  return result;
}

std::optional<Time> parse_time(std::string_view text) {
  const std::string copy(text);
  int year = 0;
  unsigned month = 0, day = 0, hour = 0, minute = 0, second = 0;
  int used = 0;
  if (std::sscanf(copy.c_str(), "%4d-%2u-%2uT%2u:%2u:%2u%n", &year, &month, &day, &hour, &minute, &second, &used) != 6)
    return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(month), std::chrono::day(day)};
  // Nanoseconds since 1970 in 64 bits reach from 1677 to 2262.
  if (year < 1700 || year > 2200) return std::nullopt;
  if (!date.ok() || hour > 23 || minute > 59 || second > 60) return std::nullopt;

  std::string_view rest = std::string_view(copy).substr(static_cast<std::size_t>(used));
  std::int64_t nanoseconds = 0;
  if (rest.starts_with('.')) {
    rest.remove_prefix(1);
    for (std::int64_t scale = 100'000'000; !rest.empty() && rest[0] >= '0' && rest[0] <= '9';
         rest.remove_prefix(1), scale /= 10) {
      nanoseconds += scale * (rest[0] - '0');
    }
  }
  std::chrono::minutes offset{0};
  if (rest != "Z" && rest != "z") {
    char sign = 0;
    unsigned offset_hours = 0, offset_minutes = 0;
    if (std::sscanf(std::string(rest).c_str(), "%c%2u:%2u", &sign, &offset_hours, &offset_minutes) != 3) return std::nullopt;
    if (sign != '+' && sign != '-') return std::nullopt;
    offset = std::chrono::hours(offset_hours) + std::chrono::minutes(offset_minutes);
    if (sign == '-') offset = -offset;
  }
  return std::chrono::sys_days(date) + std::chrono::hours(hour) + std::chrono::minutes(minute) + std::chrono::seconds(second) +
         std::chrono::nanoseconds(nanoseconds) - offset;
}

std::string human_duration(std::chrono::nanoseconds duration) {
  const std::int64_t seconds = std::chrono::duration_cast<std::chrono::seconds>(duration).count();
  const std::int64_t minutes = seconds / 60;
  const std::int64_t hours = (seconds + 1800) / 3600;
  if (seconds < 1) return "Less than a second";
  if (seconds < 60) return count(seconds, "second");
  if (minutes == 1) return "About a minute";
  if (minutes < 60) return count(minutes, "minute");
  if (hours == 1) return "About an hour";
  if (hours < 48) return count(hours, "hour");
  if (hours < 24 * 7 * 2) return count(hours / 24, "day");
  if (hours < 24 * 30 * 2) return count(hours / 24 / 7, "week");
  if (hours < 24 * 365 * 2) return count(hours / 24 / 30, "month");
  return count(hours / 24 / 365, "year");
}

std::string human_age(std::string_view time, Time now) {
  const auto then = parse_time(time);
  return then ? human_duration(now - *then) + " ago" : "";
}

std::string human_size(std::uint64_t bytes) {
  constexpr std::array kUnits = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  const auto [value, unit] = scaled(bytes, 1000, 999.5);
  return fmt::format("{:.3g}{}", value, kUnits.at(unit));
}

std::string human_binary_size(std::uint64_t bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  const auto [value, unit] = scaled(bytes, 1024, 1024);
  return fmt::format("{:.4g}{}", value, kUnits.at(unit));
}

std::string rfc3339(Time time) {
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(time - day);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
                     clock.minutes().count(), clock.seconds().count(), clock.subseconds().count());
}

std::string status_text(const BoxInfo& box, Time now) {
  const auto with_reason = [&](std::string_view word) {
    return box.reason.empty() ? std::string(word) : fmt::format("{}: {}", word, one_line(box.reason));
  };
  switch (box.status) {
    case BoxStatus::kCreated:
      return "Created";
    case BoxStatus::kStarting:
      return "Starting";
    case BoxStatus::kPaused:
    case BoxStatus::kRunning: {
      const auto started = parse_time(box.started_at);
      const std::string up = started ? "Up " + human_duration(now - *started) : "Up";
      if (box.status == BoxStatus::kPaused) return up + " (Paused)";
      return box.reason.empty() ? up : fmt::format("{} ({})", up, one_line(box.reason));
    }
    case BoxStatus::kStopping:
      return "Stopping";
    case BoxStatus::kStopped: {
      if (!box.exit_code) return with_reason("Exited");
      const std::string age = human_age(box.finished_at, now);
      return with_reason(fmt::format("Exited ({}){}{}", *box.exit_code, age.empty() ? "" : " ", age));
    }
    case BoxStatus::kSuspended:
      return with_reason("Suspended");
    case BoxStatus::kFailed:
      return with_reason("Failed");
    case BoxStatus::kUnresponsive:
      return "Unresponsive";
  }
  std::unreachable();
}

std::string truncate(const std::string& text, std::size_t width) {
  if (width_of(text) <= width) return text;
  std::size_t kept = 0;
  std::size_t end = 0;
  while (kept < width - 1) {
    ++end;
    while (end < text.size() && continues_character(text[end])) ++end;
    ++kept;
  }
  return text.substr(0, end) + "…";
}

std::string command_text(const std::vector<std::string>& words) {
  std::string result;
  for (const std::string& word : words) {
    if (!result.empty()) result += ' ';
    if (!word.empty() && word.find_first_of(" \t\n\"'\\$`;&|<>()*?[]#~!{}") == std::string::npos) {
      result += word;
      continue;
    }
    result += '\'';
    for (const char c : word) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
    result += '\'';
  }
  return one_line(result);
}

std::string familiar_reference(std::string_view reference) {
  for (const std::string_view prefix : {"docker.io/library/", "docker.io/"}) {
    if (reference.starts_with(prefix)) return one_line(reference.substr(prefix.size()));
  }
  return one_line(reference);
}

std::string short_digest(std::string_view digest) {
  const std::size_t colon = digest.find(':');
  return one_line(digest.substr(colon == std::string_view::npos ? 0 : colon + 1).substr(0, 12));
}

}  // namespace boxlite::cli
