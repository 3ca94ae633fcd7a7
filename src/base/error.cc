#include "boxlite/error.h"

#include <cerrno>
#include <cstring>

#include <fmt/core.h>

namespace boxlite {
namespace {

struct CodeRow {
  ErrorCode code;
  std::string_view name;
  int exit_status;
};

// The one table from codes to the outside. HTTP status and C API code get their columns with the REST server and the C API.
constexpr CodeRow kCodes[] = {
    {ErrorCode::kInternal, "internal", 125},
    {ErrorCode::kInvalidArgument, "invalid_argument", 125},
    {ErrorCode::kNotFound, "not_found", 125},
    {ErrorCode::kAlreadyExists, "already_exists", 125},
    {ErrorCode::kInvalidState, "invalid_state", 125},
    {ErrorCode::kUnavailable, "unavailable", 125},
    {ErrorCode::kPermissionDenied, "permission_denied", 125},
    {ErrorCode::kResourceExhausted, "resource_exhausted", 125},
    {ErrorCode::kUnsupported, "unsupported", 125},
    {ErrorCode::kCorrupt, "corrupt", 125},
    {ErrorCode::kIo, "io", 125},
    {ErrorCode::kCommandNotExecutable, "command_not_executable", 126},
    {ErrorCode::kCommandNotFound, "command_not_found", 127},
};

ErrorCode code_for(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return ErrorCode::kNotFound;
    case EACCES:
    case EPERM:
    case EROFS:
      return ErrorCode::kPermissionDenied;
    case EEXIST:
      return ErrorCode::kAlreadyExists;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
      return ErrorCode::kResourceExhausted;
    case ETIMEDOUT:
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
      return ErrorCode::kUnavailable;
    default:
      return ErrorCode::kIo;
  }
}

// For errors that mean the same, and ask for the same, wherever they are met.
std::string_view next_step(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
      return "; free some space there";
    case EMFILE:
      return "; raise the limit of open files: ulimit -n";
    default:
      return "";
  }
}

}  // namespace

int exit_status(ErrorCode code) {
  for (const CodeRow& row : kCodes) {
    if (row.code == code) return row.exit_status;
  }
  return 125;
}

std::string_view name(ErrorCode code) {
  for (const CodeRow& row : kCodes) {
    if (row.code == code) return row.name;
  }
  return "internal";
}

ErrorCode error_code_from_name(std::string_view name) {
  for (const CodeRow& row : kCodes) {
    if (row.name == name) return row.code;
  }
  return ErrorCode::kInternal;
}

Error Error::from_errno(int error_number, std::string_view what) {
  Error error(code_for(error_number), fmt::format("{}: {}{}", what, std::strerror(error_number), next_step(error_number)));
  error.error_number_ = error_number;
  return error;
}

Error Error::context(std::string_view outer) const& {
  Error copy = *this;
  return std::move(copy).context(outer);
}

Error Error::context(std::string_view outer) && {
  message_ = fmt::format("{}: {}", outer, message_);
  return std::move(*this);
}

Error Error::advice(std::string_view next_step) const {
  Error copy = *this;
  copy.message_ += fmt::format("; {}", next_step);
  return copy;
}

}  // namespace boxlite
