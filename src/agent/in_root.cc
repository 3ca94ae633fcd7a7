#include "agent/in_root.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <string_view>
#include <vector>

#include "base/sys.h"

namespace boxlite::agent {
namespace {

constexpr int kMaxLinks = 40;  // as the kernel's own limit

// The components of a path, last one first.
void push_components(std::vector<std::string>& pending, std::string_view path) {
  std::size_t end = path.size();
  while (end > 0) {
    const std::size_t slash = path.rfind('/', end - 1);
    const std::size_t begin = slash == std::string_view::npos ? 0 : slash + 1;
    if (begin < end) pending.emplace_back(path.substr(begin, end - begin));
    if (begin == 0) break;
    end = begin - 1;
  }
}

// One step of ensure_in_root: the entry `name` of `directory`, made when it is missing. O_PATH | O_NOFOLLOW.
Result<UniqueFd> enter(int directory, const std::string& name, EntryKind kind) {
  constexpr int kFlags = O_PATH | O_NOFOLLOW;
  auto entry = sys::openat(directory, name, kFlags);
  if (entry || entry.error().error_number() != ENOENT) return entry;
  if (kind == EntryKind::kDirectory) {
    if (::mkdirat(directory, name.c_str(), 0755) < 0) return fail_errno("mkdir {}", name);
  } else {
    TRY(sys::openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644));
  }
  return sys::openat(directory, name, kFlags);
}

Result<std::string> read_link(int link) {
  char text[PATH_MAX];
  const ssize_t count = ::readlinkat(link, "", text, sizeof text);
  if (count < 0) return fail_errno("readlink");
  return std::string(text, static_cast<std::size_t>(count));
}

}  // namespace

Result<UniqueFd> open_in_root(int root, const std::string& path, int flags) {
  open_how how = {};
  how.flags = static_cast<unsigned>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  long fd = -1;
  do {  // EAGAIN: a rename raced with "..", which only the container itself can do to itself
    fd = ::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how);
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  if (fd < 0) return fail_errno("open {}", path);
  return UniqueFd(static_cast<int>(fd));
}

Result<UniqueFd> ensure_in_root(int root, const std::string& path, EntryKind kind) {
  std::vector<std::string> pending;
  push_components(pending, path);
  std::vector<UniqueFd> stack;  // the directories from the root down to where we are; empty: the root itself
  int links = 0;
  while (!pending.empty()) {
    const std::string name = std::move(pending.back());
    pending.pop_back();
    if (name == ".") continue;
    if (name == "..") {
      if (!stack.empty()) stack.pop_back();
      continue;
    }
    const int here = stack.empty() ? root : stack.back().get();
    auto entry = enter(here, name, pending.empty() ? kind : EntryKind::kDirectory);
    if (!entry) return std::unexpected(entry.error().context(path));
    TRY_ASSIGN(const struct stat st, sys::fstat(entry->get()));
    if (S_ISLNK(st.st_mode)) {
      if (++links > kMaxLinks) return fail(ErrorCode::kInvalidArgument, "{}: too many symbolic links", path);
      TRY_ASSIGN(const std::string target, read_link(entry->get()));
      if (target.starts_with('/')) stack.clear();
      push_components(pending, target);
      continue;
    }
    const bool want_directory = !pending.empty() || kind == EntryKind::kDirectory;
    if (want_directory != S_ISDIR(st.st_mode)) {
      return fail(ErrorCode::kInvalidArgument, "{} of the image is {}a directory", path, want_directory ? "not " : "");
    }
    stack.push_back(std::move(*entry));
  }
  if (!stack.empty()) return std::move(stack.back());
  if (kind == EntryKind::kFile) return fail(ErrorCode::kInvalidArgument, "{} of the image is a directory", path);
  return sys::openat(root, ".", O_PATH | O_DIRECTORY);
}

Result<std::optional<std::string>> read_in_root(int root, const std::string& path, std::size_t limit) {
  // O_NONBLOCK: a fifo in the file's place must not hang the reader.
  auto fd = open_in_root(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!fd) {
    const int error = fd.error().error_number();
    if (error == ENOENT || error == ENOTDIR) return std::optional<std::string>{};
    return std::unexpected(std::move(fd).error());
  }
  TRY_ASSIGN(const struct stat st, sys::fstat(fd->get()));
  if (!S_ISREG(st.st_mode)) return fail(ErrorCode::kCorrupt, "{} of the image is not a regular file", path);
  if (static_cast<std::uint64_t>(st.st_size) > limit) {
    return fail(ErrorCode::kCorrupt, "{} of the image is larger than {} bytes", path, limit);
  }
  // The size it has, not the limit: zeroing megabytes for a file of some hundred bytes took longer than the rest of an exec.
  std::string contents(static_cast<std::size_t>(st.st_size), '\0');
  TRY_ASSIGN(const std::size_t count, sys::read_full(fd->get(), std::as_writable_bytes(std::span(contents))));
  contents.resize(count);
  return contents;
}

}  // namespace boxlite::agent
