#include "base/json.h"

#include <algorithm>

#include <fmt/core.h>

namespace boxlite {
namespace {

// `byte` counts from 1, to one behind the end.
std::string place_of(std::string_view text, std::size_t byte) {
  if (byte > text.size()) return "at its end";
  const std::string_view before = text.substr(0, byte - 1);
  const std::size_t newline = before.rfind('\n');
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  return fmt::format("in line {}, column {}", line, newline == std::string_view::npos ? byte : before.size() - newline);
}

}  // namespace

Result<Json> parse_json(std::string_view text, std::string_view what) {
  constexpr int kMaxDepth = 64;
  bool too_deep = false;
  const auto limit_depth = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > kMaxDepth) too_deep = true;
    return !too_deep;
  };
  try {
    Json value = Json::parse(text, limit_depth);
    if (too_deep) return fail(ErrorCode::kCorrupt, "{}: JSON nested deeper than {}", what, kMaxDepth);
    return value;
  } catch (const nlohmann::json::parse_error& e) {
    return fail(ErrorCode::kCorrupt, "{}: not valid JSON, wrong {}", what, place_of(text, e.byte));
  } catch (const nlohmann::json::exception&) {
    return fail(ErrorCode::kCorrupt, "{}: not valid JSON", what);
  }
}

std::string dump_json(const Json& value, int indent) { return value.dump(indent, ' ', false, Json::error_handler_t::replace); }

}  // namespace boxlite
