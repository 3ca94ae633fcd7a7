// Paths of an image, resolved strictly inside its root directory.
//
// An image decides what its paths are: /etc may be a symbolic link to anywhere, /etc/passwd a fifo. So nothing of an image is
// named by a string that the kernel resolves from our own root: every function here starts from a descriptor of the image's root,
// treats it as "/" (openat2 RESOLVE_IN_ROOT: neither ".." nor an absolute link leaves it), refuses magic links, and hands back
// descriptors, so that what was checked is what is used.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite::agent {

/// openat2 with RESOLVE_IN_ROOT. Follows links of the image inside the image.
Result<UniqueFd> open_in_root(int root, const std::string& path, int flags);

enum class EntryKind { kDirectory, kFile };

/// An O_PATH descriptor of the entry, made (0755 or 0644, parents too) when it is missing, also at the end of a dangling link.
/// kInvalidArgument when something of another kind is there.
Result<UniqueFd> ensure_in_root(int root, const std::string& path, EntryKind kind);

/// A regular file's contents; nullopt when there is none. kCorrupt when it is something else or larger than `limit`.
Result<std::optional<std::string>> read_in_root(int root, const std::string& path, std::size_t limit);

}  // namespace boxlite::agent
