#include "files/pack.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/sys.h"
#include "base/unique_fd.h"
#include "files/landing.h"
#include "files/tar_header.h"

namespace boxlite::files {
namespace {

constexpr std::size_t kCopyBuffer = 64 * 1024;
constexpr std::size_t kSendAtOnce = 16 * kCopyBuffer;
constexpr int kMaxPackDepth = 512;  // one descriptor each
constexpr std::size_t kMaxXattrBytes = 64 * 1024;
constexpr std::size_t kMaxMadeUp = std::size_t{64} * 1024 * 1024;

// Made by the kernel as it is read.
bool is_pseudo_file_system(int directory) {
  struct statfs fs = {};
  if (::fstatfs(directory, &fs) < 0) return false;
  constexpr std::array<std::uint64_t, 9> kPseudo = {PROC_SUPER_MAGIC,    SYSFS_MAGIC,        CGROUP_SUPER_MAGIC,
                                                    CGROUP2_SUPER_MAGIC, DEVPTS_SUPER_MAGIC, DEBUGFS_MAGIC,
                                                    TRACEFS_MAGIC,       SECURITYFS_MAGIC,   0x19800202 /* mqueue */};
  return std::ranges::find(kPseudo, static_cast<std::uint64_t>(fs.f_type)) != kPseudo.end();
}

std::vector<std::pair<std::string, std::string>> xattrs_of(int file) {
  std::vector<std::pair<std::string, std::string>> found;
  std::array<char, kMaxXattrBytes> names;
  const ssize_t size = ::flistxattr(file, names.data(), names.size());
  for (std::string_view rest(names.data(), size > 0 ? static_cast<std::size_t>(size) : 0); !rest.empty();) {
    const std::string name(rest.substr(0, rest.find('\0')));
    rest.remove_prefix(std::min(rest.size(), name.size() + 1));
    if (name.find('=') != std::string::npos) continue;  // which pax cannot say
    if (!name.starts_with("user.") && name != "security.capability") continue;
    std::string value(kMaxXattrBytes, '\0');
    const ssize_t length = ::fgetxattr(file, name.c_str(), value.data(), value.size());
    if (length < 0) continue;
    value.resize(static_cast<std::size_t>(length));
    found.emplace_back(name, std::move(value));
  }
  return found;
}

// What comes behind the first kCopyBuffer bytes of a file that was told to have fewer. Of one that is growing, nothing: it has
// been read as far as it went. One that the kernel makes up is whole only at its end.
Result<std::string> rest_of(int file, std::uint64_t told, const std::string& path) {
  TRY_ASSIGN(const struct stat now, sys::fstat(file));
  std::string rest;
  if (static_cast<std::uint64_t>(now.st_size) > told) return rest;
  for (;;) {
    const std::size_t used = rest.size();
    rest.resize(used + kCopyBuffer);
    TRY_ASSIGN(const std::size_t count, sys::read_full(file, std::as_writable_bytes(std::span(rest).subspan(used))));
    rest.resize(used + count);
    if (count < kCopyBuffer) return rest;
    if (rest.size() > kMaxMadeUp) {
      return fail(ErrorCode::kUnsupported, "{} has no size and goes on for more than {} MiB; read it with `boxlite exec`", path,
                  kMaxMadeUp >> 20U);
    }
  }
}

TarEntry entry_of(std::string path, const struct stat& st, EntryType type) {
  TarEntry entry;
  entry.path = std::move(path);
  entry.type = type;
  entry.mode = st.st_mode & 07777U;
  entry.uid = st.st_uid;
  entry.gid = st.st_gid;
  entry.mtime = st.st_mtim.tv_sec;
  return entry;
}

class Packer {
 public:
  Packer(const Sink& sink, int sink_fd) : sink_(sink), sink_fd_(sink_fd) {}

  // `path` is what the entry is called, `name` where it is now.
  Result<void> add(int directory, const std::string& name, const std::string& path, int follow, int depth);
  Result<void> add_directory(UniqueFd directory, const std::string& path, int depth);
  Result<void> finish();

