// An archive of images on its way in: a tar, plain or compressed in any way libarchive reads, whose files are written one by one
// into a job's directory, each under the digest of its contents.
//
// A stream can be read once, and the file that says what the others are may be its last. Nothing is unpacked by name: names are
// keys of a map, and a link is an entry of that map that names another.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/result.h"
#include "image/digest.h"
#include "image/job_monitor.h"

namespace boxlite::image {

struct SpooledFile {
  Digest digest;
  std::uint64_t size = 0;
};

class SpooledArchive {
 public:
  /// Reads all of `fd`. `name` is what messages call the archive; `limit`: uncompressed bytes.
  static Result<SpooledArchive> read(int fd, const std::string& name, const std::string& directory, std::uint64_t limit,
                                     JobMonitor& monitor);

  /// kNotFound when there is no such file.
  Result<SpooledFile> find(const std::string& path) const;
  bool has(const std::string& path) const { return find(path).has_value(); }
  /// kCorrupt when it is larger than `limit`.
  Result<std::string> contents(const std::string& path, std::size_t limit) const;

 private:
  SpooledArchive(std::string name, std::string directory) : name_(std::move(name)), directory_(std::move(directory)) {}

  std::string name_;
  std::string directory_;
  std::map<std::string, SpooledFile, std::less<>> files_;
  std::map<std::string, std::string, std::less<>> links_;
};

/// kCorrupt, with `name`, when the file is no tar archive at all.
Result<void> check_tar(const std::string& path, const std::string& name);

/// Writes the uncompressed bytes of `fd`, whatever it holds, into the directory under their digest.
Result<SpooledFile> spool_uncompressed(int fd, const std::string& name, const std::string& directory, std::uint64_t limit,
                                       JobMonitor& monitor);

}  // namespace boxlite::image
