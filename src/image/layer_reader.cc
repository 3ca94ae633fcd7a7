#include "image/layer_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/sys.h"
#include "base/unique_fd.h"
#include "image/archive_ptr.h"
#include "image/sha256.h"
#include "image/zstd_stream.h"

namespace boxlite::image {
namespace {

constexpr std::size_t kLayerReadBlock = 64 * 1024;
constexpr std::uint64_t kMaxFileSize = (std::uint64_t{1} << 44) - 4096;  // ext4 with 4 KiB blocks
constexpr std::size_t kMaxPath = 4096;
constexpr std::size_t kMaxXattrs = 128;
constexpr std::size_t kMaxXattrName = 255;  // as the kernel: XATTR_NAME_MAX; ext4 has one byte for it
// Of one entry, long names, attributes and maps of sparse files included; libarchive keeps all of it in memory.
constexpr std::uint64_t kMaxTarHeader = 1024 * 1024;
// Real layers reach 20; a file of zeros of this size is let through, more is a bomb.
constexpr std::uint64_t kUnpackedWhateverTheRatio = std::uint64_t{1} << 30;
constexpr std::uint64_t kMaxRatio = 50;

std::string text(const char* value) { return value == nullptr ? std::string() : std::string(value); }

enum class Packing { kNone, kGzip, kZstd };

Result<Packing> packing_of(int fd, const std::string& what) {
  std::array<std::byte, 4> magic = {};
  TRY_ASSIGN(const std::size_t count, sys::read_full(fd, magic));
  if (::lseek(fd, 0, SEEK_SET) < 0) return fail_errno("{}: seek", what);
  const std::string_view begin(reinterpret_cast<const char*>(magic.data()), count);
  if (begin.starts_with("\x1f\x8b")) return Packing::kGzip;
  if (begin == "\x28\xb5\x2f\xfd") return Packing::kZstd;
  return Packing::kNone;
}

// What libarchive warns of and still hands on as it is. Of anything else it has only understood a part.
bool is_harmless(std::string_view warning) {
  const bool other_character_set = warning.find("can't be converted") != std::string_view::npos;
  const bool access_control_list = warning.find("ACL") != std::string_view::npos;  // kept by nobody in an image
  return other_character_set || access_control_list;
}

std::optional<FileType> type_of(archive_entry* raw) {
  if (archive_entry_hardlink(raw) != nullptr) return FileType::kHardLink;
  switch (archive_entry_filetype(raw)) {
    case AE_IFREG:
      return FileType::kRegular;
    case AE_IFDIR:
      return FileType::kDirectory;
    case AE_IFLNK:
      return FileType::kSymlink;
    case AE_IFCHR:
      return FileType::kCharDevice;
    case AE_IFBLK:
      return FileType::kBlockDevice;
    case AE_IFIFO:
      return FileType::kFifo;
    default:
      return std::nullopt;
  }
}

}  // namespace

struct LayerReader::Impl {
  std::string what;
  std::uint64_t* budget;
  JobMonitor* monitor;
  UniqueFd fd;
  std::uint64_t packed_size = 0;
  ArchivePtr outer;                // for gzip and for what is not compressed
  std::optional<ZstdStream> zstd;  // instead of it
  ArchivePtr inner;
  Sha256 hash = {};
  std::uint64_t unpacked = 0;
  std::optional<std::uint64_t> header_room = {};  // while libarchive reads one: what it may still take
  std::optional<Error> error = {};                // of the callback, which cannot return one
  bool stream_ended = false;                      // libarchive may not be asked again after either end
  bool archive_ended = false;
  bool in_entry = false;

  std::unexpected<Error> broken(archive* a) {
    if (error) return std::unexpected(*error);
    return fail(ErrorCode::kCorrupt, "{} is damaged: {}", what, text(archive_error_string(a)));
  }

  Result<void> open_outer(bool gzip) {
    archive* a = outer.get();
    if (gzip && archive_read_append_filter(a, ARCHIVE_FILTER_GZIP) != ARCHIVE_OK) return broken(a);
    archive_read_support_format_raw(a);
    archive_read_support_format_empty(a);
    if (archive_read_open_fd(a, fd.get(), kLayerReadBlock) != ARCHIVE_OK) return broken(a);
    archive_entry* raw = nullptr;
    const int status = archive_read_next_header(a, &raw);
    if (status != ARCHIVE_OK && status != ARCHIVE_EOF) return broken(a);
    stream_ended = status == ARCHIVE_EOF;
    return {};
  }

