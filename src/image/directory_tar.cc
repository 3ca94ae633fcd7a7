#include "image/directory_tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <vector>

#include "base/sys.h"
#include "base/unique_fd.h"
#include "image/sha256.h"

namespace boxlite::image {
namespace {

constexpr std::size_t kMaxDepth = 1024;
constexpr std::size_t kMaxAttribute = 64 * 1024;

struct FreeWriter {
  void operator()(archive* a) const { archive_write_free(a); }
};
struct FreeEntry {
  void operator()(archive_entry* e) const { archive_entry_free(e); }
};
using EntryPtr = std::unique_ptr<archive_entry, FreeEntry>;

bool same_file(const struct stat& a, const struct stat& b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

class Walk {
 public:
  Walk(const std::string& path, const std::string& home, std::uint64_t limit, JobMonitor& monitor)
      : path_(path), home_(home), limit_(limit), monitor_(monitor) {}

  Result<SpooledFile> run(const std::string& job_directory) {
    const std::string temporary = job_directory + "/incoming";
    TRY_ASSIGN(out_, sys::open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
    auto root = sys::open(path_, O_RDONLY | O_DIRECTORY);
    if (!root) return std::unexpected(root.error().context("--rootfs").advice("name a directory that holds a root file system"));
    TRY_ASSIGN(root_, sys::fstat(root->get()));
    TRY_ASSIGN(home_status_, sys::stat(home_));
    writer_.reset(archive_write_new());
    // Names are bytes: no character set is assumed.
    if (archive_write_set_format_pax_restricted(writer_.get()) != ARCHIVE_OK ||
        archive_write_set_options(writer_.get(), "hdrcharset=BINARY") != ARCHIVE_OK ||
        archive_write_open(writer_.get(), this, nullptr, write_callback, nullptr) != ARCHIVE_OK) {
      return broken();
    }
    TRY(directory(std::move(*root), ".", 0));
    if (archive_write_close(writer_.get()) != ARCHIVE_OK) return broken();
    SpooledFile file{.digest = hash_.finish(), .size = size_};
    TRY(sys::rename(temporary, job_directory + "/" + file.digest.hex()));
    return file;
  }

 private:
  static la_ssize_t write_callback(archive* a, void* user, const void* data, std::size_t size) {
    auto& self = *static_cast<Walk*>(user);
    const std::span<const std::byte> bytes(static_cast<const std::byte*>(data), size);
    if (auto written = sys::write_all(self.out_.get(), bytes); !written) {
      self.error_ = std::move(written).error();
      archive_set_error(a, EIO, "stopped");
      return -1;
    }
    self.hash_.update(bytes);
    self.size_ += size;
    return static_cast<la_ssize_t>(size);
  }

  std::unexpected<Error> broken() {
    if (error_) return std::unexpected(*error_);
    const char* text = archive_error_string(writer_.get());
    return fail(ErrorCode::kIo, "--rootfs {}: {}", path_, text == nullptr ? "cannot be read" : text);
  }

  std::string shown(const std::string& name) const { return path_ + "/" + name; }

  static std::uint32_t inside(std::uint32_t id, std::uint32_t own) { return ::geteuid() != 0 && id == own ? 0 : id; }

  Result<EntryPtr> describe(const struct stat& st, const std::string& name, int fd) {
    EntryPtr entry(archive_entry_new());
    archive_entry_copy_stat(entry.get(), &st);
    archive_entry_set_uid(entry.get(), inside(st.st_uid, ::geteuid()));
    archive_entry_set_gid(entry.get(), inside(st.st_gid, ::getegid()));
    archive_entry_copy_pathname(entry.get(), name.c_str());
    if (fd >= 0) TRY(attributes(entry.get(), fd, name));
    return entry;
  }

  Result<void> attributes(archive_entry* entry, int fd, const std::string& name) const {
    std::vector<char> names(kMaxAttribute);
    const ssize_t length = ::flistxattr(fd, names.data(), names.size());
    if (length < 0 && errno == ENOTSUP) return {};
    if (length < 0) return fail_errno("extended attributes of {}", shown(name));
    std::vector<char> value(kMaxAttribute);
    for (const char* at = names.data(); at < names.data() + length; at += std::string_view(at).size() + 1) {
      const ssize_t size = ::fgetxattr(fd, at, value.data(), value.size());
      if (size >= 0) archive_entry_xattr_add_entry(entry, at, value.data(), static_cast<std::size_t>(size));
    }
    return {};
  }

  Result<void> header(archive_entry* entry) {
    TRY(monitor_.check());
    const int status = archive_write_header(writer_.get(), entry);
    return status == ARCHIVE_OK || status == ARCHIVE_WARN ? Result<void>() : broken();
  }

  Result<void> directory(UniqueFd fd, const std::string& name, std::size_t depth) {
    if (depth > kMaxDepth) return fail(ErrorCode::kResourceExhausted, "{} is nested too deeply", shown(name));
    TRY_ASSIGN(const struct stat st, sys::fstat(fd.get()));
    TRY_ASSIGN(const EntryPtr entry, describe(st, name, fd.get()));
    TRY(header(entry.get()));
    if (st.st_dev != root_.st_dev || same_file(st, home_status_)) return {};
    const int raw = fd.get();
    std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(raw), ::closedir);
    if (!stream) return fail_errno("read {}", shown(name));
    (void)fd.release();
    std::vector<std::string> names;
    while (const dirent* item = ::readdir(stream.get())) {
      if (const std::string_view text = item->d_name; text != "." && text != "..") names.emplace_back(text);
    }
    std::ranges::sort(names);  // the same tree gives the same bytes
    for (const std::string& child : names) TRY(take(raw, child, name + "/" + child, depth));
    return {};
  }

  Result<void> take(int parent, const std::string& child, const std::string& name, std::size_t depth) {
    struct stat st = {};
    if (::fstatat(parent, child.c_str(), &st, AT_SYMLINK_NOFOLLOW) < 0) return fail_errno("{}", shown(name));
    if (S_ISSOCK(st.st_mode)) return {};
    if (S_ISDIR(st.st_mode)) {
      TRY_ASSIGN(UniqueFd fd, open_child(parent, child, name, O_DIRECTORY));
      return directory(std::move(fd), name, depth + 1);
    }
    if (st.st_nlink > 1) {
      const auto [first, is_new] = links_.try_emplace({st.st_dev, st.st_ino}, name);
      if (!is_new) {
        EntryPtr entry(archive_entry_new());
        archive_entry_copy_pathname(entry.get(), name.c_str());
        archive_entry_copy_hardlink(entry.get(), first->second.c_str());
        archive_entry_set_filetype(entry.get(), AE_IFREG);
        archive_entry_set_perm(entry.get(), 0644);
        return header(entry.get());
      }
    }
    if (S_ISREG(st.st_mode)) return regular(parent, child, name);
    TRY_ASSIGN(const EntryPtr entry, describe(st, name, -1));
    if (S_ISLNK(st.st_mode)) {
      std::array<char, PATH_MAX> target;
      const ssize_t length = ::readlinkat(parent, child.c_str(), target.data(), target.size());
      if (length < 0) return fail_errno("{}", shown(name));
      archive_entry_copy_symlink(entry.get(), std::string(target.data(), static_cast<std::size_t>(length)).c_str());
    }
    return header(entry.get());
  }

  Result<UniqueFd> open_child(int parent, const std::string& child, const std::string& name, int flags) const {
    UniqueFd fd(::openat(parent, child.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | flags));
    if (!fd) return fail_errno("open {}", shown(name));
    return fd;
  }

  Result<void> regular(int parent, const std::string& child, const std::string& name) {
    TRY_ASSIGN(const UniqueFd fd, open_child(parent, child, name, 0));
    TRY_ASSIGN(const struct stat st, sys::fstat(fd.get()));
    if (!S_ISREG(st.st_mode)) return fail(ErrorCode::kUnavailable, "{} changed while it was read; try again", shown(name));
    std::uint64_t left = static_cast<std::uint64_t>(st.st_size);
    if (left > limit_) return fail(ErrorCode::kResourceExhausted, "--rootfs {} holds more than is allowed", path_);
    limit_ -= left;
    TRY_ASSIGN(const EntryPtr entry, describe(st, name, fd.get()));
    TRY(header(entry.get()));
    std::vector<std::byte> buffer(256 * 1024);
    while (left > 0) {
      TRY(monitor_.check());
      TRY_ASSIGN(const std::size_t count,
                 sys::read(fd.get(), std::span(buffer).first(std::min<std::uint64_t>(left, buffer.size()))));
      if (count == 0) return fail(ErrorCode::kUnavailable, "{} changed while it was read; try again", shown(name));
      if (archive_write_data(writer_.get(), buffer.data(), count) < 0) return broken();
      left -= count;
    }
    return {};
  }

  const std::string& path_;
  const std::string& home_;
  std::uint64_t limit_;
  JobMonitor& monitor_;
  UniqueFd out_;
  struct stat root_ = {};
  struct stat home_status_ = {};
  std::map<std::pair<dev_t, ino_t>, std::string> links_;
  Sha256 hash_;
  std::uint64_t size_ = 0;
  std::optional<Error> error_;
  std::unique_ptr<archive, FreeWriter> writer_;
};

}  // namespace

Result<SpooledFile> tar_directory(const std::string& path, const std::string& home, const std::string& job_directory,
                                  std::uint64_t limit, JobMonitor& monitor) {
  return Walk(path, home, limit, monitor).run(job_directory);
}

}  // namespace boxlite::image
