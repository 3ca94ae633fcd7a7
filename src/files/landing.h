// docker's rules for where a copy lands.
//
//   the source is      the destination is
//                      not there                      a file            a directory
//   a file             made, its parent must exist    replaced          a file in it with the source's name
//   a directory        made, with the contents        refused           a directory in it with the source's name
//   DIR/.              made, with the contents        refused           the contents go into it
//
// A destination that ends in "/" is a directory. A destination that is a symbolic link to a directory is that directory; any
// other link is refused, since whoever made it (an earlier copy out of a box, say) would choose what is overwritten.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite::files {

/// The name of the copy's first entry: the last part of the source's path; "." where that names no entry ("/", "DIR/.", "..").
std::string root_name(const std::string& source);

struct Landing {
  UniqueFd base;     // O_PATH, a directory
  std::string name;  // the root's name in it; "." when the root is the base itself
};

/// `root`: root_name() of the source. Opens the destination's directory; makes nothing.
Result<Landing> land(const std::string& destination, const std::string& root, bool source_is_directory);

/// The directory at `path`, O_PATH.
Result<UniqueFd> open_directory(const std::string& path);

}  // namespace boxlite::files
