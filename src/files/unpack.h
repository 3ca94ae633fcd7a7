// Makes the files of a tar stream below one directory.
//
// The stream may come from an enemy. Nothing is resolved by path below the destination: each directory is opened relative to its
// parent's descriptor and never through a symbolic link, "..", absolute paths and links out of the tree are refused, so neither
// the stream nor somebody who renames and links in the destination at the same time can make a write go elsewhere. A file is
// written under a temporary name (".boxlite-…") and renamed when it is whole; what was not finished is removed.
#pragma once

#include <string>

#include "base/result.h"
#include "files/landing.h"
#include "files/tar_reader.h"

namespace boxlite::files {

struct UnpackOptions {
  /// Owners, set-uid and set-gid bits and extended attributes as in the stream. Else all belongs to the caller, and there are
  /// none.
  bool archive = false;
  /// Device nodes are made. Else they are left out, and the call fails at its end.
  bool devices = false;
  /// What a file is called until it is whole; empty: ".boxlite-" and a random number. With a name of its own, an unpacking that
  /// is done again replaces what was left of the one before; nobody else may unpack there at the same time.
  std::string temporary = {};
};

/// For a stream of pack(): its first entry lands by docker's rules (landing.h). `root`: what that entry must be called.
Result<void> unpack_to(TarReader& reader, const std::string& destination, const std::string& root, const UnpackOptions& options);

/// For any tar stream: its entries are made in `directory`, which must be there. Directories on the way are made.
Result<void> unpack_into(TarReader& reader, const std::string& directory, const UnpackOptions& options);

}  // namespace boxlite::files
