#include "image/file_arena.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <new>

#include "base/sys.h"

namespace boxlite::image {
namespace {

constexpr std::size_t kGrowth = std::size_t{1} << 20;

}  // namespace

Result<std::unique_ptr<FileArena>> FileArena::create(const std::string& path, const std::string& what) {
  return create(path, what, Limits());
}

Result<std::unique_ptr<FileArena>> FileArena::create(const std::string& path, const std::string& what, const Limits& limits) {
  TRY_ASSIGN(UniqueFd file, sys::open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  TRY(sys::unlink(path));
  TRY_ASSIGN(UniqueFd statm, sys::open("/proc/self/statm", O_RDONLY));
  // Addresses for all of it; what is beyond the file's end is not touched.
  void* begin = ::mmap(nullptr, limits.total, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file.get(), 0);
  if (begin == MAP_FAILED) return fail_errno("map {}", path);
  return std::unique_ptr<FileArena>(
      new FileArena(std::move(file), std::move(statm), static_cast<std::byte*>(begin), path, what, limits));
}

FileArena::FileArena(UniqueFd file, UniqueFd statm, std::byte* begin, std::string path, std::string what, const Limits& limits)
    : file_(std::move(file)),
      statm_(std::move(statm)),
      begin_(begin),
      path_(std::move(path)),
      what_(std::move(what)),
      limits_(limits) {}

FileArena::~FileArena() { ::munmap(begin_, limits_.total); }

Result<void> FileArena::reserve(std::size_t bytes) {
  if (bytes <= room_ - used_) return {};
  const std::size_t wanted = used_ + bytes;
  if (bytes > limits_.total || wanted > limits_.total) {
    return fail(ErrorCode::kResourceExhausted, "{}: names and attributes of the image take more than {} MiB", what_,
                limits_.total >> 20);
  }
  const std::size_t size = std::min((wanted + kGrowth - 1) / kGrowth * kGrowth, limits_.total);
  const int code = ::posix_fallocate(file_.get(), 0, static_cast<off_t>(size));
  if (code != 0) return std::unexpected(Error::from_errno(code, fmt::format("write to {}", path_)));
  room_ = size;
  return {};
}

Result<std::string_view> FileArena::keep(std::string_view text) {
  if (text.empty()) return std::string_view();
  TRY(reserve(text.size()));
  auto* copy = static_cast<char*>(allocate(text.size(), 1));
  std::memcpy(copy, text.data(), text.size());
  return std::string_view(copy, text.size());
}

void* FileArena::do_allocate(std::size_t bytes, std::size_t alignment) {
  const std::size_t at = (used_ + alignment - 1) / alignment * alignment;
  if (bytes > room_ || at > room_ - bytes) throw std::bad_alloc();  // nobody has reserved it: a mistake in this program
  used_ = at + bytes;
  return begin_ + at;
}

// The third number is what is resident of files, in pages (proc(5)). A page that is sent away stays in the kernel's cache.
void FileArena::send_away() {
  std::array<char, 128> line = {};
  unsigned long shared = 0;
  const ssize_t count = ::pread(statm_.get(), line.data(), line.size() - 1, 0);
  const bool known = count > 0 && std::sscanf(line.data(), "%*u %*u %lu", &shared) == 1;
  const std::size_t resident = shared * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  if (!known || resident > limits_.resident) ::madvise(begin_, room_, MADV_DONTNEED);
}

}  // namespace boxlite::image
