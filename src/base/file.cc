#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/defer.h"
#include "base/failpoint.h"
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
  TRY_ASSIGN(const struct stat made, sys::fstat(fd.get()));  // the caller's mask may have taken from it
  if ((made.st_mode & 07777U) != mode && ::fchmod(fd.get(), mode) < 0) return fail_errno("chmod {}", temporary);
  if (durable) TRY(sys::fsync(fd.get(), temporary));
  FAILPOINT("file.rename");
  TRY(sys::rename(temporary, path));
  discard.cancel();
  return durable ? sync_directory(parent_of(path)) : Result<void>{};
}

// Removes what is in a directory. A box makes trees as deep as it likes, so this neither goes down nor holds a descriptor for
// each level: a directory that has others in it gives them to the top, which is gone through until it is empty.
class TreeEmptier {
 public:
  TreeEmptier(UniqueFd top, const std::string& path) : top_(std::move(top)), path_(path) {}

  Result<void> run() {
    for (bool empty = false; !empty;) {
      empty = true;
      TRY(for_each(top_.get(), [&](const char* name) {
        empty = false;
        return remove_from_top(name);
      }));
    }
    return {};
  }

 private:
  template <typename Action>
  Result<void> for_each(int directory, Action action) {
    TRY_ASSIGN(UniqueFd listed, sys::openat(directory, ".", O_RDONLY | O_DIRECTORY));
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(listed.get()), ::closedir);
    if (!stream) return fail_errno("opendir in {}", path_);
    (void)listed.release();  // the stream owns it now
    while (const dirent* entry = ::readdir(stream.get())) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") TRY(action(entry->d_name));
    }
    return {};
  }

  // False: a directory that is not empty.
  Result<bool> remove_simple(int directory, const char* name) {
    if (::unlinkat(directory, name, 0) == 0 || errno == ENOENT) return true;
    if (errno != EISDIR && errno != EPERM) return fail_errno("unlink {} in {}", name, path_);
    if (::unlinkat(directory, name, AT_REMOVEDIR) == 0 || errno == ENOENT) return true;
    if (errno != ENOTEMPTY && errno != EEXIST) return fail_errno("rmdir {} in {}", name, path_);
    return false;
  }

  Result<void> remove_from_top(const char* name) {
    TRY_ASSIGN(const bool removed, remove_simple(top_.get(), name));
    if (removed) return {};
    auto opened = sys::openat(top_.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!opened) return std::unexpected(opened.error().context(path_));
    const int directory = opened->get();
    TRY(for_each(directory, [&](const char* inner) -> Result<void> {
      TRY_ASSIGN(const bool gone, remove_simple(directory, inner));
      if (gone || ::renameat(directory, inner, top_.get(), fmt::format("{}-{}", prefix_, count_++).c_str()) == 0) return {};
      return fail_errno("move {} within {}", inner, path_);
    }));
    // What a pass did not see, the next does.
    if (::unlinkat(top_.get(), name, AT_REMOVEDIR) < 0 && errno != ENOENT && errno != ENOTEMPTY) {
      return fail_errno("rmdir {} in {}", name, path_);
    }
    return {};
  }

  UniqueFd top_;
  const std::string& path_;
  const std::string prefix_ = sys::random_hex(8);
  std::uint64_t count_ = 0;
};

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

Result<void> copy_file(const std::string& from, const std::string& to, mode_t mode) {
  TRY_ASSIGN(const UniqueFd source, sys::open(from, O_RDONLY | O_NOFOLLOW));
  TRY_ASSIGN(const struct stat st, sys::fstat(source.get()));
  TRY_ASSIGN(const UniqueFd target, sys::open(to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode));
  Defer discard([&] { ::unlink(to.c_str()); });
  if (::ioctl(target.get(), FICLONE, source.get()) < 0) {
    for (off_t left = st.st_size; left > 0;) {
      const ssize_t count = ::copy_file_range(source.get(), nullptr, target.get(), nullptr, static_cast<std::size_t>(left), 0);
      if (count < 0) return fail_errno("copy {} to {}", from, to);
      if (count == 0) return fail(ErrorCode::kIo, "{} has become shorter", from);
      left -= count;
    }
  }
  TRY(sys::fsync(target.get(), to));
  discard.cancel();
  return {};
}

Result<void> sync_directory(const std::string& path) {
  TRY_ASSIGN(const UniqueFd fd, sys::open(path, O_RDONLY | O_DIRECTORY));
  return sys::fsync(fd.get(), path);
}

Result<void> remove_tree(const std::string& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return fail_errno("unlink {}", path);
  auto top = sys::open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!top) return top.error().error_number() == ENOENT ? Result<void>{} : std::unexpected(top.error().context(path));
  TRY(TreeEmptier(std::move(*top), path).run());
  if (::rmdir(path.c_str()) < 0 && errno != ENOENT) return fail_errno("rmdir {}", path);
  return {};
}

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
