// How tables, times and sizes are written: as docker writes them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "boxlite/box_info.h"

namespace boxlite::cli {

/// Columns padded with blanks, three between them; the first row is the header.
class Table {
 public:
  explicit Table(std::vector<std::string> header) { rows_.push_back(std::move(header)); }
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

using Time = std::chrono::sys_time<std::chrono::nanoseconds>;

/// RFC 3339 in UTC ("2026-11-24T05:46:33.12Z") or with an offset; nullopt for anything else, the empty text too.
std::optional<Time> parse_time(std::string_view text);

/// "Less than a second", "5 minutes", "About an hour", "3 days". A negative duration (the clock was set back) counts as none.
std::string human_duration(std::chrono::nanoseconds duration);

/// "5 minutes ago" for an RFC 3339 time; "" when it is not one.
std::string human_age(std::string_view time, Time now);

/// Three digits and a decimal unit: "7.8MB".
std::string human_size(std::uint64_t bytes);

/// Four digits and a binary unit: "12.5MiB".
std::string human_binary_size(std::uint64_t bytes);

/// RFC 3339 in UTC with nanoseconds: "2026-11-24T05:46:33.123456789Z". Years 0 to 9999.
std::string rfc3339(Time time);

/// "Up 5 minutes", "Exited (0) 3 minutes ago", "Failed: …"
std::string status_text(const BoxInfo& box, Time now);

/// At most `width` characters of UTF-8; a cut text ends in "…".
std::string truncate(const std::string& text, std::size_t width);

/// A command as one would type it: words with blanks or quotes are quoted.
std::string command_text(const std::vector<std::string>& words);

/// docker's short spelling: without docker.io/ and docker.io/library/.
std::string familiar_reference(std::string_view reference);

/// The first 12 hex digits of "sha256:…".
std::string short_digest(std::string_view digest);

}  // namespace boxlite::cli
