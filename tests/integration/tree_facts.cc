// Prints all that can be seen of a directory tree, one line per name: for comparing what is in a box with what another tool
// unpacked on the host. Static, so that it runs in any image.
//
//   tree_facts DIRECTORY
//
// Tab-separated: path, type, mode, owner, group, links, inode, device, seconds, nanoseconds, size, content hash, link
// target, extended attributes (name=value, ...). Bytes that are not plain are %XX. Other file systems are named ("mount") and not
// entered. Of directories neither links nor size are told: they are the file system's affair.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

[[noreturn]] void give_up(const std::string& path) {
  std::perror(path.c_str());
  std::exit(1);
}

std::string plain(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    const bool as_is = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '/' ||
                       c == '-' || c == '_';
    std::array<char, 4> hex = {};
    std::snprintf(hex.data(), hex.size(), "%%%02X", static_cast<unsigned>(static_cast<unsigned char>(c)));
    text += as_is ? std::string(1, c) : std::string(hex.data());
  }
  return text;
}

// FNV-1a, eight bytes at a time: in an emulated VM one at a time would take minutes.
std::uint64_t hash_content(int fd, const std::string& path) {
  std::uint64_t hash = 0xcbf29ce484222325;
  std::vector<char> buffer(std::size_t{256} * 1024);
  for (;;) {
    std::size_t filled = 0;
    while (filled < buffer.size()) {
      const ssize_t count = ::read(fd, buffer.data() + filled, buffer.size() - filled);
      if (count < 0) give_up(path);
      if (count == 0) break;
      filled += static_cast<std::size_t>(count);
    }
    if (filled == 0) return hash;
    std::fill(buffer.begin() + static_cast<std::ptrdiff_t>(filled), buffer.end(), '\0');
    for (std::size_t at = 0; at < filled; at += sizeof(std::uint64_t)) {
      std::uint64_t word = 0;
      std::memcpy(&word, buffer.data() + at, sizeof word);
      hash = (hash ^ word) * 0x100000001b3;
      hash ^= hash >> 29;
    }
  }
}

std::string attributes(const std::string& path) {
  std::string names(65536, '\0');
  const ssize_t size = ::llistxattr(path.c_str(), names.data(), names.size());
  if (size < 0) give_up(path);
  names.resize(static_cast<std::size_t>(size));
  std::vector<std::string> all;
  for (std::size_t at = 0; at < names.size();) {
    const std::string name = names.c_str() + at;
    at += name.size() + 1;
    std::string value(65536, '\0');
    const ssize_t length = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    if (length < 0) give_up(path);
    all.push_back(plain(name) + "=" + plain(value.substr(0, static_cast<std::size_t>(length))));
  }
  std::ranges::sort(all);
  std::string text;
  for (const std::string& one : all) text += (text.empty() ? "" : ",") + one;
  return text;
}

char type_of(mode_t mode) {
  if (S_ISREG(mode)) return 'f';
  if (S_ISDIR(mode)) return 'd';
  if (S_ISLNK(mode)) return 'l';
  if (S_ISCHR(mode)) return 'c';
  if (S_ISBLK(mode)) return 'b';
  return S_ISFIFO(mode) ? 'p' : 's';
}

// Works in the current directory, so that depth is not limited by the length of a path.
void visit(const std::string& name, const std::string& path, dev_t device) {
  struct stat st = {};
  if (::lstat(name.c_str(), &st) < 0) give_up(path);
  if (st.st_dev != device) {
    std::printf("%s\tmount\n", plain(path).c_str());
    return;
  }
  const bool directory = S_ISDIR(st.st_mode);
  std::string target;
  std::uint64_t hash = 0;
  if (S_ISLNK(st.st_mode)) {
    target.resize(8192);
    const ssize_t length = ::readlink(name.c_str(), target.data(), target.size());
    if (length < 0) give_up(path);
    target.resize(static_cast<std::size_t>(length));
  }
  if (S_ISREG(st.st_mode)) {
    const int fd = ::open(name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) give_up(path);
    hash = hash_content(fd, path);
    ::close(fd);
  }
  const bool special = S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode);
  std::printf("%s\t%c\t%o\t%u\t%u\t%lu\t%lu\t%u:%u\t%lld\t%ld\t%lld\t%016llx\t%s\t%s\n", plain(path).c_str(), type_of(st.st_mode),
              st.st_mode & 07777U, st.st_uid, st.st_gid, directory ? 0UL : static_cast<unsigned long>(st.st_nlink),
              static_cast<unsigned long>(st.st_ino), special ? major(st.st_rdev) : 0, special ? minor(st.st_rdev) : 0,
              static_cast<long long>(st.st_mtim.tv_sec), st.st_mtim.tv_nsec, directory ? 0LL : static_cast<long long>(st.st_size),
              static_cast<unsigned long long>(hash), plain(target).c_str(), attributes(name).c_str());
  if (!directory) return;
  const int back = ::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (back < 0 || ::chdir(name.c_str()) < 0) give_up(path);
  DIR* stream = ::opendir(".");
  if (stream == nullptr) give_up(path);
  std::vector<std::string> children;
  while (const dirent* entry = ::readdir(stream)) {
    const std::string child = entry->d_name;
    if (child != "." && child != "..") children.push_back(child);
  }
  ::closedir(stream);
  std::ranges::sort(children);
  for (const std::string& child : children) visit(child, path == "." ? child : path + "/" + child, device);
  if (::fchdir(back) < 0) give_up(path);
  ::close(back);
}

}  // namespace

int main(int argc, char** argv) {
  struct stat st = {};
  if (argc != 2 || ::chdir(argv[1]) < 0 || ::lstat(".", &st) < 0) give_up(argc == 2 ? argv[1] : "usage: tree_facts DIRECTORY");
  visit(".", ".", st.st_dev);
  return std::fflush(stdout) == 0 ? 0 : 1;
}