 private:
  Result<void> add_file(UniqueFd file, const std::string& path);
  Result<void> write_content(int file, std::uint64_t size, const std::string& path);
  Result<std::uint64_t> send_content(int file, std::uint64_t size, const std::string& path);
  Result<std::span<char>> room(std::uint64_t wanted);
  Result<void> write(std::string_view data);
  Result<void> flush();
  bool add_link(const struct stat& st, const std::string& path, TarEntry& entry);

  const Sink& sink_;
  int sink_fd_;
  std::vector<char> buffer_ = std::vector<char>(kCopyBuffer);
  std::size_t used_ = 0;
  std::map<std::pair<dev_t, ino_t>, std::string> linked_;  // files with several names: the first name seen
  std::string changed_;                                    // a file that got shorter while it was read
};

Result<void> Packer::flush() {
  if (used_ != 0) TRY(sink_(std::as_bytes(std::span(buffer_).first(used_))));
  used_ = 0;
  return {};
}

// Where the next bytes belong, at least one and at most `wanted`; who has put them there adds to used_.
Result<std::span<char>> Packer::room(std::uint64_t wanted) {
  if (used_ == kCopyBuffer) TRY(flush());
  const std::span<char> rest = std::span(buffer_).subspan(used_);
  return rest.first(static_cast<std::size_t>(std::min<std::uint64_t>(wanted, rest.size())));
}

Result<void> Packer::write(std::string_view data) {
  while (!data.empty()) {
    TRY_ASSIGN(const std::span<char> place, room(data.size()));
    std::ranges::copy(data.substr(0, place.size()), place.begin());
    used_ += place.size();
    data.remove_prefix(place.size());
  }
  return {};
}

// Returns how much of it went from the file to the descriptor within the kernel; not all file systems can.
Result<std::uint64_t> Packer::send_content(int file, std::uint64_t size, const std::string& path) {
  if (sink_fd_ < 0) return 0;
  TRY(flush());
  std::uint64_t sent = 0;
  while (sent < size) {
    const ssize_t count =
        ::sendfile(sink_fd_, file, nullptr, static_cast<std::size_t>(std::min<std::uint64_t>(size - sent, kSendAtOnce)));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EINVAL || errno == ENOSYS)) break;
    if (count < 0) return fail_errno("send {}", path);
    if (count == 0) break;
    sent += static_cast<std::uint64_t>(count);
  }
  return sent;
}

// From the file into what is sent, without a stop on the way.
Result<void> Packer::write_content(int file, std::uint64_t size, const std::string& path) {
  TRY_ASSIGN(const std::uint64_t sent, send_content(file, size, path));
  size -= sent;
  bool ended = false;
  while (size > 0) {
    TRY_ASSIGN(const std::span<char> place, room(size));
    std::size_t count = 0;
    if (!ended) {
      TRY_ASSIGN(count, sys::read(file, std::as_writable_bytes(place)));
      ended = count == 0;
    }
    if (ended) {
      changed_ = path;
      std::ranges::fill(place, '\0');
      count = place.size();
    }
    used_ += count;
    size -= count;
  }
  return {};
}

bool Packer::add_link(const struct stat& st, const std::string& path, TarEntry& entry) {
  if (st.st_nlink < 2) return false;
  const auto [known, is_new] = linked_.try_emplace({st.st_dev, st.st_ino}, path);
  if (is_new) return false;
  entry.type = EntryType::kHardLink;
  entry.link = known->second;
  return true;
}

Result<void> Packer::add_file(UniqueFd file, const std::string& path) {
  TRY_ASSIGN(const struct stat st, sys::fstat(file.get()));
  TarEntry entry = entry_of(path, st, EntryType::kFile);
  if (add_link(st, path, entry)) return write(encode_tar_header(entry));
  entry.xattrs = xattrs_of(file.get());
  entry.size = static_cast<std::uint64_t>(st.st_size);
  if (entry.size >= kCopyBuffer) {
    TRY(write(encode_tar_header(entry)));
    TRY(write_content(file.get(), entry.size, path));
  } else {
    // A small one is read before its size is told: what the kernel makes up has a size of 0 or 4096.
    std::array<char, kCopyBuffer> content;
    TRY_ASSIGN(const std::size_t count, sys::read_full(file.get(), std::as_writable_bytes(std::span(content))));
    std::string rest;
    if (count == content.size()) {
      TRY_ASSIGN(rest, rest_of(file.get(), entry.size, path));
    }
    entry.size = count + rest.size();
    TRY(write(encode_tar_header(entry)));
    TRY(write({content.data(), count}));
    TRY(write(rest));
  }
  return write(std::string(tar_padding(entry.size), '\0'));
}

