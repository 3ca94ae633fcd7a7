#include "cli/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "cli/user_path.h"

namespace boxlite::cli {
namespace {

std::string beside(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::size_t name = slash == std::string::npos ? 0 : slash + 1;
  return fmt::format("{}.{}.{}.part", path.substr(0, name), path.substr(name), sys::random_hex(4));
}

}  // namespace

Result<OutputFile> OutputFile::create(const std::string& path, mode_t mode) {
  if (const auto st = sys::stat(path); st && !S_ISREG(st->st_mode)) {
    if (S_ISDIR(st->st_mode)) return fail(ErrorCode::kInvalidArgument, "{} is a directory; name a file in it", path);
    TRY_ASSIGN(UniqueFd fd, check_path(sys::open(path, O_WRONLY)));
    return OutputFile(path, "", std::move(fd));
  }
  // A file without a name goes with its process, however that ends; not every file system has such.
  const std::size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, std::max<std::size_t>(slash, 1));
  if (auto unnamed = sys::open(parent, O_TMPFILE | O_WRONLY, mode)) return OutputFile(path, beside(path), std::move(*unnamed));
  std::string temporary = beside(path);
  auto fd = sys::open(temporary, O_WRONLY | O_CREAT | O_EXCL, mode);
  if (!fd) return std::unexpected(check_path(Error::from_errno(fd.error().error_number(), "write " + path)));
  return OutputFile(path, std::move(temporary), std::move(*fd));
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)), temporary_(std::exchange(other.temporary_, {})), fd_(std::move(other.fd_)) {}

OutputFile::~OutputFile() {
  if (!temporary_.empty()) (void)::unlink(temporary_.c_str());
}

Result<void> OutputFile::commit() {
  if (temporary_.empty()) return {};
  TRY(sys::fsync(fd_.get(), path_));
  TRY_ASSIGN(const struct stat st, sys::fstat(fd_.get()));
  if (st.st_nlink == 0) {
    const std::string unnamed = fmt::format("/proc/self/fd/{}", fd_.get());
    if (::linkat(AT_FDCWD, unnamed.c_str(), AT_FDCWD, temporary_.c_str(), AT_SYMLINK_FOLLOW) < 0)
      return fail_errno("write {}", path_);
  }
  TRY(sys::rename(temporary_, path_));
  temporary_.clear();
  return {};
}

}  // namespace boxlite::cli
