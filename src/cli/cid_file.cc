#include "cli/cid_file.h"

#include <fcntl.h>

#include "base/sys.h"
#include "cli/user_path.h"

namespace boxlite::cli {

Result<CidFile> CidFile::create(const std::optional<std::string>& path) {
  if (!path) return CidFile({}, {});
  if (path->empty()) return fail(ErrorCode::kInvalidArgument, "--cidfile \"\": name a file, or leave the flag out");
  auto fd = sys::open(*path, O_WRONLY | O_CREAT | O_EXCL, 0644);
  if (fd) return CidFile(*path, std::move(*fd));
  if (fd.error().code() != ErrorCode::kAlreadyExists)
    return std::unexpected(check_path(fd.error().context(fmt::format("--cidfile {}", *path))));
  return fail(ErrorCode::kAlreadyExists, "--cidfile {}: the file exists; remove it if the box it names is not needed", *path);
}

CidFile::~CidFile() {
  if (fd_) (void)sys::unlink(path_);
}

Result<void> CidFile::keep(Box& box) {
  if (!fd_) return {};
  if (auto written = sys::write_all(fd_.get(), box.id()); !written) {
    (void)box.remove(true);
    return std::unexpected(std::move(written).error().context(fmt::format("--cidfile {}", path_)));
  }
  fd_.reset();
  return {};
}

}  // namespace boxlite::cli
