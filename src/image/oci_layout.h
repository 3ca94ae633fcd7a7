// An OCI image layout directory (image-spec v1.1, image-layout.md) as a source of images.
//
// Everything is read through the directory's descriptor and may not leave it (RESOLVE_BENEATH): a layout is somebody's files, and
// a symbolic link in it must not make us read others.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "image/document.h"
#include "image/manifest.h"
#include "image/reference.h"

namespace boxlite::image {

class OciLayout {
 public:
  static Result<OciLayout> open(const LayoutReference& reference, const Platform& platform);

  /// The manifest or index the reference names. Length and digest are verified.
  Result<Document> top();
  Result<Document> manifest(const Descriptor& descriptor);
  /// The sink verifies.
  Result<void> blob(const Descriptor& descriptor, const std::string& what,
                    const std::function<Result<void>(std::span<const std::byte>)>& sink);

 private:
  OciLayout(LayoutReference reference, Platform platform, UniqueFd directory)
      : reference_(std::move(reference)), platform_(std::move(platform)), directory_(std::move(directory)) {}
  Result<UniqueFd> open_file(const std::string& path) const;
  Result<std::string> read_small(const std::string& path) const;
  Result<Descriptor> select(const Index& index) const;

  LayoutReference reference_;
  Platform platform_;
  UniqueFd directory_;
};

}  // namespace boxlite::image
