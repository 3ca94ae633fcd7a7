#include "base/failpoint_plan.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <system_error>

namespace boxlite {
namespace {

constexpr int kMaxErrno = 133;  // EHWPOISON, Linux's last

// Takes what is before the first `separator` off the text; all of it where there is none.
std::string_view take_until(std::string_view& text, std::string_view separator) {
  const std::size_t end = std::min(text.find(separator), text.size());
  const std::string_view piece = text.substr(0, end);
  text.remove_prefix(std::min(end + separator.size(), text.size()));
  return piece;
}

std::optional<int> errno_from_name(std::string_view name) {
  for (int number = 1; number <= kMaxErrno; ++number) {
    if (const char* const known = ::strerrorname_np(number); known != nullptr && name == known) return number;
  }
  return std::nullopt;
}

Result<FailpointAction> parse_action(std::string_view text) {
  using Kind = FailpointAction::Kind;
  if (text == "off") return FailpointAction{.kind = Kind::kOff};
  if (text == "error") return FailpointAction{.kind = Kind::kError};
  if (text == "kill9") return FailpointAction{.kind = Kind::kKill9};
  if (text == "stop") return FailpointAction{.kind = Kind::kStop};
  if (const auto number = errno_from_name(text)) return FailpointAction{.kind = Kind::kError, .error_number = *number};
  return fail(ErrorCode::kInvalidArgument, "\"{}\" is no action; use off, error, kill9, stop or the name of an errno", text);
}

}  // namespace

Result<FailpointPlan::Term> FailpointPlan::parse_term(std::string_view text) {
  Term term;
  if (text.find('*') != std::string_view::npos) {
    const std::string_view count = take_until(text, "*");
    const auto [end, error] = std::from_chars(count.data(), count.data() + count.size(), term.left);
    if (error != std::errc() || end != count.data() + count.size() || term.left == 0) {
      return fail(ErrorCode::kInvalidArgument, "\"{}\" is no count", count);
    }
  }
  TRY_ASSIGN(term.action, parse_action(text));
  return term;
}

Result<FailpointPlan> FailpointPlan::parse(std::string_view text) {
  FailpointPlan plan;
  while (!text.empty()) {
    std::string_view terms = take_until(text, ";");
    const std::string_view point = terms;
    if (terms.find('=') == std::string_view::npos) {
      return fail(ErrorCode::kInvalidArgument, "\"{}\" is not NAME=ACTION", point);
    }
    const std::string_view name = take_until(terms, "=");
    auto [entry, is_new] = plan.points_.try_emplace(std::string(name));
    if (name.empty() || !is_new) return fail(ErrorCode::kInvalidArgument, "\"{}\" has no name, or one that came before", point);
    for (bool more = true; more;) {
      more = terms.find("->") != std::string_view::npos;
      auto term = parse_term(take_until(terms, "->"));
      if (!term) return std::unexpected(std::move(term).error().context(fmt::format("\"{}\"", point)));
      if (more && term->left == UINT64_MAX)
        return fail(ErrorCode::kInvalidArgument, "\"{}\": only its last term goes without a count", point);
      entry->second.push_back(*term);
    }
  }
  return plan;
}

FailpointAction FailpointPlan::next(std::string_view name) {
  const auto point = points_.find(name);
  if (point == points_.end()) return {};
  for (Term& term : point->second) {
    if (term.left == 0) continue;
    if (term.left != UINT64_MAX) --term.left;
    return term.action;
  }
  return {};
}

}  // namespace boxlite
