#include "disk/qcow2.h"

#include <fcntl.h>
#include <unistd.h>

#include <concepts>
#include <span>
#include <vector>

#include "base/defer.h"
#include "base/file.h"
#include "base/sys.h"

namespace boxlite::disk {
namespace {

constexpr unsigned kClusterBits = 16;
constexpr std::uint64_t kClusterSize = std::uint64_t{1} << kClusterBits;
constexpr std::uint64_t kL2Entries = kClusterSize / sizeof(std::uint64_t);
constexpr std::uint64_t kBytesPerL1Entry = kL2Entries * kClusterSize;
constexpr std::uint32_t kMagic = 0x514649fb;  // "QFI\xfb"
constexpr std::uint32_t kHeaderLength = 104;
constexpr std::uint32_t kBackingFormatExtension = 0xE2792ACA;
constexpr std::size_t kMaxBackingName = 1023;  // qcow2.txt: "must not be longer than 1023 bytes"

// Cluster 0 holds the header, then one cluster each for the refcount table and its only block, then the L1 table.
constexpr std::uint64_t kRefcountTableCluster = 1;
constexpr std::uint64_t kRefcountBlockCluster = 2;
constexpr std::uint64_t kL1Cluster = 3;

class BigEndianBuffer {
 public:
  explicit BigEndianBuffer(std::size_t size) { bytes_.reserve(size); }

