#include "agent/root_disk.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>

#include "agent/boot.h"
#include "base/sys.h"

namespace boxlite::agent {
namespace {

constexpr const char* kRootDevice = "/dev/vda";
constexpr unsigned long kResizeFs = _IOW('f', 16, std::uint64_t);  // EXT4_IOC_RESIZE_FS, in no exported header

template <typename T>
T little_endian(const std::byte* at) {  // the guest is x86-64
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

struct Size {
  std::uint64_t blocks;
  std::uint64_t block_bytes;
};

// From the superblock (https://docs.kernel.org/filesystems/ext4/super.html): statfs would leave out the overhead.
Result<Size> file_system_size(int device) {
  constexpr off_t kSuperblock = 1024;
  constexpr std::uint32_t k64Bit = 0x80;
  std::array<std::byte, 1024> block;
  if (::pread(device, block.data(), block.size(), kSuperblock) != static_cast<ssize_t>(block.size())) {
    return fail_errno("read the superblock of {}", kRootDevice);
  }
  std::uint64_t blocks = little_endian<std::uint32_t>(&block[0x4]);
  if ((little_endian<std::uint32_t>(&block[0x60]) & k64Bit) != 0) {
    blocks |= std::uint64_t{little_endian<std::uint32_t>(&block[0x150])} << 32U;
  }
  const std::uint32_t log_size = little_endian<std::uint32_t>(&block[0x18]);
  if (log_size > 6) return fail(ErrorCode::kCorrupt, "{}: impossible block size in the superblock", kRootDevice);
  return Size{blocks, std::uint64_t{1024} << log_size};
}

Result<void> grow(std::uint64_t disk_bytes) {
  TRY_ASSIGN(const UniqueFd device, sys::open(kRootDevice, O_RDONLY));
  std::uint64_t device_bytes = 0;
  if (::ioctl(device.get(), BLKGETSIZE64, &device_bytes) < 0) return fail_errno("size of {}", kRootDevice);
  TRY_ASSIGN(const Size size, file_system_size(device.get()));
  const std::uint64_t wanted = std::min(device_bytes, disk_bytes) / size.block_bytes;
  if (wanted <= size.blocks) return {};
  TRY_ASSIGN(const UniqueFd root, sys::open(kRootMount, O_RDONLY | O_DIRECTORY));
  if (::ioctl(root.get(), kResizeFs, &wanted) < 0) {
    return fail_errno("grow the root file system from {} to {} blocks of {} bytes", size.blocks, wanted, size.block_bytes);
  }
  return {};
}

}  // namespace

Result<void> mount_root_disk(std::uint64_t disk_bytes) {
  // discard: the space of what is removed goes back to the host. noinit_itable: else the kernel zeroes inode tables in the
  // background and a sparse overlay fills with them.
  if (::mount(kRootDevice, kRootMount, "ext4", MS_RELATIME, "discard,noinit_itable") < 0)
    return fail_errno("mount {}", kRootDevice);
  return grow(disk_bytes);
}

Result<void> seal_root_disk() {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::seconds(5);
  // Unmounting our mount would not do: the container's mount namespace, whose end the kernel finishes in the background, holds
  // another. A read-only remount is of the file system itself.
  while (::mount(nullptr, kRootMount, nullptr, MS_REMOUNT | MS_RDONLY, nullptr) < 0) {
    const int error = errno;
    if (error != EBUSY || Clock::now() >= deadline) {
      ::sync();
      errno = error;
      return fail_errno("remount {} read-only", kRootDevice);
    }
    const timespec pause = {0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
  return {};
}

}  // namespace boxlite::agent
