#include "volume/server.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <set>
#include <utility>
#include <vector>

namespace boxlite::volume {
namespace {

constexpr std::uint32_t kMinMessage = 4096;
constexpr std::size_t kIoHeader = 24;  // of Twrite, the largest of those that carry data
constexpr std::uint32_t kNoFid = ~std::uint32_t{0};
constexpr std::uint32_t kMagic = 0x01021997;  // V9FS_MAGIC
constexpr std::size_t kMaxWalk = 16;
constexpr std::size_t kMaxAttribute = 64 * 1024;  // XATTR_SIZE_MAX
constexpr std::ptrdiff_t kMaxAttributes = 256;
constexpr std::uint64_t kBasicStats = 0x7ff;

// Tsetattr's "valid".
constexpr std::uint32_t kSetMode = 0x1;
constexpr std::uint32_t kSetUid = 0x2;
constexpr std::uint32_t kSetGid = 0x4;
constexpr std::uint32_t kSetSize = 0x8;
constexpr std::uint32_t kSetAccessTime = 0x10;
constexpr std::uint32_t kSetModifyTime = 0x20;
constexpr std::uint32_t kSetAccessTimeTo = 0x80;
constexpr std::uint32_t kSetModifyTimeTo = 0x100;

enum LockStatus : std::uint8_t { kLocked = 0, kBlocked = 1, kLockError = 2 };

bool is_name(const std::string& name) {
  return !name.empty() && name.size() <= NAME_MAX && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

// The flags of Tlopen and Tlcreate have x86 Linux's values.
int open_flags(std::uint32_t wanted) {
  constexpr std::uint32_t kPassed = O_ACCMODE | O_TRUNC | O_APPEND | O_DSYNC | O_SYNC;
  return static_cast<int>(wanted & kPassed) | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
}

bool same_file(const struct stat& a, const struct stat& b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

bool is_attribute(const std::string& name) {
  return name.starts_with("user.") && !name.starts_with("user.boxlite.") && name.size() <= XATTR_NAME_MAX &&
         name.find('\0') == std::string::npos;
}

int failed(long result) { return result < 0 ? errno : 0; }

}  // namespace

// A file and how it was reached.
struct Server::Node {
  UniqueFd path;   // O_PATH
  NodePtr parent;  // null: the root
  std::string name = ".";
  struct stat st = {};  // type, device and inode count

  int directory() const { return parent ? parent->path.get() : path.get(); }
  bool is_directory() const { return S_ISDIR(st.st_mode); }

  Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  // Not one within the other: a box makes chains as long as it gets descriptors, and the stack is short.
  ~Node() {
    NodePtr up = std::move(parent);
    while (up && up.use_count() == 1) {
      NodePtr next = std::move(up->parent);
      up = std::move(next);
    }
  }
};

struct Server::Fid {
  NodePtr node;
  std::uint32_t uid = 0;  // who makes what is made through it
  UniqueFd open = {};
  bool writable = false;
  struct Attribute {
    std::string name = {};
    std::string value = {};
    std::size_t size = 0;  // being written: of the whole
    int flags = 0;
    bool writing = false;
  };
  std::optional<Attribute> attribute = {};

  int commit_attribute() const {
    if (!attribute || !attribute->writing) return 0;
    if (attribute->value.size() != attribute->size) return EINVAL;
    if (const int error = failed(::fchdir(node->directory())); error != 0) return error;
    if (attribute->size == 0 && (attribute->flags & XATTR_REPLACE) != 0) {
      return failed(::lremovexattr(node->name.c_str(), attribute->name.c_str()));
    }
    return failed(::lsetxattr(node->name.c_str(), attribute->name.c_str(), attribute->value.data(), attribute->value.size(),
                              attribute->flags));
  }
};

Server::Server(UniqueFd root, Ownership ownership) : root_(std::make_shared<Node>()), ownership_(ownership) {
  root_->path = std::move(root);
  (void)::fstat(root_->path.get(), &root_->st);
  root_device_ = root_->st.st_dev;
}

Server::~Server() = default;

Server::Handler Server::handler_of(Message type) {
  switch (type) {
    case Message::kTversion:
      return &Server::version;
    case Message::kTattach:
      return &Server::attach;
    case Message::kTflush:
      return &Server::flush;
    case Message::kTwalk:
      return &Server::walk;
    case Message::kTclunk:
      return &Server::clunk;
    case Message::kTremove:
      return &Server::remove;
    case Message::kTlopen:
      return &Server::open;
    case Message::kTlcreate:
      return &Server::create;
    case Message::kTread:
      return &Server::read;
    case Message::kTwrite:
      return &Server::write;
    case Message::kTfsync:
      return &Server::fsync;
    case Message::kTgetattr:
      return &Server::get_attributes;
    case Message::kTsetattr:
      return &Server::set_attributes;
    case Message::kTreaddir:
      return &Server::list;
    case Message::kTstatfs:
      return &Server::statfs;
    case Message::kTsymlink:
      return &Server::symlink;
    case Message::kTmknod:
      return &Server::make_node;
    case Message::kTmkdir:
      return &Server::make_directory;
    case Message::kTreadlink:
      return &Server::read_link;
    case Message::kTlink:
      return &Server::link;
    case Message::kTrenameat:
      return &Server::rename;
    case Message::kTunlinkat:
      return &Server::unlink;
    case Message::kTlock:
      return &Server::lock;
    case Message::kTgetlock:
      return &Server::get_lock;
    case Message::kTxattrwalk:
      return &Server::walk_attribute;
    case Message::kTxattrcreate:
      return &Server::create_attribute;
    case Message::kRlerror:
      break;
  }
  return nullptr;
}

std::optional<std::string> Server::handle(std::string_view message) {
  Reader header(message);
  const std::uint32_t size = header.u32();
  const std::uint8_t type = header.u8();
  const std::uint16_t tag = header.u16();
  if (!header.ok() || size != message.size()) return std::nullopt;
  Reader in(message.substr(kHeaderSize));
  Writer out;
  const Handler handler = handler_of(static_cast<Message>(type));
  const int error = handler != nullptr ? (this->*handler)(in, out) : EOPNOTSUPP;
  Writer reply;
  const std::string& body = out.body();
  const std::size_t length = kHeaderSize + (error != 0 ? sizeof(std::uint32_t) : body.size());
  reply.u32(static_cast<std::uint32_t>(length));
  reply.u8(error != 0 ? static_cast<std::uint8_t>(Message::kRlerror) : static_cast<std::uint8_t>(type + 1));
  reply.u16(tag);
  if (error != 0) {
    reply.u32(static_cast<std::uint32_t>(error));
  } else {
    reply.body() += body;
  }
  return std::move(reply.body());
}

// ---- Fids

Server::Fid* Server::find(std::uint32_t id) {
  const auto it = fids_.find(id);
  return it == fids_.end() ? nullptr : &it->second;
}

int Server::add(std::uint32_t id, Fid fid) {
  if (fids_.size() >= kMaxFids) return EMFILE;
  return id != kNoFid && fids_.try_emplace(id, std::move(fid)).second ? 0 : EBADF;
}

int Server::version(Reader& in, Writer& out) {
  const std::uint32_t wanted = in.u32();
  const std::string name = in.text();
  if (!in.ok() || wanted < kMinMessage) return EINVAL;
  fids_.clear();
  max_message_ = std::min(wanted, kMaxMessage);
  out.u32(max_message_);
  out.text(name == "9P2000.L" ? name : "unknown");
  return 0;
}

// The name of what is attached says who the files of an ordinary user's server belong to: "UID:GID".
int Server::attach(Reader& in, Writer& out) {
  const std::uint32_t id = in.u32();
  const std::uint32_t authentication = in.u32();
  (void)in.text();
  const auto shown = parse_mark(in.text() + ":0");
  const std::uint32_t uid = in.u32();
  if (!in.ok() || authentication != kNoFid || !shown) return EINVAL;
  if (const int error = add(id, {.node = root_, .uid = uid}); error != 0) return error;
  ownership_.show_as(shown->uid, shown->gid);
  put_id(out, root_->st);
  return 0;
}

int Server::flush(Reader&, Writer&) { return 0; }  // what it is about has been answered

int Server::enter(const NodePtr& directory, const std::string& name, NodePtr& found) const {
  if (name == "..") {
    found = directory->parent ? directory->parent : directory;
    return 0;
  }
  if (!is_name(name)) return ENOENT;
  auto node = std::make_shared<Node>();
  node->path = UniqueFd(::openat(directory->path.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!node->path || ::fstat(node->path.get(), &node->st) < 0) return errno;
  node->parent = directory;
  node->name = name;
  found = std::move(node);
  return 0;
}

int Server::walk(Reader& in, Writer& out) {
  const std::uint32_t from = in.u32();
  const std::uint32_t to = in.u32();
  const std::uint16_t count = in.u16();
  std::vector<std::string> names;
  for (std::uint16_t i = 0; i < count && i < kMaxWalk; ++i) names.push_back(in.text());
  const Fid* start = find(from);
  if (!in.ok() || count > kMaxWalk || start == nullptr) return EBADF;
  NodePtr node = start->node;
  const std::uint32_t uid = start->uid;
  Writer ids;
  std::uint16_t done = 0;
  for (const std::string& name : names) {
    const int error = enter(node, name, node);
    if (error != 0 && done == 0) return error;
    if (error != 0) break;
    put_id(ids, node->st);
    ++done;
  }
  out.u16(done);
  out.body() += ids.body();
  if (done < names.size()) return 0;  // and `to` does not come into being
  if (to == from) fids_.erase(from);
  return add(to, {.node = std::move(node), .uid = uid});
}

int Server::clunk(Reader& in, Writer&) {
  const std::uint32_t id = in.u32();
  const Fid* fid = find(id);
  if (fid == nullptr) return EBADF;
  const int error = fid->commit_attribute();
  fids_.erase(id);
  return error;
}

int Server::remove(Reader& in, Writer&) {
  return fids_.erase(in.u32()) == 0 ? EBADF : EOPNOTSUPP;  // Linux asks by Tunlinkat; the fid goes in any case
}

void Server::put_id(Writer& out, const struct stat& st) const {
  std::uint8_t type = 0;
  if (S_ISDIR(st.st_mode)) type = 0x80;
  if (S_ISLNK(st.st_mode)) type = 0x02;
  out.u8(type);
  out.u32(0);
  // What is mounted below the directory has inode numbers of its own.
  const std::uint64_t device = st.st_dev == root_device_ ? 0 : (st.st_dev ^ root_device_) * 0x9e3779b97f4a7c15U;
  out.u64(st.st_ino ^ device);
}

// ---- Open files

int Server::reopen(const Node& node, int flags, UniqueFd& opened) const {
  if (node.is_directory()) {
    opened = UniqueFd(::openat(node.path.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return opened ? 0 : errno;
  }
  if (!S_ISREG(node.st.st_mode)) return EOPNOTSUPP;  // fifos, sockets and devices are the guest's own affair
  // Without O_TRUNC: the name may be another file's by now.
  opened = UniqueFd(::openat(node.directory(), node.name.c_str(), flags & ~O_TRUNC));
  if (!opened) return errno;
  struct stat st = {};
  if (::fstat(opened.get(), &st) < 0) return errno;
  if (!same_file(st, node.st)) return ESTALE;
  return (flags & O_TRUNC) != 0 ? failed(::ftruncate(opened.get(), 0)) : 0;
}

int Server::open(Reader& in, Writer& out) {
  Fid* fid = find(in.u32());
  const std::uint32_t flags = in.u32();
  if (!in.ok() || fid == nullptr || fid->open || fid->attribute) return EBADF;
  if (fid->node->is_directory() && (flags & O_ACCMODE) != O_RDONLY) return EISDIR;
  if (const int error = reopen(*fid->node, open_flags(flags), fid->open); error != 0) {
    fid->open.reset();
    return error;
  }
  fid->writable = (flags & O_ACCMODE) != O_RDONLY;
  put_id(out, fid->node->st);
  out.u32(0);
  return 0;
}

int Server::create(Reader& in, Writer& out) {
  Fid* fid = find(in.u32());
  const std::string name = in.text();
  const std::uint32_t flags = in.u32();
  const mode_t mode = in.u32() & 07777U;
  const std::uint32_t gid = in.u32();
  if (!in.ok() || fid == nullptr || fid->open || fid->attribute) return EBADF;
  if (!is_name(name)) return EINVAL;
  const int directory = fid->node->path.get();
  const int passed = open_flags(flags);
  UniqueFd opened(::openat(directory, name.c_str(), (passed & ~O_TRUNC) | O_CREAT | O_EXCL, ownership_.own_mode(mode, false)));
  const bool is_new = static_cast<bool>(opened);
  NodePtr node;
  if (!is_new && (errno != EEXIST || (flags & O_EXCL) != 0)) return errno;
  if (const int error = enter(fid->node, name, node); error != 0) return error;
  if (is_new) {
    if (const int error = set_owner(*node, opened.get(), node->st, {fid->uid, gid, mode}, true); error != 0) {
      (void)::unlinkat(directory, name.c_str(), 0);
      return error;
    }
  } else if (const int error = reopen(*node, passed, opened); error != 0) {
    return error;
  }
  put_id(out, node->st);
  out.u32(0);
  fid->node = std::move(node);
  fid->open = std::move(opened);
  fid->writable = (flags & O_ACCMODE) != O_RDONLY;
  return 0;
}

int Server::read(Reader& in, Writer& out) {
  const Fid* fid = find(in.u32());
  const std::uint64_t offset = in.u64();
  const std::size_t count = std::min<std::size_t>(in.u32(), max_message_ - kIoHeader);
  if (!in.ok() || fid == nullptr) return EBADF;
  if (fid->attribute) {
    const std::string& value = fid->attribute->value;
    const std::string_view piece = std::string_view(value).substr(std::min<std::uint64_t>(offset, value.size())).substr(0, count);
    out.u32(static_cast<std::uint32_t>(piece.size()));
    out.body() += piece;
    return 0;
  }
  if (!fid->open) return EBADF;
  out.u32(0);
  out.body().resize(sizeof(std::uint32_t) + count);
  const ssize_t got = ::pread(fid->open.get(), out.body().data() + sizeof(std::uint32_t), count, static_cast<off_t>(offset));
  if (got < 0) return errno;
  const auto size = static_cast<std::uint32_t>(got);
  std::memcpy(out.body().data(), &size, sizeof size);
  out.body().resize(sizeof size + size);
  return 0;
}

int Server::write(Reader& in, Writer& out) {
  Fid* fid = find(in.u32());
  const std::uint64_t offset = in.u64();
  const std::string_view data = in.bytes(in.u32());
  if (!in.ok() || fid == nullptr) return EBADF;
  if (fid->attribute) {
    Fid::Attribute& attribute = *fid->attribute;
    if (!attribute.writing || offset != attribute.value.size() || data.size() > attribute.size - attribute.value.size())
      return EINVAL;
    attribute.value += data;
    out.u32(static_cast<std::uint32_t>(data.size()));
    return 0;
  }
  if (!fid->open) return EBADF;
  const ssize_t put = ::pwrite(fid->open.get(), data.data(), data.size(), static_cast<off_t>(offset));
  if (put < 0) return errno;
  out.u32(static_cast<std::uint32_t>(put));
  return 0;
}

int Server::fsync(Reader& in, Writer&) {
  const Fid* fid = find(in.u32());
  const bool data_only = in.u32() != 0;
  if (fid == nullptr || !fid->open) return EBADF;
  return failed(data_only ? ::fdatasync(fid->open.get()) : ::fsync(fid->open.get()));
}

int Server::list(Reader& in, Writer& out) {
  const Fid* fid = find(in.u32());
  const std::uint64_t offset = in.u64();
  const std::size_t room = std::min<std::size_t>(in.u32(), max_message_ - kIoHeader);
  if (!in.ok() || fid == nullptr || !fid->open || !fid->node->is_directory()) return EBADF;
  if (::lseek(fid->open.get(), static_cast<off_t>(offset), SEEK_SET) < 0) return errno;
  std::vector<char> entries(room);
  const long count = ::syscall(SYS_getdents64, fid->open.get(), entries.data(), entries.size());
  if (count < 0) return errno;
  Writer list;
  for (long at = 0; at < count;) {
    const auto* entry = reinterpret_cast<const dirent64*>(entries.data() + at);
    at += entry->d_reclen;
    const std::string_view name = entry->d_name;
    if (list.body().size() + kIoHeader + name.size() > room) break;
    list.u8(entry->d_type == DT_DIR ? 0x80 : entry->d_type == DT_LNK ? 0x02 : 0);
    list.u32(0);
    list.u64(entry->d_ino);
    list.u64(static_cast<std::uint64_t>(entry->d_off));
    list.u8(entry->d_type);
    list.text(name);
  }
  out.u32(static_cast<std::uint32_t>(list.body().size()));
  out.body() += list.body();
  return 0;
}

int Server::statfs(Reader& in, Writer& out) {
  const Fid* fid = find(in.u32());
  if (fid == nullptr) return EBADF;
  struct statfs st = {};
  if (::fstatfs(fid->node->path.get(), &st) < 0) return errno;
  out.u32(kMagic);
  out.u32(static_cast<std::uint32_t>(st.f_bsize));
  for (const auto number : {st.f_blocks, st.f_bfree, st.f_bavail, st.f_files, st.f_ffree}) out.u64(number);
  out.u64(0);
  out.u32(static_cast<std::uint32_t>(st.f_namelen));
  return 0;
}

// ---- Attributes

std::optional<Attributes> Server::mark_of(const Node& node, int open_fd) const {
  if (!ownership_.mapped()) return std::nullopt;
  std::array<char, 64> text;
  ssize_t size = -1;
  if (open_fd >= 0) {
    size = ::fgetxattr(open_fd, kStatAttribute, text.data(), text.size());
  } else if (::fchdir(node.directory()) == 0) {  // an attribute cannot be read through O_PATH
    size = ::lgetxattr(node.name.c_str(), kStatAttribute, text.data(), text.size());
  }
  if (size < 0) return std::nullopt;
  return parse_mark(std::string_view(text.data(), static_cast<std::size_t>(size)));
}

int Server::set_mark(const Node& node, int open_fd, const Attributes& wanted, bool directory) const {
  const bool needed = ownership_.needs_mark(wanted, directory);
  if (!needed && !mark_of(node, open_fd)) return 0;
  const std::string text = format_mark(wanted);
  if (open_fd < 0 && ::fchdir(node.directory()) < 0) return errno;
  if (open_fd >= 0) return failed(::fsetxattr(open_fd, kStatAttribute, text.data(), text.size(), 0));
  return failed(::lsetxattr(node.name.c_str(), kStatAttribute, text.data(), text.size(), 0));
}

int Server::set_owner(const Node& node, int open_fd, const struct stat& st, const Attributes& wanted, bool new_file) const {
  if (!ownership_.mapped()) {
    const int changed = open_fd >= 0
                            ? ::fchown(open_fd, wanted.uid, wanted.gid)
                            : ::fchownat(node.directory(), node.name.c_str(), wanted.uid, wanted.gid, AT_SYMLINK_NOFOLLOW);
    if (changed < 0) return errno;
    // The change has cleared set-id bits.
    return new_file && (wanted.mode & (S_ISUID | S_ISGID)) != 0 ? set_mode(node, open_fd, st, wanted) : 0;
  }
  if (S_ISLNK(st.st_mode)) return 0;  // has no attributes of a user's, and nobody asks who owns a link
  const int error = set_mark(node, open_fd, wanted, S_ISDIR(st.st_mode));
  // A file system without attributes: what is made belongs to the box's main user, and nothing can be given away.
  if (error == EOPNOTSUPP || error == EPERM) return new_file ? 0 : EPERM;
  return error;
}

int Server::set_mode(const Node& node, int open_fd, const struct stat& st, const Attributes& wanted) const {
  if (S_ISLNK(st.st_mode)) return EOPNOTSUPP;
  const bool directory = S_ISDIR(st.st_mode);
  const mode_t own = ownership_.own_mode(wanted.mode, directory);
  // By name this would follow a link; the node was none, and in the jail a link that took its place leads nowhere else.
  const int changed = open_fd >= 0 ? ::fchmod(open_fd, own) : ::fchmodat(node.directory(), node.name.c_str(), own, 0);
  if (changed < 0) return errno;
  if (!ownership_.mapped()) return 0;
  const int error = set_mark(node, open_fd, wanted, directory);
  return error == EOPNOTSUPP || error == EPERM ? 0 : error;
}

int Server::set_size(const Fid& fid, std::uint64_t size) const {
  UniqueFd opened;
  int fd = fid.open.get();
  if (!fid.open || !fid.writable) {
    if (fid.node->is_directory()) return EISDIR;
    if (const int error = reopen(*fid.node, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, opened); error != 0) return error;
    fd = opened.get();
  }
  return failed(::ftruncate(fd, static_cast<off_t>(size)));
}

int Server::get_attributes(Reader& in, Writer& out) {
  const Fid* fid = find(in.u32());
  (void)in.u64();  // which are asked for; all are given
  if (!in.ok() || fid == nullptr) return EBADF;
  struct stat st = {};
  if (::fstat(fid->node->path.get(), &st) < 0) return errno;
  const Attributes seen = ownership_.present(st, mark_of(*fid->node, fid->open.get()));
  out.u64(kBasicStats);
  put_id(out, st);
  out.u32((st.st_mode & static_cast<mode_t>(S_IFMT)) | seen.mode);
  out.u32(seen.uid);
  out.u32(seen.gid);
  out.u64(st.st_nlink);
  out.u64(st.st_rdev);
  out.u64(static_cast<std::uint64_t>(st.st_size));
  out.u64(static_cast<std::uint64_t>(st.st_blksize));
  out.u64(static_cast<std::uint64_t>(st.st_blocks));
  for (const timespec& time : {st.st_atim, st.st_mtim, st.st_ctim, timespec{}}) {
    out.u64(static_cast<std::uint64_t>(time.tv_sec));
    out.u64(static_cast<std::uint64_t>(time.tv_nsec));
  }
  out.u64(0);
  out.u64(0);
  return 0;
}

int Server::set_attributes(Reader& in, Writer&) {
  const Fid* fid = find(in.u32());
  const std::uint32_t valid = in.u32();
  const mode_t mode = in.u32() & 07777U;
  const std::uint32_t uid = in.u32();
  const std::uint32_t gid = in.u32();
  const std::uint64_t size = in.u64();
  std::array<timespec, 2> times = {};
  for (timespec& time : times) {
    time.tv_sec = static_cast<time_t>(in.u64());
    time.tv_nsec = static_cast<long>(in.u64());
  }
  if (!in.ok() || fid == nullptr) return EBADF;
  const Node& node = *fid->node;
  const int fd = fid->open.get();
  struct stat st = {};
  if (::fstat(node.path.get(), &st) < 0) return errno;
  if ((valid & kSetSize) != 0) {
    if (const int error = set_size(*fid, size); error != 0) return error;
  }
  Attributes wanted = ownership_.present(st, mark_of(node, fd));
  if ((valid & (kSetUid | kSetGid)) != 0) {
    if ((valid & kSetUid) != 0) wanted.uid = uid;
    if ((valid & kSetGid) != 0) wanted.gid = gid;
    if (const int error = set_owner(node, fd, st, wanted, false); error != 0) return error;
  }
  if ((valid & kSetMode) != 0) {
    wanted.mode = mode;
    if (const int error = set_mode(node, fd, st, wanted); error != 0) return error;
  }
  if ((valid & (kSetAccessTime | kSetModifyTime)) == 0) return 0;
  const auto choose = [valid](timespec& time, std::uint32_t set, std::uint32_t set_to) {
    if ((valid & set) == 0) time.tv_nsec = UTIME_OMIT;
    if ((valid & set) != 0 && (valid & set_to) == 0) time.tv_nsec = UTIME_NOW;
  };
  choose(times[0], kSetAccessTime, kSetAccessTimeTo);
  choose(times[1], kSetModifyTime, kSetModifyTimeTo);
  if (fd >= 0) return failed(::futimens(fd, times.data()));
  return failed(::utimensat(node.directory(), node.name.c_str(), times.data(), AT_SYMLINK_NOFOLLOW));
}

// Each may hold 64 KiB.
bool Server::too_many_attributes() const {
  return std::ranges::count_if(fids_, [](const auto& entry) { return entry.second.attribute.has_value(); }) >= kMaxAttributes;
}

int Server::walk_attribute(Reader& in, Writer& out) {
  const Fid* fid = find(in.u32());
  const std::uint32_t id = in.u32();
  const std::string name = in.text();
  if (!in.ok() || fid == nullptr) return EBADF;
  if (!name.empty() && !is_attribute(name)) return EOPNOTSUPP;
  if (too_many_attributes()) return EMFILE;
  const Node& node = *fid->node;
  if (::fchdir(node.directory()) < 0) return errno;
  Fid::Attribute attribute = {.name = name, .value = std::string(kMaxAttribute, '\0')};
  std::string& value = attribute.value;
  const ssize_t size = name.empty() ? ::llistxattr(node.name.c_str(), value.data(), value.size())
                                    : ::lgetxattr(node.name.c_str(), name.c_str(), value.data(), value.size());
  if (size < 0) return errno;
  value.resize(static_cast<std::size_t>(size));
  value.shrink_to_fit();
  if (name.empty()) {
    std::string shown;
    for (std::size_t at = 0; at < value.size();) {
      const std::string entry = value.c_str() + at;
      at += entry.size() + 1;
      if (is_attribute(entry)) shown.append(entry).push_back('\0');
    }
    value = std::move(shown);
  }
  out.u64(value.size());
  return add(id, {.node = fid->node, .uid = fid->uid, .attribute = std::move(attribute)});
}

int Server::create_attribute(Reader& in, Writer&) {
  Fid* fid = find(in.u32());
  std::string name = in.text();
  const std::uint64_t size = in.u64();
  const std::uint32_t flags = in.u32();
  if (!in.ok() || fid == nullptr || fid->open || fid->attribute) return EBADF;
  if (!is_attribute(name)) return EOPNOTSUPP;
  if (too_many_attributes()) return EMFILE;
  if (size > kMaxAttribute) return E2BIG;
  fid->attribute = {.name = std::move(name),
                    .size = static_cast<std::size_t>(size),
                    .flags = static_cast<int>(flags & (XATTR_CREATE | XATTR_REPLACE)),
                    .writing = true};
  return 0;
}

// ---- Names

int Server::put_new(const NodePtr& directory, const std::string& name, const Attributes& wanted, Writer& out) {
  NodePtr node;
  if (const int error = enter(directory, name, node); error != 0) return error;
  if (const int error = set_owner(*node, -1, node->st, wanted, true); error != 0) {
    (void)::unlinkat(directory->path.get(), name.c_str(), node->is_directory() ? AT_REMOVEDIR : 0);
    return error;
  }
  put_id(out, node->st);
  return 0;
}

int Server::symlink(Reader& in, Writer& out) {
  const Fid* fid = find(in.u32());
  const std::string name = in.text();
  const std::string target = in.text();
  const std::uint32_t gid = in.u32();
  if (!in.ok() || fid == nullptr) return EBADF;
  if (!is_name(name) || target.find('\0') != std::string::npos) return EINVAL;
  if (::symlinkat(target.c_str(), fid->node->path.get(), name.c_str()) < 0) return errno;
  return put_new(fid->node, name, {fid->uid, gid, 0777}, out);
}

int Server::make_node(Reader& in, Writer& out) {
  const Fid* fid = find(in.u32());
  const std::string name = in.text();
  const std::uint32_t mode = in.u32();
  (void)in.u32();  // major, minor
  (void)in.u32();
  const std::uint32_t gid = in.u32();
  if (!in.ok() || fid == nullptr) return EBADF;
  if (!is_name(name)) return EINVAL;
  if (!S_ISFIFO(mode) && !S_ISSOCK(mode) && !S_ISREG(mode)) return EPERM;  // a device would be one of the host's
  const mode_t permissions = mode & 07777U;
  const mode_t own = (mode & static_cast<mode_t>(S_IFMT)) | ownership_.own_mode(permissions, false);
  if (::mknodat(fid->node->path.get(), name.c_str(), own, 0) < 0) return errno;
  return put_new(fid->node, name, {fid->uid, gid, permissions}, out);
}

int Server::make_directory(Reader& in, Writer& out) {
  const Fid* fid = find(in.u32());
  const std::string name = in.text();
  const mode_t mode = in.u32() & 07777U;
  const std::uint32_t gid = in.u32();
  if (!in.ok() || fid == nullptr) return EBADF;
  if (!is_name(name)) return EINVAL;
  if (::mkdirat(fid->node->path.get(), name.c_str(), ownership_.own_mode(mode, true)) < 0) return errno;
  return put_new(fid->node, name, {fid->uid, gid, mode}, out);
}

int Server::read_link(Reader& in, Writer& out) {
  const Fid* fid = find(in.u32());
  if (fid == nullptr) return EBADF;
  std::array<char, PATH_MAX> target;
  const ssize_t size = ::readlinkat(fid->node->path.get(), "", target.data(), target.size());
  if (size < 0) return errno == ENOENT ? EINVAL : errno;
  out.text(std::string_view(target.data(), static_cast<std::size_t>(size)));
  return 0;
}

int Server::link(Reader& in, Writer&) {
  const Fid* directory = find(in.u32());
  const Fid* fid = find(in.u32());
  const std::string name = in.text();
  if (!in.ok() || directory == nullptr || fid == nullptr) return EBADF;
  if (!is_name(name) || !fid->node->parent) return EINVAL;
  return failed(::linkat(fid->node->directory(), fid->node->name.c_str(), directory->node->path.get(), name.c_str(), 0));
}

int Server::rename(Reader& in, Writer&) {
  const Fid* from = find(in.u32());
  const std::string old_name = in.text();
  const Fid* to = find(in.u32());
  const std::string new_name = in.text();
  if (!in.ok() || from == nullptr || to == nullptr) return EBADF;
  if (!is_name(old_name) || !is_name(new_name)) return EINVAL;
  const NodePtr source = from->node;
  const NodePtr target = to->node;
  if (::renameat(source->path.get(), old_name.c_str(), target->path.get(), new_name.c_str()) < 0) return errno;
  struct stat moved = {};
  if (::fstatat(target->path.get(), new_name.c_str(), &moved, AT_SYMLINK_NOFOLLOW) < 0) return 0;
  std::set<const Node*> above;  // which no node may be moved below, or nothing would ever free it
  for (const Node* up = target.get(); up != nullptr; up = up->parent.get()) above.insert(up);
  // Who had the file by its old name has it by the new one.
  for (auto& [id, fid] : fids_) {
    Node& node = *fid.node;
    if (!node.parent || node.name != old_name || !same_file(node.parent->st, source->st)) continue;
    if (!same_file(node.st, moved) || above.contains(&node)) continue;
    node.parent = target;
    node.name = new_name;
  }
  return 0;
}

int Server::unlink(Reader& in, Writer&) {
  const Fid* fid = find(in.u32());
  const std::string name = in.text();
  const std::uint32_t flags = in.u32();
  if (!in.ok() || fid == nullptr) return EBADF;
  if (!is_name(name)) return EINVAL;
  return failed(::unlinkat(fid->node->path.get(), name.c_str(), static_cast<int>(flags & AT_REMOVEDIR)));
}

// ---- Locks: the guest's kernel keeps its own; these are for other boxes and the host.

namespace {

struct flock lock_range(std::uint8_t type, std::uint64_t start, std::uint64_t length) {
  struct flock range = {};
  constexpr std::array<short, 3> kTypes = {F_RDLCK, F_WRLCK, F_UNLCK};
  range.l_type = kTypes[type % kTypes.size()];
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(start);
  range.l_len = static_cast<off_t>(length);
  return range;
}

}  // namespace

int Server::lock(Reader& in, Writer& out) {
  const Fid* fid = find(in.u32());
  const std::uint8_t type = in.u8();
  (void)in.u32();  // whether the client will wait: it asks again
  const std::uint64_t start = in.u64();
  const std::uint64_t length = in.u64();
  if (!in.ok() || fid == nullptr || !fid->open) return EBADF;
  struct flock range = lock_range(type, start, length);
  std::uint8_t status = kLocked;
  if (::fcntl(fid->open.get(), F_OFD_SETLK, &range) < 0) {
    // EBADF: an exclusive flock() of a file that is open for reading, which Linux allows; the guest's own lock holds.
    status = errno == EAGAIN || errno == EACCES ? kBlocked : errno == EBADF ? kLocked : kLockError;
  }
  out.u8(status);
  return 0;
}

int Server::get_lock(Reader& in, Writer& out) {
  const Fid* fid = find(in.u32());
  std::uint8_t type = in.u8();
  const std::uint64_t start = in.u64();
  const std::uint64_t length = in.u64();
  const std::uint32_t process = in.u32();
  const std::string client = in.text();
  if (!in.ok() || fid == nullptr || !fid->open) return EBADF;
  struct flock range = lock_range(type, start, length);
  if (::fcntl(fid->open.get(), F_OFD_GETLK, &range) < 0) return errno;
  type = range.l_type == F_RDLCK ? 0 : range.l_type == F_WRLCK ? 1 : 2;
  out.u8(type);
  out.u64(static_cast<std::uint64_t>(range.l_start));
  out.u64(static_cast<std::uint64_t>(range.l_len));
  out.u32(process);
  out.text(client);
  return 0;
}

}  // namespace boxlite::volume
