// Layers for tests, written with libarchive as pax tar.
#pragma once

#include <string>
#include <vector>

#include "image/layer_entry.h"

namespace boxlite::image {

struct TestFile {
  LayerEntry entry;
  std::string content = {};
};

enum class Compression { kNone, kGzip, kZstd };

/// The layer's bytes; a regular file's size is that of its content.
std::string make_layer(const std::vector<TestFile>& files, Compression compression);

}  // namespace boxlite::image
