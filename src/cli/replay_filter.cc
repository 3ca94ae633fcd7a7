#include "cli/replay_filter.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace boxlite::cli {
namespace {

constexpr char kEscape = '\x1b';
constexpr char kEnquiry = '\x05';
constexpr char kBell = '\x07';
constexpr std::size_t kMaxSequence = 4096;  // longer ones, like pictures, are no questions

bool in(char c, char first, char last) { return c >= first && c <= last; }

// ECMA-48, 5.4: parameters, intermediates, one final character. 0: not whole yet; nullopt: not a control sequence.
std::optional<std::size_t> control_sequence_length(std::string_view text) {
  std::size_t i = 2;
  while (i < text.size() && in(text[i], '0', '?')) ++i;
  while (i < text.size() && in(text[i], ' ', '/')) ++i;
  if (i == text.size()) return 0;
  return in(text[i], '@', '~') ? std::optional(i + 1) : std::nullopt;
}

// ECMA-48, 5.6, a control string: up to ST, or BEL as xterm has it.
std::optional<std::size_t> control_string_length(std::string_view text) {
  const std::size_t end = text.find_first_of(std::string{kEscape, kBell}, 2);
  if (end == std::string_view::npos) return 0;
  if (text[end] == kBell) return end + 1;
  if (end + 1 == text.size()) return 0;
  return text[end + 1] == '\\' ? std::optional(end + 2) : std::nullopt;
}

// https://invisible-island.net/xterm/ctlseqs/ctlseqs.html: those that xterm answers, and kitty's of the keyboard.
bool is_control_question(std::string_view sequence) {
  const char last = sequence.back();
  const std::string_view body = sequence.substr(2, sequence.size() - 3);
  const char kind = body.empty() ? '\0' : body.front();
  const char intermediate = !body.empty() && in(body.back(), ' ', '/') ? body.back() : '\0';
  if (intermediate == '$') return last == 'p' || last == 'w' || last == 'u';
  if (intermediate == '*') return last == 'y';
  if (intermediate == '&') return last == 'u';
  if (intermediate != '\0') return false;
  switch (last) {
    case 'c':
    case 'x':
      return true;
    case 'n':
      return kind != '>';
    case 'q':
      return kind == '>';
    case 'u':
    case 'S':
      return kind == '?';
    case 't':
      return body.size() >= 2 && (body.size() == 2 || body[2] == ';') &&
             (body.front() == '1' || body.substr(0, 2) == "20" || body.substr(0, 2) == "21");
    default:
      return false;
  }
}

bool is_string_question(std::string_view sequence) {
  const std::size_t terminator = sequence.back() == kBell ? 1 : 2;
  const std::string_view body = sequence.substr(2, sequence.size() - 2 - terminator);
  return sequence[1] == ']' ? body.ends_with(";?") : body.starts_with("$q") || body.starts_with("+q");
}

struct Sequence {
  std::size_t length = 0;  // 0: not whole yet
  bool question = false;
};

Sequence sequence_at(std::string_view text) {
  if (text.size() == 1) return {};
  const char kind = text[1];
  if (kind == 'Z') return {.length = 2, .question = true};
  if (kind != '[' && kind != ']' && kind != 'P') return {.length = 1};
  const auto length = kind == '[' ? control_sequence_length(text) : control_string_length(text);
  if (!length) return {.length = 1};
  if (*length == 0) return {.length = text.size() > kMaxSequence ? std::size_t{1} : 0};
  const std::string_view sequence = text.substr(0, *length);
  return {.length = *length, .question = kind == '[' ? is_control_question(sequence) : is_string_question(sequence)};
}

}  // namespace

std::string ReplayFilter::pass(std::uint64_t offset, std::string_view data) {
  const std::size_t old = offset >= end_ ? 0 : static_cast<std::size_t>(std::min<std::uint64_t>(data.size(), end_ - offset));
  std::string result = filter(data.substr(0, old));
  if (offset + old >= end_) result += std::exchange(held_, {});
  return result.append(data.substr(old));
}

std::string ReplayFilter::filter(std::string_view data) {
  const std::string text = std::exchange(held_, {}).append(data);
  std::string result;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] != kEscape) {
      if (text[i] != kEnquiry) result += text[i];
      ++i;
      continue;
    }
    const Sequence sequence = sequence_at(std::string_view(text).substr(i));
    if (sequence.length == 0) {
      held_ = text.substr(i);
      break;
    }
    if (!sequence.question) result.append(text, i, sequence.length);
    i += sequence.length;
  }
  return result;
}

}  // namespace boxlite::cli
