#include "cli/user_path.h"

namespace boxlite::cli {

Error check_path(const Error& error) {
  if (error.code() == ErrorCode::kNotFound) return error.advice("check the path");
  if (error.code() == ErrorCode::kPermissionDenied) return error.advice("check its owner and permissions");
  return error;
}

}  // namespace boxlite::cli
