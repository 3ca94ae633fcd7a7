// JSON (RFC 8259) through nlohmann-json, its exceptions turned into Results where they enter.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/result.h"

namespace boxlite {

using Json = nlohmann::json;

/// kCorrupt with `what` and the position when the text is not JSON. The caller bounds the size; nesting is bounded here (64).
Result<Json> parse_json(std::string_view text, std::string_view what);

/// The member `key` of an object as T; kCorrupt naming `what` and `key` when it is absent, of another type, or a number beyond T.
template <typename T>
Result<T> json_get(const Json& object, std::string_view key, std::string_view what) {
  if (object.is_object()) {
    if (const auto it = object.find(key); it != object.end()) {
      try {
        if constexpr (std::same_as<T, bool>) {
          if (it->is_boolean()) return it->template get<bool>();
        } else if constexpr (std::unsigned_integral<T>) {
          if (it->is_number_unsigned()) {
            if (const auto value = it->template get<std::uint64_t>(); std::in_range<T>(value)) return static_cast<T>(value);
          }
        } else if constexpr (std::integral<T>) {
          if (it->is_number_unsigned()) {
            if (const auto value = it->template get<std::uint64_t>(); std::in_range<T>(value)) return static_cast<T>(value);
          } else if (it->is_number_integer()) {
            if (const auto value = it->template get<std::int64_t>(); std::in_range<T>(value)) return static_cast<T>(value);
          }
        } else {
          return it->template get<T>();
        }
      } catch (const nlohmann::json::exception&) {
        // falls through to the error below
      }
    }
  }
  return fail(ErrorCode::kCorrupt, "{}: \"{}\" is missing or of the wrong type", what, key);
}

/// The same for a member that may be absent or null; `fallback` then.
template <typename T>
Result<T> json_get_or(const Json& object, std::string_view key, std::string_view what, T fallback) {
  if (!object.is_object() || !object.contains(key) || object.at(std::string(key)).is_null()) return fallback;
  return json_get<T>(object, key, what);
}

/// Compact text; bytes that are not UTF-8 are replaced, never thrown about.
std::string dump_json(const Json& value, int indent = -1);

}  // namespace boxlite
