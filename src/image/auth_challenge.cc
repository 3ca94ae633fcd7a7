#include "image/auth_challenge.h"

#include <algorithm>

namespace boxlite::image {
namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return result;
}

void skip(std::string_view& rest, std::string_view characters) {
  rest.remove_prefix(std::min(rest.find_first_not_of(characters), rest.size()));
}

std::string_view take_token(std::string_view& rest) {
  const std::string_view token = rest.substr(0, rest.find_first_of(" \t=,\""));
  rest.remove_prefix(token.size());
  return token;
}

std::optional<std::string> take_value(std::string_view& rest) {
  if (!rest.starts_with('"')) return std::string(take_token(rest));
  std::string value;
  for (std::size_t i = 1; i < rest.size(); ++i) {
    if (rest[i] == '"') {
      rest.remove_prefix(i + 1);
      return value;
    }
    if (rest[i] == '\\' && i + 1 < rest.size()) ++i;
    value += rest[i];
  }
  return std::nullopt;
}

}  // namespace

std::optional<AuthChallenge> parse_challenge(std::string_view header) {
  std::string_view rest = header;
  skip(rest, " \t");
  AuthChallenge challenge;
  challenge.scheme = lower(take_token(rest));
  if (challenge.scheme.empty()) return std::nullopt;
  for (;;) {
    skip(rest, " \t,");
    if (rest.empty()) return challenge;
    const std::string name = lower(take_token(rest));
    skip(rest, " \t");
    if (name.empty() || !rest.starts_with('=')) return std::nullopt;
    rest.remove_prefix(1);
    skip(rest, " \t");
    std::optional<std::string> value = take_value(rest);
    if (!value) return std::nullopt;
    challenge.parameters.emplace(name, std::move(*value));
  }
}

}  // namespace boxlite::image