Result<void> Packer::add_directory(UniqueFd directory, const std::string& path, int depth) {
  TRY_ASSIGN(const struct stat st, sys::fstat(directory.get()));
  TarEntry entry = entry_of(path, st, EntryType::kDirectory);
  entry.xattrs = xattrs_of(directory.get());
  TRY(write(encode_tar_header(entry)));
  if (depth > 0 && is_pseudo_file_system(directory.get())) return {};
  if (depth == kMaxPackDepth) return fail(ErrorCode::kResourceExhausted, "{} directories in one another are too many", depth);
  const int fd = directory.get();
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::fdopendir(fd), ::closedir);
  if (!listing) return fail_errno("read directory {}", path);
  (void)directory.release();
  for (;;) {
    errno = 0;
    const dirent* found = ::readdir(listing.get());
    if (found == nullptr) break;
    const std::string name = found->d_name;
    if (name == "." || name == "..") continue;
    auto added = add(fd, name, fmt::format("{}/{}", path, name), O_NOFOLLOW, depth + 1);
    if (!added && added.error().error_number() != ENOENT) return added;
  }
  if (errno != 0) return fail_errno("read directory {}", path);
  return {};
}

Result<void> Packer::add(int directory, const std::string& name, const std::string& path, int follow, int depth) {
  struct stat st = {};
  if (::fstatat(directory, name.c_str(), &st, follow != 0 ? AT_SYMLINK_NOFOLLOW : 0) < 0) return fail_errno("{}", path);
  if (S_ISSOCK(st.st_mode)) {
    if (depth == 0) return fail(ErrorCode::kInvalidArgument, "{} is a socket, which cannot be copied", name);
    return {};
  }
  if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
    UniqueFd fd(::openat(directory, name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | follow));
    if (!fd) return fail_errno("{}", path);
    TRY_ASSIGN(const struct stat now, sys::fstat(fd.get()));
    if (S_ISDIR(now.st_mode)) return add_directory(std::move(fd), path, depth);
    if (S_ISREG(now.st_mode)) return add_file(std::move(fd), path);
    return fail(ErrorCode::kIo, "{} was replaced while it was read", path);
  }
  TarEntry entry = entry_of(path, st, EntryType::kFifo);
  if (S_ISLNK(st.st_mode)) {
    entry.type = EntryType::kSymlink;
    entry.link.resize(4096);
    const ssize_t length = ::readlinkat(directory, name.c_str(), entry.link.data(), entry.link.size());
    if (length < 0) return fail_errno("{}", path);
    entry.link.resize(static_cast<std::size_t>(length));
  } else if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
    entry.type = S_ISCHR(st.st_mode) ? EntryType::kCharDevice : EntryType::kBlockDevice;
    entry.device_major = major(st.st_rdev);
    entry.device_minor = minor(st.st_rdev);
  }
  (void)add_link(st, path, entry);
  return write(encode_tar_header(entry));
}

Result<void> Packer::finish() {
  TRY(write(std::string(kTarEnd, '\0')));
  TRY(flush());
  if (!changed_.empty()) return fail(ErrorCode::kIo, "{} got shorter while it was read; copy it again", changed_);
  return {};
}

}  // namespace

Result<void> pack(const std::string& path, const PackOptions& options, const Sink& sink) {
  Packer packer(sink, options.sink_fd);
  const std::string root = root_name(path);
  const bool follow = options.follow_link || root == "." || path.ends_with('/');
  auto added = packer.add(AT_FDCWD, path, root, follow ? 0 : O_NOFOLLOW, 0);
  if (!added) {
    const bool missing = added.error().error_number() == ENOENT;
    return missing ? fail(ErrorCode::kNotFound, "there is no {}", path) : added;
  }
  return packer.finish();
}

}  // namespace boxlite::files
