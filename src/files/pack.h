// Writes a tree as a tar stream.
//
// Symbolic links are never followed but the one that is named (and that only when asked): each directory is opened relative to
// its parent's descriptor, so whoever renames and links while the walk goes on can make it read nothing outside of the tree.
// Sockets are left out, and of /proc, /sys and their like everything but the mount point. What is deleted during the walk is not
// in the stream.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

#include "base/result.h"

namespace boxlite::files {

using Sink = std::function<Result<void>(std::span<const std::byte>)>;

struct PackOptions {
  bool follow_link = false;  // when `path` is a symbolic link
  int sink_fd = -1;          // where the sink writes to, if that is a descriptor: contents go there without a copy here
};

/// The first entry is root_name(path) (landing.h), all others are below it. kNotFound: there is no such path. A file that gets
/// shorter while it is read is filled up with zeros and makes the call fail at the end.
Result<void> pack(const std::string& path, const PackOptions& options, const Sink& sink);

}  // namespace boxlite::files
