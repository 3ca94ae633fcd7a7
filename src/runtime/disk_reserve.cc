#include "runtime/disk_reserve.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdint>

#include "base/sys.h"

namespace boxlite {
namespace {

// SQLite's -shm is 32 KiB, its log a few pages for each transaction; the rest is for records and the directories that hold them.
constexpr off_t kSize = 512L * 1024;
constexpr off_t kStep = 32L * 1024;

std::uint64_t available(const std::string& path) {
  struct statvfs fs = {};
  if (::statvfs(path.substr(0, path.rfind('/')).c_str(), &fs) < 0) return 0;
  return std::uint64_t{fs.f_bavail} * fs.f_frsize;
}

bool is_set_aside(const std::string& path) {
  const auto st = sys::stat(path);
  return st && st->st_blocks * 512 >= kSize;
}

// As much as there is. Nothing here is an error of the command at hand: that fails by itself where there is no space.
void set_aside(const std::string& path) {
  const auto file = sys::open(path, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600);
  if (!file) return;
  for (off_t at = 0; at < kSize; at += kStep) {
    if (::posix_fallocate(file->get(), at, kStep) != 0) return;
  }
}

}  // namespace

DiskReserve::DiskReserve(std::string path) : path_(std::move(path)) {
  const std::uint64_t space = available(path_);
  if (space < kSize) {
    released_ = ::truncate(path_.c_str(), 0) == 0;
  } else if (space >= 2 * kSize && !is_set_aside(path_)) {
    set_aside(path_);
  }
}

DiskReserve::~DiskReserve() {
  if (released_) set_aside(path_);
}

}  // namespace boxlite
