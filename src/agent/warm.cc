#include "agent/warm.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <optional>
#include <set>
#include <span>

#include "agent/boot.h"
#include "agent/in_root.h"
#include "base/sys.h"

namespace boxlite::agent {
namespace {

constexpr std::size_t kMostBytes = std::size_t{48} << 20U;  // they stay in the memory of the template
constexpr std::size_t kMostFiles = 64;
constexpr std::size_t kMostHeaders = 64;
constexpr std::size_t kMostDynamic = std::size_t{64} << 10U;
constexpr std::size_t kMostStrings = std::size_t{1} << 20U;

constexpr std::array kProgramFolders = {"/usr/local/sbin/", "/usr/local/bin/", "/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"};
constexpr std::array kLibraryFolders = {
    "/lib/x86_64-linux-gnu/", "/usr/lib/x86_64-linux-gnu/", "/lib64/", "/usr/lib64/", "/usr/local/lib/", "/lib/", "/usr/lib/"};

std::optional<std::string> read_at(int fd, std::uint64_t offset, std::uint64_t size, std::uint64_t most) {
  if (size > most || offset > std::uint64_t{1} << 40U) return std::nullopt;
  std::string bytes(size, '\0');
  if (::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)) != static_cast<ssize_t>(size)) return std::nullopt;
  return bytes;
}

template <typename T>
std::vector<T> entries(const std::string& bytes) {
  std::vector<T> list;
  for (std::size_t at = 0; at + sizeof(T) <= bytes.size(); at += sizeof(T))
    std::memcpy(&list.emplace_back(), &bytes[at], sizeof(T));
  return list;
}

std::optional<std::uint64_t> offset_of(const std::vector<Elf64_Phdr>& headers, std::uint64_t address) {
  for (const Elf64_Phdr& header : headers) {
    if (header.p_type == PT_LOAD && address >= header.p_vaddr && address - header.p_vaddr < header.p_filesz)
      return address - header.p_vaddr + header.p_offset;
  }
  return std::nullopt;
}

/// What the loader will look for: the interpreter's path, and the names of libraries.
struct Wanted {
  std::string interpreter;
  std::vector<std::string> libraries;
};

Wanted wanted_by(int fd) {
  Wanted wanted;
  const auto head = read_at(fd, 0, sizeof(Elf64_Ehdr), sizeof(Elf64_Ehdr));
  if (!head) return wanted;
  Elf64_Ehdr elf;
  std::memcpy(&elf, head->data(), sizeof elf);
  if (std::memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 || elf.e_phentsize != sizeof(Elf64_Phdr)) return wanted;
  const auto table = read_at(fd, elf.e_phoff, std::uint64_t{elf.e_phnum} * sizeof(Elf64_Phdr), kMostHeaders * sizeof(Elf64_Phdr));
  if (!table) return wanted;
  const auto headers = entries<Elf64_Phdr>(*table);
  std::vector<Elf64_Dyn> dynamic;
  for (const Elf64_Phdr& header : headers) {
    if (header.p_type == PT_INTERP) {
      wanted.interpreter = read_at(fd, header.p_offset, header.p_filesz, 4096).value_or("").c_str();
    } else if (header.p_type == PT_DYNAMIC) {
      dynamic = entries<Elf64_Dyn>(read_at(fd, header.p_offset, header.p_filesz, kMostDynamic).value_or(""));
    }
  }
  std::uint64_t strings_at = 0;
  std::uint64_t strings_size = 0;
  for (const Elf64_Dyn& entry : dynamic) {
    if (entry.d_tag == DT_STRTAB) strings_at = entry.d_un.d_ptr;
    if (entry.d_tag == DT_STRSZ) strings_size = entry.d_un.d_val;
  }
  const auto offset = offset_of(headers, strings_at);
  const auto strings = offset ? read_at(fd, *offset, strings_size, kMostStrings) : std::nullopt;
  if (!strings) return wanted;
  for (const Elf64_Dyn& entry : dynamic) {
    if (entry.d_tag == DT_NEEDED && entry.d_un.d_val < strings->size())
      wanted.libraries.emplace_back(strings->c_str() + entry.d_un.d_val);
  }
  return wanted;
}

class Warmer {
 public:
  explicit Warmer(int root) : root_(root) {}

  // The first of `folders` that has `name` as a regular file.
  void add(std::span<const char* const> folders, const std::string& name) {
    if (name.empty() || files_.size() >= kMostFiles) return;
    if (name.find('/') != std::string::npos) {
      (void)add_file(name);
      return;
    }
    for (const char* folder : folders) {
      if (add_file(folder + name)) return;
    }
  }

  bool add_file(const std::string& path) {
    const auto file = open_in_root(root_, path, O_RDONLY | O_NONBLOCK);
    struct stat st = {};
    if (!file || ::fstat(file->get(), &st) < 0 || !S_ISREG(st.st_mode)) return false;
    if (!files_.insert(st.st_ino).second) return true;
    read_all(file->get());
    const Wanted wanted = wanted_by(file->get());
    if (!wanted.interpreter.empty()) pending_.push_back(wanted.interpreter);
    pending_.insert(pending_.end(), wanted.libraries.begin(), wanted.libraries.end());
    return true;
  }

  void add_pending() {
    while (!pending_.empty()) {
      const std::string name = pending_.front();
      pending_.pop_front();
      add(kLibraryFolders, name);
    }
  }

 private:
  void read_all(int fd) {
    static std::array<std::byte, std::size_t{64} << 10U> buffer;
    for (;;) {
      const auto count = sys::read(fd, buffer);
      if (!count || *count == 0 || (read_ += *count) > kMostBytes) return;
    }
  }

  int root_;
  std::set<ino_t> files_;
  std::deque<std::string> pending_;
  std::size_t read_ = 0;
};

}  // namespace

void warm_page_cache(const std::vector<std::string>& commands) {
  const auto root = sys::open(kRootMount, O_PATH | O_DIRECTORY);
  if (!root) return;
  Warmer warmer(root->get());
  for (const char* path : {"/etc/passwd", "/etc/group"}) (void)warmer.add_file(path);
  for (const std::string& command : commands) warmer.add(kProgramFolders, command);
  warmer.add_pending();
}

}  // namespace boxlite::agent
