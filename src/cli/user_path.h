// A file that was named on the command line.
#pragma once

#include "base/result.h"

namespace boxlite::cli {

/// The error of opening it, with what to check.
Error check_path(const Error& error);

template <typename T>
Result<T> check_path(Result<T> opened) {
  if (opened) return opened;
  return std::unexpected(check_path(opened.error()));
}

}  // namespace boxlite::cli
