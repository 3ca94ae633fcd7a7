// Directories, files and volumes that a box sees: what --volume, --mount and the image's VOLUME ask for, and what they came to.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "boxlite/box_info.h"
#include "boxlite/box_options.h"
#include "boxlite/image.h"
#include "runtime/paths.h"

namespace boxlite {

struct Mount {
  bool volume = false;       // else a bind
  std::string name;          // of the volume; "" in what was asked for: an anonymous one
  bool anonymous = false;    // goes with the box when that is removed with its volumes
  std::string source;        // of a bind: absolute; once resolved, without symbolic links
  bool make_source = false;  // --volume makes a directory that is not there, as docker does
  std::string target;        // absolute, without "." and ".."
  bool read_only = false;
  bool copy = true;  // an empty volume first gets what the image has there
};

Json to_json(const Mount& mount);
Result<Mount> mount_from_json(const Json& json);

/// What the options ask for, checked as far as that goes without looking at the host. A bind's source may still be relative.
Result<std::vector<Mount>> asked_mounts(const BoxOptions& options);

struct ResolvedMounts {
  std::vector<Mount> mounts = {};             // by target
  std::vector<std::string> directories = {};  // of the box's own disk, made where they are missing
};

/// The same and the image's volumes, with the sources of binds found or made, and names for anonymous volumes. Those of the
/// image are directories of the disk in a privileged box.
Result<ResolvedMounts> resolve_mounts(const HomePaths& paths, const BoxOptions& options, const ImageConfig& image);

/// Where a mount's files are.
std::string mount_source(const HomePaths& paths, const Mount& mount);

std::vector<MountInfo> describe_mounts(const HomePaths& paths, const std::vector<Mount>& mounts);

/// Names of volumes in it, once each.
std::vector<std::string> volumes_of(const std::vector<Mount>& mounts);

/// A bind's source as it is at a start: it must still be where it was. Whether it is a file.
Result<bool> check_source(const Mount& mount);

/// "": the home is not below the source. Else its path there, to be hidden from the box.
std::string home_below(const HomePaths& paths, const std::string& source);

Result<void> validate_volume_name(std::string_view name);

}  // namespace boxlite
