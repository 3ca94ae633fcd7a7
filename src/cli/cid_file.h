// --cidfile: a new file that says which box was made. It is made before the box, so that one that cannot be written prevents it,
// and goes again when the box is not made.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "boxlite/box.h"

namespace boxlite::cli {

class CidFile {
 public:
  /// Without a path it does nothing. kAlreadyExists when there is such a file.
  static Result<CidFile> create(const std::optional<std::string>& path);
  CidFile(CidFile&& other) noexcept = default;
  CidFile& operator=(CidFile&&) = delete;
  ~CidFile();

  /// The box was made: the file gets its id and stays. When it cannot be written the box is removed again.
  Result<void> keep(Box& box);

 private:
  CidFile(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  std::string path_;
  UniqueFd fd_;  // while the file is to be removed
};

}  // namespace boxlite::cli
