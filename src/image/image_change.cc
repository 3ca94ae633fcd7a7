#include "image/image_change.h"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

namespace boxlite::image {
namespace {

constexpr std::string_view kBlank = " \t";

struct Split {
  std::string word;
  std::string rest;
};

Split first_word(std::string_view text) {
  const std::size_t begin = std::min(text.find_first_not_of(kBlank), text.size());
  const std::size_t end = std::min(text.find_first_of(kBlank, begin), text.size());
  const std::size_t next = std::min(text.find_first_not_of(kBlank, end), text.size());
  const std::size_t last = text.find_last_not_of(kBlank);
  const std::size_t stop = last == std::string_view::npos ? next : std::max(last + 1, next);
  return {.word = std::string(text.substr(begin, end - begin)), .rest = std::string(text.substr(next, stop - next))};
}

// Words between blanks; quotes keep blanks, a backslash keeps any character. nullopt: a quote is not closed.
std::optional<std::vector<std::string>> words_of(std::string_view text) {
  std::vector<std::string> words;
  std::optional<std::string> word;
  char quote = '\0';
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote == '\0' && kBlank.find(c) != std::string_view::npos) {
      if (word) words.push_back(std::move(*word));
      word.reset();
      continue;
    }
    if (!word) word.emplace();
    if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
      *word += text[++i];
    } else if (quote != '\0' ? c == quote : (c == '"' || c == '\'')) {
      quote = quote == '\0' ? c : '\0';
    } else {
      *word += c;
    }
  }
  if (quote != '\0') return std::nullopt;
  if (word) words.push_back(std::move(*word));
  return words;
}

// A JSON array of strings, or a line for the shell.
Json command_of(const std::string& text) {
  if (text.starts_with('[')) {
    const auto json = parse_json(text, "command");
    if (json && json->is_array() && std::ranges::all_of(*json, [](const Json& item) { return item.is_string(); })) return *json;
  }
  return Json::array({"/bin/sh", "-c", text});
}

// NAME=VALUE…, or "NAME VALUE".
std::optional<std::vector<std::pair<std::string, std::string>>> pairs_of(const std::string& text) {
  const auto [name, value] = first_word(text);
  if (name.find('=') == std::string::npos) {
    if (name.empty() || value.empty()) return std::nullopt;
    return std::vector{std::pair(name, value)};
  }
  const auto words = words_of(text);
  if (!words) return std::nullopt;
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string& word : *words) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0) return std::nullopt;
    pairs.emplace_back(word.substr(0, equals), word.substr(equals + 1));
  }
  return pairs;
}

void set_variable(Json& env, const std::string& name, const std::string& value) {
  if (!env.is_array()) env = Json::array();
  for (Json& entry : env) {
    if (entry.get<std::string>().starts_with(name + "=")) {
      entry = name + "=" + value;
      return;
    }
  }
  env.push_back(name + "=" + value);
}

}  // namespace

Result<void> apply_change(const std::string& instruction, Json& config) {
  auto [word, rest] = first_word(instruction);
  std::ranges::transform(word, word.begin(), [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
  const auto bad = [&] {
    return fail(ErrorCode::kInvalidArgument,
                "--change \"{}\": not one of CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR with a value",
                instruction);
  };
  if (rest.empty() || instruction.find_first_of(std::string_view("\n\0", 2)) != std::string::npos) return bad();
  if (word == "CMD" || word == "ENTRYPOINT") {
    config[word == "CMD" ? "Cmd" : "Entrypoint"] = command_of(rest);
  } else if (word == "ENV" || word == "LABEL") {
    const auto pairs = pairs_of(rest);
    if (!pairs)
      return fail(ErrorCode::kInvalidArgument,
                  "--change \"{}\": NAME=VALUE is wanted, each; a value with blanks stands in quotes: {} NAME=\"a b\"",
                  instruction, word);
    for (const auto& [name, value] : *pairs) {
      if (word == "ENV") {
        set_variable(config["Env"], name, value);
      } else {
        config["Labels"][name] = value;
      }
    }
  } else if (word == "USER" || word == "WORKDIR" || word == "STOPSIGNAL") {
    config[word == "USER" ? "User" : word == "WORKDIR" ? "WorkingDir" : "StopSignal"] = rest;
  } else if (word == "EXPOSE" || word == "VOLUME") {
    auto names = words_of(rest);
    if (word == "VOLUME" && rest.starts_with('[')) names = command_of(rest).get<std::vector<std::string>>();
    if (!names) return bad();
    for (std::string& name : *names) {
      if (word == "EXPOSE" && name.find('/') == std::string::npos) name += "/tcp";
      config[word == "EXPOSE" ? "ExposedPorts" : "Volumes"][name] = Json::object();
    }
  } else {
    return bad();
  }
  return {};
}

}  // namespace boxlite::image
