// Values of flags, in docker's notations. Every error names the flag and the value.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/format.h"

namespace boxlite::cli {

/// 1, t, true, True, TRUE and their opposites, as docker takes them.
Result<bool> parse_bool(std::string_view flag, std::string_view value);

/// Bytes: "1073741824", "512m", "1.5GiB"; k, m, g, t, p in any case, binary multiples.
Result<std::uint64_t> parse_size(std::string_view flag, std::string_view value);

/// Whole CPUs, at least one.
Result<unsigned> parse_cpus(std::string_view flag, std::string_view value);

/// Whole seconds, zero included.
Result<std::chrono::seconds> parse_seconds(std::string_view flag, std::string_view value);

/// A number of things, zero included. `use` is the error's advice.
Result<std::size_t> parse_count(std::string_view flag, std::string_view value, std::string_view use);

/// kbit/s, at least one.
Result<std::uint64_t> parse_rate(std::string_view flag, std::string_view value);

/// A moment in docker's notations: RFC 3339, with or without offset (local time then), fraction and time of day; seconds since
/// 1970; a span before `now` like "10m" or "1h30m".
Result<Time> parse_moment(std::string_view flag, const std::string& value, Time now);

/// "TERM", "sigterm", "15".
Result<int> parse_signal(std::string_view flag, std::string_view value);

/// "NAME=value" is kept; "NAME" takes the value from this process's environment and is left out when it is not there.
Result<std::vector<std::string>> resolve_environment(std::string_view flag, const std::vector<std::string>& values);

}  // namespace boxlite::cli
