// A manifest or index as its source gave it.
#pragma once

#include <string>

#include "image/digest.h"

namespace boxlite::image {

struct Document {
  std::string bytes;
  std::string media_type;  // what the source announced
  Digest digest;           // of the bytes
};

}  // namespace boxlite::image
