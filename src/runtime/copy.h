// The client's side of a copy: a session (session_client.h) whose stdout, or stdin, is a tar stream.
#pragma once

#include <string>

#include "base/result.h"
#include "boxlite/box.h"
#include "runtime/session_client.h"

namespace boxlite {

Result<void> copy_out_of_box(const BoxAddress& box, const std::string& box_path, const std::string& host_path,
                             const CopyOptions& options);
Result<void> copy_into_box(const BoxAddress& box, const std::string& host_path, const std::string& box_path,
                           const CopyOptions& options);
Result<void> tar_out_of_box(const BoxAddress& box, const std::string& box_path, int fd, bool follow_link);
Result<void> tar_into_box(const BoxAddress& box, int fd, const std::string& box_path, bool archive);

}  // namespace boxlite
