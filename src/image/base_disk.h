// From layers to the read-only base disk of an image.
//
// Two passes over the layer streams. The first merges their entries into a tree (MergedTree) and verifies each diff_id: nothing
// is written before every byte is known to be what the image says. The second writes the contents that survived, each directly to
// its blocks. Names and attributes are kept in a file beside the
// disk (FileArena), so that memory is bounded whatever the image.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/digest.h"
#include "image/job_monitor.h"

namespace boxlite::image {

struct LayerFile {
  std::string path;  // a verified blob
  std::string what;  // "layer sha256:…"
  Digest diff_id;
};

struct BaseDiskSpec {
  std::string image;  // for messages
  Digest image_id;
  std::vector<LayerFile> layers;  // lowest first
  std::uint64_t disk_bytes = 0;   // larger, if the image needs it
  std::uint64_t max_unpacked_bytes = 0;
};

/// Writes the disk to `path`, which must not exist; durable when it returns.
Result<void> build_base_disk(const BaseDiskSpec& spec, const std::string& path, JobMonitor& monitor);

}  // namespace boxlite::image