  // Empty at the end of the stream.
  Result<std::span<const std::byte>> decompress() {
    if (zstd) return zstd->next();
    const void* data = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    int status = ARCHIVE_OK;
    do {
      status = archive_read_data_block(outer.get(), &data, &size, &offset);
    } while (status == ARCHIVE_OK && size == 0);
    if (status == ARCHIVE_EOF) return std::span<const std::byte>();
    if (status != ARCHIVE_OK) return broken(outer.get());
    return std::span<const std::byte>(static_cast<const std::byte*>(data), size);
  }

  // The next piece of the uncompressed stream; empty at its end. Valid until the next call.
  Result<std::span<const std::byte>> pull() {
    TRY(monitor->check());
    if (stream_ended) return std::span<const std::byte>();
    TRY_ASSIGN(const std::span<const std::byte> bytes, decompress());
    stream_ended = bytes.empty();
    if (bytes.size() > *budget) {
      return fail(ErrorCode::kResourceExhausted, "{}: the image unpacks to more than is allowed", what);
    }
    *budget -= bytes.size();
    unpacked += bytes.size();
    if (unpacked > kUnpackedWhateverTheRatio && unpacked / kMaxRatio > packed_size) {
      return fail(ErrorCode::kResourceExhausted, "{} unpacks to more than {} times its size", what, kMaxRatio);
    }
    if (header_room && bytes.size() > *header_room) {
      return fail(ErrorCode::kCorrupt, "{} is damaged: one entry's headers are larger than {} KiB", what, kMaxTarHeader / 1024);
    }
    if (header_room) *header_room -= bytes.size();
    hash.update(bytes);
    return bytes;
  }

