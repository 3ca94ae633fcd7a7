#include "cli/detach_keys.h"

namespace boxlite::cli {
namespace {

constexpr std::string_view kDefault = "ctrl-p,ctrl-q";
constexpr std::string_view kControl = "ctrl-";

std::optional<char> key_byte(std::string_view key) {
  if (key.size() == 1) return key[0];
  if (!key.starts_with(kControl) || key.size() != kControl.size() + 1) return std::nullopt;
  const char c = key.back();
  if (c >= 'a' && c <= 'z') return static_cast<char>(c - 'a' + 1);
  if (std::string_view("@[\\]^_").find(c) != std::string_view::npos) return static_cast<char>(c - '@');
  return std::nullopt;
}

}  // namespace

Result<std::string> parse_detach_keys(const std::optional<std::string>& value) {
  std::string_view rest = value && !value->empty() ? std::string_view(*value) : kDefault;
  std::string bytes;
  for (bool more = true; more;) {
    const std::size_t comma = rest.find(',');
    const std::optional<char> byte = key_byte(rest.substr(0, comma));
    if (!byte) {
      return fail(ErrorCode::kInvalidArgument,
                  "--detach-keys {}: not keys; use characters and ctrl- with a letter or one of @[\\]^_, separated by commas",
                  *value);
    }
    bytes += *byte;
    more = comma != std::string_view::npos;
    if (more) rest.remove_prefix(comma + 1);
  }
  return bytes;
}

std::string DetachKeys::pass(std::string_view typed) {
  if (keys_.empty()) return std::string(typed);
  std::string passed;
  for (const char byte : typed) {
    held_ += byte;
    while (!keys_.starts_with(held_)) {
      passed += held_.front();
      held_.erase(0, 1);
    }
    if (seen()) break;
  }
  return passed;
}

}  // namespace boxlite::cli
