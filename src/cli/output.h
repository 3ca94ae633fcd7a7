// What a user sees: data on standard output, one line per error on standard error.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace boxlite::cli {

/// Opens /dev/null on those of 0, 1 and 2 that are closed, lest a file of ours gets the number and receives our output.
void ensure_standard_descriptors();

/// Writes all of it to standard output. A reader that went away ends the program by SIGPIPE, as it ends any other.
Result<void> print(std::string_view text);

/// Indented, with a newline.
Result<void> print_json(const Json& value);

/// "boxlite: <message>" on standard error.
void print_error(std::string_view message);

/// A line of progress on standard error.
void print_notice(std::string_view message);

/// The text with control characters written as \xNN. Messages and names come from registries, images and guests: one of them must
/// neither forge a second line nor reach the terminal as an escape sequence.
std::string one_line(std::string_view text);

}  // namespace boxlite::cli
