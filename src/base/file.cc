#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "base/defer.h"
#include "base/sys.h"

namespace boxlite {
namespace {

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Result<void> write_file(const std::string& path, std::string_view contents, mode_t mode, bool durable) {
  // The name is unique per writer: two processes writing one file must not share a half-written temporary.
  const std::string temporary = fmt::format("{}.{}.tmp", path, sys::random_hex(6));
  TRY_ASSIGN(UniqueFd fd, sys::open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode));
  Defer discard([&] { ::unlink(temporary.c_str()); });
  if (auto written = sys::write_all(fd.get(), contents); !written) return std::unexpected(written.error().context(path));
  if (::fchmod(fd.get(), mode) < 0) return fail_errno("chmod {}", temporary);
  if (durable) TRY(sys::fsync(fd.get(), temporary));
  TRY(sys::rename(temporary, path));
  discard.cancel();
  return durable ? sync_directory(parent_of(path)) : Result<void>{};
}

Result<void> remove_entries(UniqueFd directory, const std::string& path);

Result<void> remove_at(int parent, const char* name, const std::string& path) {
  if (::unlinkat(parent, name, 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return fail_errno("unlink {}", path);
  auto directory = sys::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!directory)
    return directory.error().error_number() == ENOENT ? Result<void>{} : std::unexpected(directory.error().context(path));
  TRY(remove_entries(std::move(*directory), path));
  if (::unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT) return fail_errno("rmdir {}", path);
  return {};
}

Result<void> remove_entries(UniqueFd directory, const std::string& path) {
  const int fd = directory.get();
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd), ::closedir);
  if (!stream) return fail_errno("opendir {}", path);
  (void)directory.release();  // the stream owns it now
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    TRY(remove_at(fd, entry->d_name, fmt::format("{}/{}", path, name)));
  }
  return {};
}

}  // namespace

Result<std::string> read_file(const std::string& path, std::size_t limit) {
  // O_NONBLOCK: a fifo in the file's place must not hang the reader.
  TRY_ASSIGN(const UniqueFd fd, sys::open(path, O_RDONLY | O_NONBLOCK));
  TRY_ASSIGN(const struct stat st, sys::fstat(fd.get()));
  if (!S_ISREG(st.st_mode)) return fail(ErrorCode::kCorrupt, "{} is not a regular file", path);
  // The size is only a hint: /proc files say 0.
  std::string contents;
  std::string chunk(16384, '\0');
  for (;;) {
    auto count = sys::read(fd.get(), std::as_writable_bytes(std::span(chunk)));
    if (!count) return std::unexpected(count.error().context(path));
    if (*count == 0) return contents;
    contents.append(chunk, 0, *count);
    if (contents.size() > limit) return fail(ErrorCode::kCorrupt, "{} is larger than {} bytes", path, limit);
  }
}

Result<void> write_file_atomic(const std::string& path, std::string_view contents, mode_t mode) {
  return write_file(path, contents, mode, true);
}

Result<void> write_file_volatile(const std::string& path, std::string_view contents, mode_t mode) {
  return write_file(path, contents, mode, false);
}

Result<void> sync_directory(const std::string& path) {
  TRY_ASSIGN(const UniqueFd fd, sys::open(path, O_RDONLY | O_DIRECTORY));
  return sys::fsync(fd.get(), path);
}

Result<void> remove_tree(const std::string& path) { return remove_at(AT_FDCWD, path.c_str(), path); }

Result<void> ensure_directory(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0) return {};
  if (errno != EEXIST) return fail_errno("mkdir {}", path);
  TRY_ASSIGN(const struct stat st, sys::stat(path));
  if (!S_ISDIR(st.st_mode)) return fail(ErrorCode::kInvalidArgument, "{} is not a directory", path);
  return {};
}

Result<TempDir> TempDir::create(const std::string& parent, std::string_view prefix) {
  std::string path = fmt::format("{}/{}{}", parent, prefix, sys::random_hex(6));
  TRY(sys::mkdir(path, 0700));
  return TempDir(std::move(path));
}

TempDir::TempDir(TempDir&& other) noexcept : path_(std::exchange(other.path_, {})) {}

TempDir::~TempDir() {
  if (!path_.empty()) (void)remove_tree(path_);
}

}  // namespace boxlite