  static la_ssize_t read_callback(archive* a, void* user, const void** buffer) {
    auto& self = *static_cast<Impl*>(user);
    auto bytes = self.pull();
    if (!bytes) {
      self.error = std::move(bytes).error();
      archive_set_error(a, EIO, "stopped");
      return -1;
    }
    *buffer = bytes->data();
    return static_cast<la_ssize_t>(bytes->size());
  }
};

LayerReader::LayerReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LayerReader::LayerReader(LayerReader&&) noexcept = default;
LayerReader::~LayerReader() = default;

Result<LayerReader> LayerReader::open(const std::string& path, const std::string& what, std::uint64_t& budget,
                                      JobMonitor& monitor) {
  TRY_ASSIGN(UniqueFd fd, sys::open(path, O_RDONLY | O_NOFOLLOW));
  TRY_ASSIGN(const struct stat status, sys::fstat(fd.get()));
  TRY_ASSIGN(const Packing packing, packing_of(fd.get(), what));
  std::unique_ptr<Impl> impl(new Impl{.what = what,
                                      .budget = &budget,
                                      .monitor = &monitor,
                                      .fd = std::move(fd),
                                      .packed_size = static_cast<std::uint64_t>(status.st_size),
                                      .outer = ArchivePtr(archive_read_new()),
                                      .zstd = {},
                                      .inner = ArchivePtr(archive_read_new())});
  if (packing == Packing::kZstd) {
    TRY_ASSIGN(impl->zstd, ZstdStream::open(impl->fd.get(), what));
  } else {
    TRY(impl->open_outer(packing == Packing::kGzip));
  }
  archive* inner = impl->inner.get();
  archive_read_support_format_tar(inner);
  archive_read_support_format_empty(inner);
  if (archive_read_open(inner, impl.get(), nullptr, Impl::read_callback, nullptr) != ARCHIVE_OK) return impl->broken(inner);
  return LayerReader(std::move(impl));
}

Result<bool> LayerReader::next(LayerEntry& entry) {
  if (impl_->archive_ended) return false;
  archive* inner = impl_->inner.get();
  // The content of the entry before is skipped first: what is read after it counts as this one's headers.
  if (impl_->in_entry && archive_read_data_skip(inner) < ARCHIVE_WARN) return impl_->broken(inner);
  archive_entry* raw = nullptr;
  impl_->header_room = kMaxTarHeader;
  const int status = archive_read_next_header(inner, &raw);
  impl_->header_room.reset();
  impl_->in_entry = status == ARCHIVE_OK || status == ARCHIVE_WARN;
  if (status == ARCHIVE_EOF) {
    impl_->archive_ended = true;
    return false;
  }
  if (!impl_->in_entry) return impl_->broken(inner);
  if (status == ARCHIVE_WARN && !is_harmless(text(archive_error_string(inner)))) return impl_->broken(inner);

  entry = LayerEntry();
  entry.path = text(archive_entry_pathname(raw));
  const auto bad = [&](std::string_view reason) {
    return fail(ErrorCode::kCorrupt, "{}: entry \"{}\" {}", impl_->what, entry.path.substr(0, 200), reason);
  };
  const std::optional<FileType> type = type_of(raw);
  if (!type) return bad("is of an unknown type");
  entry.type = *type;
  if (entry.type == FileType::kHardLink) entry.link = text(archive_entry_hardlink(raw));
  if (entry.type == FileType::kSymlink) entry.link = text(archive_entry_symlink(raw));
  if (entry.path.size() > kMaxPath || entry.link.size() > kMaxPath) return bad("has a name that is too long");
  const la_int64_t uid = archive_entry_uid(raw);
  const la_int64_t gid = archive_entry_gid(raw);
  constexpr la_int64_t kMaxId = 0xfffffffe;
  if (uid < 0 || uid > kMaxId || gid < 0 || gid > kMaxId) return bad("has an owner that is out of range");
  entry.uid = static_cast<std::uint32_t>(uid);
  entry.gid = static_cast<std::uint32_t>(gid);
  entry.mode = archive_entry_perm(raw) & 07777U;
  entry.mtime_seconds = archive_entry_mtime(raw);
  entry.mtime_nanoseconds = static_cast<std::uint32_t>(archive_entry_mtime_nsec(raw));
  if (entry.mtime_nanoseconds >= 1'000'000'000) return bad("has a time that is out of range");
  if (entry.type == FileType::kRegular) {
    const la_int64_t size = archive_entry_size(raw);
    if (size < 0 || static_cast<std::uint64_t>(size) > kMaxFileSize) return bad("has a size that is out of range");
    entry.size = static_cast<std::uint64_t>(size);
  }
  if (entry.type == FileType::kCharDevice || entry.type == FileType::kBlockDevice) {
    entry.device_major = static_cast<std::uint32_t>(archive_entry_rdevmajor(raw));
    entry.device_minor = static_cast<std::uint32_t>(archive_entry_rdevminor(raw));
    if (entry.device_major > 0xfff || entry.device_minor > 0xfffff) return bad("has a device number that is out of range");
  }
  if (static_cast<std::size_t>(archive_entry_xattr_reset(raw)) > kMaxXattrs) return bad("has too many extended attributes");
  const char* name = nullptr;
  const void* value = nullptr;
  std::size_t size = 0;
  while (archive_entry_xattr_next(raw, &name, &value, &size) == ARCHIVE_OK) {
    // Some writers store each attribute twice, in two dialects (SCHILY.xattr, LIBARCHIVE.xattr).
    std::string key = text(name);
    if (std::ranges::find(entry.xattrs, key, &std::pair<std::string, std::string>::first) != entry.xattrs.end()) continue;
    if (key.size() > kMaxXattrName) return bad("has an extended attribute with a name that is too long");
    entry.xattrs.emplace_back(std::move(key), std::string(static_cast<const char*>(value), size));
  }
  return true;
}

Result<void> LayerReader::content(const std::function<Result<void>(std::uint64_t, std::span<const std::byte>)>& sink) {
  for (;;) {
    const void* data = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    const int status = archive_read_data_block(impl_->inner.get(), &data, &size, &offset);
    if (status == ARCHIVE_EOF) return {};
    if (status != ARCHIVE_OK) return impl_->broken(impl_->inner.get());
    if (size != 0) TRY(sink(static_cast<std::uint64_t>(offset), {static_cast<const std::byte*>(data), size}));
  }
}

Result<Digest> LayerReader::finish() {
  LayerEntry rest;
  for (;;) {
    TRY_ASSIGN(const bool more, next(rest));
    if (!more) break;
  }
  for (;;) {
    TRY_ASSIGN(const std::span<const std::byte> bytes, impl_->pull());
    if (bytes.empty()) return impl_->hash.finish();
  }
}

}  // namespace boxlite::image
