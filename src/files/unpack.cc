#include "files/unpack.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/sys.h"

namespace boxlite::files {
namespace {

constexpr std::size_t kMaxUnpackDepth = 512;  // one descriptor each
constexpr std::size_t kMaxName = 255;

using Parts = std::vector<std::string>;

// "a/./b" → a, b. Refuses what leads out of the tree.
Result<Parts> split(std::string_view path) {
  const std::string_view whole = path;
  Parts parts;
  if (path.starts_with('/')) return fail(ErrorCode::kCorrupt, "the tar archive has an absolute path: {}", whole.substr(0, 200));
  while (!path.empty()) {
    const std::string_view part = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(path.size(), part.size() + 1));
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      return fail(ErrorCode::kCorrupt, "the tar archive has a path that leads out of it: {}", whole.substr(0, 200));
    }
    if (part.size() > kMaxName) return fail(ErrorCode::kCorrupt, "the tar archive has a name of {} bytes", part.size());
    parts.emplace_back(part);
  }
  if (parts.size() > kMaxUnpackDepth)
    return fail(ErrorCode::kCorrupt, "the tar archive has a path of {} directories", parts.size());
  return parts;
}

Result<struct stat> stat_at(int directory, const std::string& name) {
  struct stat st = {};
  if (::fstatat(directory, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) < 0) return fail_errno("{}", name);
  return st;
}

std::optional<mode_t> mode_at(int directory, const std::string& name) {
  const auto st = stat_at(directory, name);
  return st ? std::optional(st->st_mode) : std::nullopt;
}

class Unpacker {
 public:
  // All entries are made below `base`; the parts of `root` are what every path begins with and `name` is put in their place.
  Unpacker(TarReader& reader, UniqueFd base, std::string shown, const UnpackOptions& options)
      : reader_(reader),
        base_(std::move(base)),
        shown_(std::move(shown)),
        options_(options),
        temporary_(options.temporary.empty() ? ".boxlite-" + sys::random_hex(8) : options.temporary) {}

  void rename_root(Parts root, Parts name) {
    root_ = std::move(root);
    name_ = std::move(name);
  }
  Result<void> add(const TarEntry& entry);
  Result<void> finish();

 private:
  struct Directory {
    std::string name;
    UniqueFd fd;
    std::optional<TarEntry> made = {};  // what it becomes when all in it is done
  };

  Result<Parts> place(std::string_view path) const;
  Result<void> add_at(const TarEntry& entry, Parts parts);
  int here() const { return open_.empty() ? base_.get() : open_.back().fd.get(); }
  Result<void> enter(const Parts& parts, std::size_t count);
  Result<void> enter_one(const std::string& name);
  Result<void> leave();
  Result<void> add_directory(const TarEntry& entry, const std::string& name);
  Result<void> check_replaceable(const std::string& name) const;
  Result<void> make_temporary(const TarEntry& entry);
  Result<void> write_file(const TarEntry& entry);
  Result<void> make_node(const TarEntry& entry);
  Result<void> make_hard_link(const TarEntry& entry);
  Result<void> set_attributes(int file, const TarEntry& entry) const;
  Result<void> set_owner_and_time(const char* name, const TarEntry& entry) const;
  std::string show(const std::string& path) const { return fmt::format("{} in {}", path.substr(0, 200), shown_); }

  TarReader& reader_;
  UniqueFd base_;
  std::string shown_;
  UnpackOptions options_;
  std::string temporary_;
  Parts root_;
  Parts name_;
  std::vector<Directory> open_;  // from the base to where the last entry was made
  std::uint64_t left_out_ = 0;
  std::string first_left_out_;
};

// ---- Directories

Result<Parts> Unpacker::place(std::string_view path) const {
  TRY_ASSIGN(const Parts parts, split(path));
  if (parts.size() < root_.size() || !std::equal(root_.begin(), root_.end(), parts.begin())) {
    return fail(ErrorCode::kCorrupt, "the tar archive has a path that is not below its first entry: {}", path.substr(0, 200));
  }
  Parts placed = name_;
  placed.insert(placed.end(), parts.begin() + static_cast<std::ptrdiff_t>(root_.size()), parts.end());
  return placed;
}

