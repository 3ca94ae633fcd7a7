#include "runtime/private_memory.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "base/sys.h"

namespace boxlite {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::size_t kPagesAtOnce = 256;
constexpr std::size_t kEntriesAtOnce = std::size_t{64} << 10U;

// https://docs.kernel.org/admin-guide/mm/pagemap.html
constexpr std::uint64_t kPresent = std::uint64_t{1} << 63U;
constexpr std::uint64_t kSwapped = std::uint64_t{1} << 62U;
constexpr std::uint64_t kOfFile = std::uint64_t{1} << 61U;

bool is_private(std::uint64_t entry) { return (entry & (kPresent | kSwapped)) != 0 && (entry & kOfFile) == 0; }

bool is_zero(std::span<const std::uint64_t> words) {
  return std::ranges::all_of(words, [](std::uint64_t word) { return word == 0; });
}

class Copier {
 public:
  Copier(pid_t pid, std::uint64_t address, int file)
      : pid_(pid), address_(address), file_(file), buffer_(kPagesAtOnce * kPage / 8) {}

  /// Pages from..to, counted from the address.
  Result<void> copy(std::uint64_t from, std::uint64_t to) {
    for (; from < to; from += kPagesAtOnce) TRY(copy_some(from, std::min<std::uint64_t>(kPagesAtOnce, to - from)));
    return {};
  }

 private:
  Result<void> copy_some(std::uint64_t first, std::uint64_t count) {
    const std::size_t size = count * kPage;
    const iovec local = {buffer_.data(), size};
    const iovec remote = {reinterpret_cast<void*>(address_ + first * kPage), size};  // NOLINT: another process's
    const ssize_t got = ::process_vm_readv(pid_, &local, 1, &remote, 1, 0);
    if (got < 0) return fail_errno("read the memory of QEMU (process {})", pid_);
    if (static_cast<std::size_t>(got) != size) return fail(ErrorCode::kInternal, "QEMU's memory is not where it says");
    constexpr std::size_t kWords = kPage / 8;
    const std::span<const std::uint64_t> words(buffer_);
    for (std::uint64_t page = 0; page < count;) {
      const bool zero = is_zero(words.subspan(page * kWords, kWords));
      std::uint64_t end = page + 1;
      while (end < count && is_zero(words.subspan(end * kWords, kWords)) == zero) ++end;
      TRY(zero ? punch(first + page, end - page)
               : write(first + page, std::as_bytes(words.subspan(page * kWords, (end - page) * kWords))));
      page = end;
    }
    return {};
  }

  Result<void> punch(std::uint64_t page, std::uint64_t count) const {
    if (::fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(page * kPage),
                    static_cast<off_t>(count * kPage)) < 0)
      return fail_errno("make a hole in the memory's file");
    return {};
  }

  Result<void> write(std::uint64_t page, std::span<const std::byte> data) const {
    auto at = static_cast<off_t>(page * kPage);
    while (!data.empty()) {
      const ssize_t count = ::pwrite(file_, data.data(), data.size(), at);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return fail_errno("write the memory's file");
      data = data.subspan(static_cast<std::size_t>(count));
      at += count;
    }
    return {};
  }

  pid_t pid_;
  std::uint64_t address_;
  int file_;
  std::vector<std::uint64_t> buffer_;
};

}  // namespace

Result<void> copy_private_pages(pid_t pid, std::uint64_t address, std::uint64_t bytes, int file) {
  if (address % kPage != 0 || bytes % kPage != 0) return fail(ErrorCode::kInternal, "QEMU's memory is not where it says");
  TRY_ASSIGN(const UniqueFd map, sys::open(fmt::format("/proc/{}/pagemap", pid), O_RDONLY));
  Copier copier(pid, address, file);
  std::vector<std::uint64_t> entries(kEntriesAtOnce);
  const std::uint64_t pages = bytes / kPage;
  for (std::uint64_t first = 0; first < pages; first += entries.size()) {
    entries.resize(std::min<std::uint64_t>(kEntriesAtOnce, pages - first));
    const std::size_t size = entries.size() * sizeof entries[0];
    const ssize_t got =
        ::pread(map.get(), entries.data(), size, static_cast<off_t>((address / kPage + first) * sizeof entries[0]));
    if (got < 0) return fail_errno("/proc/{}/pagemap", pid);
    if (static_cast<std::size_t>(got) != size) return fail(ErrorCode::kUnavailable, "QEMU (process {}) has ended", pid);
    for (std::size_t page = 0; page < entries.size();) {
      std::size_t end = page;
      while (end < entries.size() && is_private(entries[end])) ++end;
      if (end > page) TRY(copier.copy(first + page, first + end));
      page = std::max(end, page + 1);
    }
  }
  return {};
}

Result<void> copy_sparse(int from, int to, std::uint64_t bytes) {
  if (::ioctl(to, FICLONE, from) == 0) return {};
  if (::ftruncate(to, static_cast<off_t>(bytes)) < 0) return fail_errno("make a file of {} bytes", bytes);
  for (off_t at = 0;;) {
    at = ::lseek(from, at, SEEK_DATA);
    if (at < 0 && errno == ENXIO) return {};
    if (at < 0) return fail_errno("look for data");
    const off_t end = ::lseek(from, at, SEEK_HOLE);
    if (end < 0) return fail_errno("look for a hole");
    off_t target = at;
    while (at < end) {
      const ssize_t count = ::copy_file_range(from, &at, to, &target, static_cast<std::size_t>(end - at), 0);
      if (count < 0) return fail_errno("copy");
      if (count == 0) return fail(ErrorCode::kIo, "a file has become shorter while it was copied");
    }
  }
}

}  // namespace boxlite
