// Errors of the boxlite library.
//
// Every operation that can fail returns Result<T>; the library throws nothing of its own. An Error says what happened and to
// which box, image or file, and what the user can do next. Context is added on the way up, outermost first, so the message
// printed once at the top reads "start box web: open /x/disk.qcow2: No space left on device".
// Values only: safe to copy and to use from any thread.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace boxlite {

enum class ErrorCode {
  kInternal = 1,          // a bug, or a part of the box that broke a rule
  kInvalidArgument,       // the caller's value cannot be right
  kNotFound,              // no such box, image, file, program
  kAlreadyExists,         // the name is taken
  kInvalidState,          // right request, wrong moment: the box is not running, is running, …
  kUnavailable,           // the other side does not answer: registry down, unresponsive box, deadline passed
  kPermissionDenied,      // credentials or file permissions
  kResourceExhausted,     // disk full, limit reached
  kUnsupported,           // this host or this version cannot do it
  kCorrupt,               // data does not match its digest, its length or its format
  kIo,                    // the operating system refused, nothing above fits
  kCommandNotExecutable,  // the command exists in the box and cannot be run
  kCommandNotFound,       // the command does not exist in the box
};

/// The exit status a command-line tool gives for this error: docker's 125, 126, 127.
int exit_status(ErrorCode code);

/// A stable lower-case name ("not_found") for logs, records and wire formats.
std::string_view name(ErrorCode code);

/// The inverse of name(); kInternal for a name that is not known.
ErrorCode error_code_from_name(std::string_view name);

class Error {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}

  /// An Error for a failed system call; errno chooses the code. `what` names the call and its subject: "open /x/y".
  static Error from_errno(int error_number, std::string_view what);

  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }

  /// The errno behind this error, 0 if there is none.
  int error_number() const { return error_number_; }

  /// The same error with "outer: " put before the message.
  Error context(std::string_view outer) const&;
  Error context(std::string_view outer) &&;

  /// The same error with "; next_step" put behind the message.
  Error advice(std::string_view next_step) const;

 private:
  ErrorCode code_;
  std::string message_;
  int error_number_ = 0;
};

template <typename T>
using Result = std::expected<T, Error>;

}  // namespace boxlite
