// A libarchive reader that is freed with its owner.
#pragma once

#include <archive.h>

#include <memory>

namespace boxlite::image {

struct FreeArchive {
  void operator()(archive* a) const { archive_read_free(a); }
};
using ArchivePtr = std::unique_ptr<archive, FreeArchive>;

}  // namespace boxlite::image