Result<void> Unpacker::enter_one(const std::string& name) {
  UniqueFd fd(::openat(here(), name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd && errno == ENOENT) {
    if (::mkdirat(here(), name.c_str(), 0755) < 0) return fail_errno("make directory {}", name);
    fd = UniqueFd(::openat(here(), name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  }
  if (!fd) return fail_errno("enter directory {}", name);
  open_.push_back({name, std::move(fd)});
  return {};
}

// Makes the first `count` parts the open directories; those that are done get their attributes.
Result<void> Unpacker::enter(const Parts& parts, std::size_t count) {
  std::size_t common = 0;
  while (common < count && common < open_.size() && open_[common].name == parts[common]) ++common;
  while (open_.size() > common) TRY(leave());
  while (open_.size() < count) TRY(enter_one(parts[open_.size()]));
  return {};
}

Result<void> Unpacker::leave() {
  const Directory directory = std::move(open_.back());
  open_.pop_back();
  if (!directory.made) return {};
  return set_attributes(directory.fd.get(), *directory.made);
}

// One that is there already keeps its attributes: they are its owner's, not the stream's.
Result<void> Unpacker::add_directory(const TarEntry& entry, const std::string& name) {
  if (::mkdirat(here(), name.c_str(), 0700) < 0) {
    if (errno != EEXIST) return fail_errno("the directory cannot be made");
    const auto mode = mode_at(here(), name);
    if (mode && !S_ISDIR(*mode)) return fail(ErrorCode::kInvalidArgument, "a directory cannot replace what is no directory");
    return enter_one(name);
  }
  // For reading: attributes cannot be set through O_PATH.
  UniqueFd fd(::openat(here(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return fail_errno("enter directory");
  open_.push_back({name, std::move(fd), entry});
  return {};
}

// ---- Everything else

Result<void> Unpacker::check_replaceable(const std::string& name) const {
  const auto mode = mode_at(here(), name);
  if (!mode || S_ISREG(*mode) || S_ISLNK(*mode) || S_ISFIFO(*mode) || (options_.devices && !S_ISDIR(*mode))) return {};
  return fail(ErrorCode::kInvalidArgument, "a {} is there, which is not replaced",
              S_ISDIR(*mode) ? "directory" : "device or socket");
}

std::unexpected<Error> owner_refused(const TarEntry& entry) {
  const Error error = Error::from_errno(errno, fmt::format("set owner {}:{}", entry.uid, entry.gid));
  return std::unexpected(error.error_number() == EPERM ? error.advice("only root can; leave -a out") : error);
}

Result<void> Unpacker::set_attributes(int file, const TarEntry& entry) const {
  // The owner first: chown takes the set-uid bit away.
  if (options_.archive && ::fchown(file, entry.uid, entry.gid) < 0) return owner_refused(entry);
  if (::fchmod(file, entry.mode & (options_.archive ? 07777U : 01777U)) < 0) return fail_errno("set mode");
  if (options_.archive) {
    for (const auto& [name, value] : entry.xattrs) {
      if (!name.starts_with("user.") && name != "security.capability") continue;
      if (::fsetxattr(file, name.c_str(), value.data(), value.size(), 0) < 0 && errno != EOPNOTSUPP) {
        return fail_errno("set attribute {}", name.substr(0, 100));
      }
    }
  }
  const timespec times[] = {{0, UTIME_OMIT}, {entry.mtime, 0}};
  if (::futimens(file, times) < 0) return fail_errno("set time");
  return {};
}

Result<void> Unpacker::set_owner_and_time(const char* name, const TarEntry& entry) const {
  if (options_.archive && ::fchownat(here(), name, entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) < 0) return owner_refused(entry);
  const timespec times[] = {{0, UTIME_OMIT}, {entry.mtime, 0}};
  if (::utimensat(here(), name, times, AT_SYMLINK_NOFOLLOW) < 0) return fail_errno("set time");
  return {};
}

Result<void> Unpacker::write_file(const TarEntry& entry) {
  const UniqueFd file(::openat(here(), temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return fail_errno("cannot be made");
  TRY(reader_.write_data(file.get()));
  return set_attributes(file.get(), entry);
}

Result<void> Unpacker::make_node(const TarEntry& entry) {
  const mode_t type = entry.type == EntryType::kFifo ? S_IFIFO : entry.type == EntryType::kCharDevice ? S_IFCHR : S_IFBLK;
  if (::mknodat(here(), temporary_.c_str(), type | 0600U, makedev(entry.device_major, entry.device_minor)) < 0)
    return fail_errno("cannot be made");
  if (::fchmodat(here(), temporary_.c_str(), entry.mode & 0777U, 0) < 0) return fail_errno("set mode");
  return set_owner_and_time(temporary_.c_str(), entry);
}

Result<void> Unpacker::make_hard_link(const TarEntry& entry) {
  TRY_ASSIGN(const Parts parts, place(entry.link));
  if (parts.empty()) return fail(ErrorCode::kCorrupt, "a hard link to a directory");
  UniqueFd directory;
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    const int from = directory ? directory.get() : base_.get();
    UniqueFd next(::openat(from, parts[i].c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!next) return fail_errno("hard link to {}", entry.link.substr(0, 200));
    directory = std::move(next);
  }
  const int from = directory ? directory.get() : base_.get();
  if (::linkat(from, parts.back().c_str(), here(), temporary_.c_str(), 0) < 0) {
    return fail_errno("hard link to {}", entry.link.substr(0, 200));
  }
  return {};
}

Result<void> Unpacker::make_temporary(const TarEntry& entry) {
  switch (entry.type) {
    case EntryType::kFile:
      return write_file(entry);
    case EntryType::kHardLink:
      return make_hard_link(entry);
    case EntryType::kSymlink:
      if (::symlinkat(entry.link.c_str(), here(), temporary_.c_str()) < 0) return fail_errno("make link");
      return set_owner_and_time(temporary_.c_str(), entry);
    default:
      return make_node(entry);
  }
}

Result<void> Unpacker::add_at(const TarEntry& entry, Parts parts) {
  if (parts.empty()) {  // the base itself
    if (entry.type == EntryType::kDirectory) return {};
    return fail(ErrorCode::kInvalidArgument, "a directory is there, which is not replaced");
  }
  TRY(enter(parts, parts.size() - 1));
  const std::string& name = parts.back();
  if (entry.type == EntryType::kDirectory) return add_directory(entry, name);
  const bool device = entry.type == EntryType::kCharDevice || entry.type == EntryType::kBlockDevice;
  if (device && !options_.devices) {
    if (left_out_++ == 0) first_left_out_ = entry.path;
    return {};
  }
  TRY(check_replaceable(name));
  auto made = make_temporary(entry);
  if (!made && made.error().error_number() == EEXIST && !options_.temporary.empty()) {
    (void)::unlinkat(here(), temporary_.c_str(), 0);
    made = make_temporary(entry);
  }
  if (made && ::renameat(here(), temporary_.c_str(), here(), name.c_str()) < 0) made = fail_errno("rename");
  // Also where the rename did nothing: both were names of one file already.
  if (!made || entry.type == EntryType::kHardLink) (void)::unlinkat(here(), temporary_.c_str(), 0);
  return made;
}

Result<void> Unpacker::add(const TarEntry& entry) {
  TRY_ASSIGN(Parts parts, place(entry.path));
  auto added = add_at(entry, std::move(parts));
  return added ? added : std::unexpected(std::move(added).error().context(show(entry.path)));
}

Result<void> Unpacker::finish() {
  while (!open_.empty()) {
    const std::string name = open_.back().name;
    if (auto left = leave(); !left) return std::unexpected(std::move(left).error().context(show(name)));
  }
  if (left_out_ == 0) return {};
  const std::string what = left_out_ == 1
                               ? "the device node " + show(first_left_out_) + " was left out"
                               : fmt::format("{} device nodes were left out, the first is {}", left_out_, show(first_left_out_));
  return fail(ErrorCode::kPermissionDenied, "{}; only root makes device nodes, with -a", what);
}

Result<void> unpack_rest(TarReader& reader, Unpacker& unpacker, TarEntry entry, bool more) {
  while (more) {
    TRY(unpacker.add(entry));
    TRY_ASSIGN(more, reader.next(entry));
  }
  return unpacker.finish();
}

}  // namespace

Result<void> unpack_to(TarReader& reader, const std::string& destination, const std::string& root, const UnpackOptions& options) {
  TarEntry entry;
  TRY_ASSIGN(const bool more, reader.next(entry));
  if (!more) return fail(ErrorCode::kCorrupt, "the tar archive is empty");
  if (entry.path != root) {
    return fail(ErrorCode::kCorrupt, "the tar archive begins with {} instead of {}", entry.path.substr(0, 200), root);
  }
  TRY_ASSIGN(Landing landing, land(destination, root, entry.type == EntryType::kDirectory));
  Unpacker unpacker(reader, std::move(landing.base), destination, options);
  TRY_ASSIGN(Parts from, split(root));
  TRY_ASSIGN(Parts to, split(landing.name));
  unpacker.rename_root(std::move(from), std::move(to));
  return unpack_rest(reader, unpacker, std::move(entry), true);
}

Result<void> unpack_into(TarReader& reader, const std::string& directory, const UnpackOptions& options) {
  TRY_ASSIGN(UniqueFd base, open_directory(directory));
  Unpacker unpacker(reader, std::move(base), directory, options);
  TarEntry entry;
  TRY_ASSIGN(const bool more, reader.next(entry));
  return unpack_rest(reader, unpacker, std::move(entry), more);
}

}  // namespace boxlite::files
