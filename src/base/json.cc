#include "base/json.h"

namespace boxlite {

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
  } catch (const nlohmann::json::exception& e) {
    return fail(ErrorCode::kCorrupt, "{}: not valid JSON: {}", what, e.what());
  }
}

std::string dump_json(const Json& value, int indent) { return value.dump(indent, ' ', false, Json::error_handler_t::replace); }

}  // namespace boxlite