  template <std::unsigned_integral T>
  void put(T value) {
    for (std::size_t i = sizeof(T); i-- > 0;) bytes_.push_back(static_cast<std::byte>((value >> (8 * i)) & 0xff));
  }
  void put(std::string_view text) {
    for (const char c : text) bytes_.push_back(static_cast<std::byte>(c));
  }
  void pad_to(std::size_t multiple) {
    while (bytes_.size() % multiple != 0) bytes_.push_back(std::byte{0});
  }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

BigEndianBuffer header(std::uint64_t virtual_size, std::uint64_t l1_entries, std::string_view base, std::string_view format) {
  const std::size_t padded_format = (format.size() + 7) / 8 * 8;
  const std::uint64_t base_offset = kHeaderLength + 8 + padded_format + 8;
  BigEndianBuffer out(static_cast<std::size_t>(base_offset) + base.size());
  out.put(kMagic);
  out.put(std::uint32_t{3});  // version
  out.put(base_offset);
  out.put(static_cast<std::uint32_t>(base.size()));
  out.put(std::uint32_t{kClusterBits});
  out.put(virtual_size);
  out.put(std::uint32_t{0});  // not encrypted
  out.put(static_cast<std::uint32_t>(l1_entries));
  out.put(kL1Cluster * kClusterSize);
  out.put(kRefcountTableCluster * kClusterSize);
  out.put(std::uint32_t{1});  // clusters of the refcount table
  out.put(std::uint32_t{0});  // no snapshots
  out.put(std::uint64_t{0});
  out.put(std::uint64_t{0});  // incompatible, compatible, autoclear features
  out.put(std::uint64_t{0});
  out.put(std::uint64_t{0});
  out.put(std::uint32_t{4});  // refcounts of 2^4 bits
  out.put(kHeaderLength);
  out.put(kBackingFormatExtension);
  out.put(static_cast<std::uint32_t>(format.size()));
  out.put(format);
  out.pad_to(8);
  out.put(std::uint64_t{0});  // end of extensions
  out.put(base);
  return out;
}

Result<void> write_at(int fd, std::uint64_t offset, std::span<const std::byte> data, const std::string& path) {
  if (::lseek(fd, static_cast<off_t>(offset), SEEK_SET) < 0) return fail_errno("seek {}", path);
  if (auto written = sys::write_all(fd, data); !written) return std::unexpected(written.error().context(path));
  return {};
}

std::uint64_t big_endian(std::string_view bytes, std::size_t offset, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i) value = value << 8U | static_cast<unsigned char>(bytes[offset + i]);
  return value;
}

// Relative, and nowhere but to another layer beside it or to a base: what people's tools would open by name.
bool names_layer_or_base(std::string_view name) {
  constexpr std::string_view kBases = "../../bases/";
  if (name.starts_with(kBases)) name.remove_prefix(kBases.size());
  return !name.empty() && name.find('/') == std::string_view::npos && name.find(':') == std::string_view::npos &&
         (name.ends_with(".ext4") || (name.starts_with("layer-") && name.ends_with(".qcow2")));
}

}  // namespace

Result<void> check_layer(const std::string& path) {
  TRY_ASSIGN(const UniqueFd fd, sys::open(path, O_RDONLY | O_NOFOLLOW));
  std::string head(kClusterSize, '\0');
  const ssize_t count = ::pread(fd.get(), head.data(), head.size(), 0);
  if (count < 0) return fail_errno("read {}", path);
  const auto refuse = [&path](std::string_view what) { return fail(ErrorCode::kCorrupt, "{}: {}", path, what); };
  if (static_cast<std::size_t>(count) < kHeaderLength || big_endian(head, 0, 4) != kMagic || big_endian(head, 4, 4) != 3)
    return refuse("it is no qcow2 file of version 3");
  if (big_endian(head, 20, 4) != kClusterBits) return refuse("its clusters have another size than 64 KiB");
  const std::uint64_t size = big_endian(head, 24, 8);
  if (size == 0 || size % 512 != 0 || size > kMaxVirtualSize) return refuse("a disk of its size is not possible");
  if (big_endian(head, 32, 4) != 0) return refuse("it is encrypted");
  if (big_endian(head, 60, 4) != 0) return refuse("it has internal snapshots");
  if (big_endian(head, 72, 8) != 0) return refuse("it has features that no disk of a box has, or was left damaged");
  TRY_ASSIGN(const std::string below, backing_file(path));
  if (!names_layer_or_base(below)) return refuse("it lies on a file that is no layer or base");
  return {};
}

Result<std::string> backing_file(const std::string& path) {
  TRY_ASSIGN(const UniqueFd fd, sys::open(path, O_RDONLY | O_NOFOLLOW));
  std::string head(kClusterSize, '\0');
  const ssize_t count = ::pread(fd.get(), head.data(), head.size(), 0);
  if (count < 0) return fail_errno("read {}", path);
  const std::uint64_t begin = big_endian(head, 8, 8);
  const std::uint64_t length = big_endian(head, 16, 4);
  const auto read = static_cast<std::uint64_t>(count);
  if (read < kHeaderLength || big_endian(head, 0, 4) != kMagic || begin < kHeaderLength || length > kMaxBackingName ||
      begin > read || length > read - begin)
    return fail(ErrorCode::kCorrupt, "{}: its header names no file that it lies on", path);
  return head.substr(begin, length);
}

Result<void> create_overlay(const std::string& path, std::uint64_t virtual_size, std::string_view base_path_relative,
                            std::string_view base_format) {
  if (virtual_size == 0 || virtual_size % 512 != 0 || virtual_size > kMaxVirtualSize) {
    return fail(ErrorCode::kInvalidArgument, "{}: a disk of {} bytes is not possible (a multiple of 512, at most 16 TiB)", path,
                virtual_size);
  }
  if (base_path_relative.empty() || base_path_relative.front() == '/' || base_path_relative.size() > kMaxBackingName) {
    return fail(ErrorCode::kInvalidArgument, "{}: the base \"{}\" must be a relative path of at most {} bytes", path,
                base_path_relative, kMaxBackingName);
  }
  const std::uint64_t l1_entries = (virtual_size + kBytesPerL1Entry - 1) / kBytesPerL1Entry;
  const std::uint64_t l1_clusters = (l1_entries * sizeof(std::uint64_t) + kClusterSize - 1) / kClusterSize;
  const std::uint64_t clusters = kL1Cluster + l1_clusters;

  BigEndianBuffer refcount_table(sizeof(std::uint64_t));
  refcount_table.put(kRefcountBlockCluster * kClusterSize);
  BigEndianBuffer refcounts(clusters * sizeof(std::uint16_t));
  for (std::uint64_t i = 0; i < clusters; ++i) refcounts.put(std::uint16_t{1});

  TRY_ASSIGN(const UniqueFd fd, sys::open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  Defer discard([&] { ::unlink(path.c_str()); });
  if (::ftruncate(fd.get(), static_cast<off_t>(clusters * kClusterSize)) < 0) return fail_errno("truncate {}", path);
  TRY(write_at(fd.get(), 0, header(virtual_size, l1_entries, base_path_relative, base_format).bytes(), path));
  TRY(write_at(fd.get(), kRefcountTableCluster * kClusterSize, refcount_table.bytes(), path));
  TRY(write_at(fd.get(), kRefcountBlockCluster * kClusterSize, refcounts.bytes(), path));
  TRY(sys::fsync(fd.get(), path));
  const std::size_t slash = path.rfind('/');
  TRY(sync_directory(slash == std::string::npos ? "." : path.substr(0, slash + 1)));
  discard.cancel();
  return {};
}

}  // namespace boxlite::disk
