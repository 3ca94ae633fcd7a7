// Whole files and directory trees: bounded reads, atomic durable writes, removal that never follows a link.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite {

/// The file's contents. kCorrupt when it is larger than `limit` bytes, or not a regular file.
Result<std::string> read_file(const std::string& path, std::size_t limit);

/// Replaces `path` so that a reader, and a crash at any moment, sees the old contents or the new and nothing between:
/// written to a temporary name beside it, fsync, rename, fsync of the directory.
Result<void> write_file_atomic(const std::string& path, std::string_view contents, mode_t mode);

/// The same without the two fsyncs: atomic for readers, not durable across a power loss. For state that dies with the boot.
Result<void> write_file_volatile(const std::string& path, std::string_view contents, mode_t mode);

/// A new file with the contents of another, which must be regular. The file system may share the blocks (reflink). Durable.
Result<void> copy_file(const std::string& from, const std::string& to, mode_t mode);

/// fsync of a directory: makes renames and unlinks in it durable.
Result<void> sync_directory(const std::string& path);

/// Removes a file or a whole tree; symbolic links are removed, never followed. Nothing there is no error.
Result<void> remove_tree(const std::string& path);

/// mkdir -p for the last component only: an existing directory is no error.
Result<void> ensure_directory(const std::string& path, mode_t mode);

/// A fresh directory below `parent`, removed with all it holds when the object goes.
class TempDir {
 public:
  static Result<TempDir> create(const std::string& parent, std::string_view prefix);
  TempDir(TempDir&& other) noexcept;
  TempDir& operator=(TempDir&&) = delete;
  ~TempDir();
  const std::string& path() const { return path_; }

 private:
  explicit TempDir(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace boxlite
