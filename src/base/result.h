// Shorthand for code that passes errors up.
#pragma once

#include <cerrno>
#include <string>
#include <utility>

#include <fmt/core.h>

#include "boxlite/error.h"

namespace boxlite {

/// return fail(ErrorCode::kNotFound, "no box named {}", name);
template <typename... Args>
std::unexpected<Error> fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(Error(code, fmt::format(format, std::forward<Args>(args)...)));
}

/// return fail_errno("open {}", path);   reads errno first, so the arguments may be formatted freely
template <typename... Args>
std::unexpected<Error> fail_errno(fmt::format_string<Args...> format, Args&&... args) {
  const int error_number = errno;
  return std::unexpected(Error::from_errno(error_number, fmt::format(format, std::forward<Args>(args)...)));
}

}  // namespace boxlite

#define BOXLITE_CONCAT_(a, b) a##b
#define BOXLITE_CONCAT(a, b) BOXLITE_CONCAT_(a, b)

/// Evaluates a Result; returns its error from the enclosing function.
#define TRY(expression)                                             \
  do {                                                              \
    if (auto try_result_ = (expression); !try_result_) [[unlikely]] \
      return std::unexpected(std::move(try_result_).error());       \
  } while (false)

/// TRY_ASSIGN(UniqueFd fd, sys::open(…));   declares (or assigns) the value, returns the error.
#define TRY_ASSIGN(target, expression)                                                \
  auto BOXLITE_CONCAT(try_assign_, __LINE__) = (expression);                          \
  if (!BOXLITE_CONCAT(try_assign_, __LINE__)) [[unlikely]]                            \
    return std::unexpected(std::move(BOXLITE_CONCAT(try_assign_, __LINE__)).error()); \
  target = std::move(*BOXLITE_CONCAT(try_assign_, __LINE__))  // NOLINT(bugprone-macro-parentheses): it may be a declaration
