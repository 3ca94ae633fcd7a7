// The shim's own log: lines on stderr, which is the box's shim.log. The last line is quoted when a start fails, so it says why.
#pragma once

#include <string>
#include <string_view>

#include <fmt/core.h>

#include "base/result.h"

namespace boxlite::shim {

void log_line(std::string_view text);

template <typename... Args>
void log(fmt::format_string<Args...> format, Args&&... args) {
  log_line(fmt::format(format, std::forward<Args>(args)...));
}

/// Points stdout and stderr at the file, appending; a file of more than 256 KiB becomes "<path>.1" first.
Result<void> log_to(const std::string& path);

}  // namespace boxlite::shim
