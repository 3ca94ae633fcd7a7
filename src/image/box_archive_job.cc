#include "image/box_archive_job.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>

#include "base/file.h"
#include "base/sys.h"
#include "disk/qcow2.h"
#include "image/archive_ptr.h"
#include "image/box_archive.h"
#include "image/tar_writer.h"
#include "image/zstd_stream.h"

namespace boxlite::image {
namespace {

// libarchive reads a member's whole map of holes into memory, with its header.
constexpr std::uint64_t kMaxBoxHeader = std::uint64_t{8} << 20U;
// Behind the last member a tar has blocks of zeros, to fill a record.
constexpr std::uint64_t kMaxPadding = std::uint64_t{1} << 20U;
constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kLookAgain = std::uint64_t{64} << 20U;
constexpr std::uint64_t kMaxCheckpointRecord = std::uint64_t{64} << 10U;
constexpr std::uint64_t kMaxDeviceState = std::uint64_t{16} << 20U;
// An archive may not take the disk's last bytes from boxes that run.
constexpr std::uint64_t kSpared = std::uint64_t{256} << 20U;
constexpr mode_t kFrozen = 0444;

std::string layer_member(std::size_t index) { return fmt::format("layer-{}.qcow2", index); }

// The members that may come next, in the format's order.
class Order {
 public:
  /// The most bytes that a member of that name may have here; nullopt: it may not come now.
  std::optional<std::uint64_t> take(std::string_view name) {
    switch (next_) {
      case Next::kBox:
        return expect(name, kBoxMember, Next::kCheckpoint, kMaxBoxRecord);
      case Next::kCheckpoint:
        return expect(name, kCheckpointMember, Next::kBase, kMaxCheckpointRecord);
      case Next::kBase:
        return expect(name, kBaseMember, Next::kLayer, disk::kMaxVirtualSize);
      case Next::kLayer:
        if (layers_ < kMaxBoxLayers && name == layer_member(layers_)) {
          ++layers_;
          return disk::kMaxVirtualSize;
        }
        if (layers_ == 0) return std::nullopt;
        return expect(name, kMemoryMember, Next::kDeviceState, disk::kMaxVirtualSize);
      case Next::kDeviceState:
        return expect(name, kDeviceStateMember, Next::kEnd, kMaxDeviceState);
      case Next::kEnd:
        break;
    }
    return std::nullopt;
  }
  bool complete() const { return next_ == Next::kEnd || (next_ == Next::kLayer && layers_ > 0); }
  std::size_t layers() const { return layers_; }

 private:
  enum class Next { kBox, kCheckpoint, kBase, kLayer, kDeviceState, kEnd };
  std::optional<std::uint64_t> expect(std::string_view name, std::string_view wanted, Next then, std::uint64_t limit) {
    if (name != wanted) return std::nullopt;
    next_ = then;
    return limit;
  }
  Next next_ = Next::kBox;
  std::size_t layers_ = 0;
};

class Unpacking {
 public:
  Unpacking(const JobRequest& request, JobMonitor& monitor)
      : name_(request.archive_name), directory_(request.directory), monitor_(monitor) {}

  Result<void> run(int fd) {
    TRY(read_frame(fd));
    TRY(open(fd));
    for (;;) {
      archive_entry* entry = nullptr;
      header_left_ = kMaxBoxHeader;
      const int status = archive_read_next_header(reader_.get(), &entry);
      header_left_.reset();
      if (status == ARCHIVE_EOF) break;
      if (status != ARCHIVE_OK) return broken();
      TRY_ASSIGN(const std::string member, next_member(entry));
      TRY(unpack(member, static_cast<std::uint64_t>(archive_entry_size(entry))));
    }
    TRY(read_to_the_end());
    if (!order_.complete()) return fail(ErrorCode::kCorrupt, "{} is not whole: it ends too early", name_);
    return check_layers();
  }

 private:
  Result<void> read_frame(int fd) {
    std::string head(kBoxArchiveFrame.size() + kBoxArchiveText.size() + kBoxArchiveVersion.size(), '\0');
    const auto read = sys::read_full(fd, std::as_writable_bytes(std::span(head)));
    const std::size_t version = kBoxArchiveFrame.size() + kBoxArchiveText.size();
    if (!read || !head.starts_with(kBoxArchiveFrame.substr(0, 4)) ||
        head.substr(kBoxArchiveFrame.size(), kBoxArchiveText.size()) != kBoxArchiveText) {
      return fail(ErrorCode::kInvalidArgument, "{} is not the archive of a box; boxlite export writes one", name_);
    }
    if (!head.starts_with(kBoxArchiveFrame) || head.substr(version) != kBoxArchiveVersion) {
      return fail(ErrorCode::kUnsupported,
                  "{} has another version of the format than {}; import it with the boxlite that made it", name_,
                  kBoxArchiveVersion.substr(0, 1));
    }
    return {};
  }

  Result<void> open(int fd) {
    TRY_ASSIGN(stream_, ZstdStream::open(fd, name_));
    reader_.reset(archive_read_new());
    if (archive_read_support_format_tar(reader_.get()) != ARCHIVE_OK ||
        archive_read_open(reader_.get(), this, nullptr, read_callback, nullptr) != ARCHIVE_OK) {
      return broken();
    }
    return {};
  }

  static la_ssize_t read_callback(archive* a, void* user, const void** data) {
    auto& self = *static_cast<Unpacking*>(user);
    auto piece = self.next_piece();
    if (!piece) {
      self.error_ = std::move(piece).error();
      archive_set_error(a, EIO, "stopped");
      return -1;
    }
    *data = piece->data();
    return static_cast<la_ssize_t>(piece->size());
  }

  Result<std::span<const std::byte>> next_piece() {
    TRY(monitor_.check());
    TRY_ASSIGN(const std::span<const std::byte> piece, stream_->next());
    if (!header_left_) return piece;
    if (piece.size() > *header_left_) return fail(ErrorCode::kCorrupt, "{}: a member is in more pieces than may be", name_);
    *header_left_ -= piece.size();
    return piece;
  }

  // The checksum is at the end, and libarchive stops before it.
  Result<void> read_to_the_end() {
    for (std::uint64_t read = 0;;) {
      TRY_ASSIGN(const std::span<const std::byte> piece, stream_->next());
      if (piece.empty()) return {};
      read += piece.size();
      if (read > kMaxPadding) return fail(ErrorCode::kCorrupt, "{}: something is behind its end", name_);
    }
  }

  std::unexpected<Error> broken() const {
    if (error_) return std::unexpected(*error_);
    const char* text = archive_error_string(reader_.get());
    return fail(ErrorCode::kCorrupt, "{} is damaged: {}", name_, text == nullptr ? "it cannot be read" : text);
  }

  // What a piece takes on the disk, whole blocks. Others use that disk too, so it is looked at again and again.
  Result<void> charge(std::uint64_t at, std::uint64_t count) {
    const std::uint64_t taken = (at + count + kBlock - 1) / kBlock * kBlock - at / kBlock * kBlock;
    if (taken > budget_) {
      struct statvfs space = {};
      if (::statvfs(directory_.c_str(), &space) < 0) return fail_errno("{}", directory_);
      const std::uint64_t free = static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize;
      if (free < kSpared + taken) {
        return fail(ErrorCode::kResourceExhausted, "{} unpacks to more than there is room for in {}; make room, with boxlite gc",
                    name_, directory_.substr(0, directory_.rfind("/tmp/")));
      }
      budget_ = std::min(free - kSpared, taken + kLookAgain);
    }
    budget_ -= taken;
    return {};
  }

  Result<std::string> next_member(archive_entry* entry) {
    const char* path = archive_entry_pathname(entry);
    std::string member = path == nullptr ? "" : path;
    const auto limit = order_.take(member);
    const bool regular = archive_entry_filetype(entry) == AE_IFREG && archive_entry_hardlink(entry) == nullptr;
    if (!limit || !regular || archive_entry_size_is_set(entry) == 0)
      return fail(ErrorCode::kCorrupt, "{} is not the archive of a box: a member is there that may not be", name_);
    if (archive_entry_size(entry) < 0 || static_cast<std::uint64_t>(archive_entry_size(entry)) > *limit)
      return fail(ErrorCode::kCorrupt, "{}: {} is too large", name_, member);
    return member;
  }

  Result<void> unpack(const std::string& member, std::uint64_t size) {
    const std::string path = directory_ + "/" + member;
    TRY_ASSIGN(const UniqueFd fd, sys::open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    if (::ftruncate(fd.get(), static_cast<off_t>(size)) < 0) return fail_errno("{}", path);
    for (;;) {
      const void* data = nullptr;
      std::size_t count = 0;
      la_int64_t offset = 0;
      const int status = archive_read_data_block(reader_.get(), &data, &count, &offset);
      if (status == ARCHIVE_EOF) break;
      if (status != ARCHIVE_OK) return broken();
      if (count == 0) continue;
      const auto at = static_cast<std::uint64_t>(offset);
      if (offset < 0 || at > size || count > size - at)
        return fail(ErrorCode::kCorrupt, "{} is damaged: {} has data behind its end", name_, member);
      TRY(charge(at, count));
      if (::lseek(fd.get(), offset, SEEK_SET) < 0) return fail_errno("{}", path);
      if (auto written = sys::write_all(fd.get(), {static_cast<const std::byte*>(data), count}); !written)
        return std::unexpected(written.error().context(path));
    }
    const bool record = member == kBoxMember || member == kCheckpointMember;
    if (!record && ::fchmod(fd.get(), kFrozen) < 0) return fail_errno("{}", path);
    return sys::fsync(fd.get(), path);
  }

  Result<void> check_layers() const {
    for (std::size_t i = 0; i < order_.layers(); ++i) {
      if (auto safe = disk::check_layer(directory_ + "/" + layer_member(i)); !safe)
        return std::unexpected(safe.error().context(name_));
    }
    return {};
  }

  const std::string& name_;
  const std::string& directory_;
  JobMonitor& monitor_;
  std::optional<ZstdStream> stream_;
  ArchivePtr reader_;
  std::optional<Error> error_;  // of reading, behind libarchive's back
  std::optional<std::uint64_t> header_left_;
  Order order_;
  std::uint64_t budget_ = 0;
};

}  // namespace

Result<void> pack_box(const JobRequest& request, JobMonitor& monitor) {
  const std::string frame = fmt::format("{}{}{}", kBoxArchiveFrame, kBoxArchiveText, kBoxArchiveVersion);
  if (auto written = sys::write_all(request.archive_fd, std::as_bytes(std::span(frame))); !written)
    return std::unexpected(written.error().context(request.archive_name));
  TarWriter tar(request.archive_name, monitor);
  TRY(tar.open(request.archive_fd, TarWriter::Compression::kZstd));
  for (const JobMember& member : request.members) TRY(tar.sparse_file(member.name, member.fd));
  return tar.close();
}

Result<void> unpack_box(const JobRequest& request, JobMonitor& monitor) {
  return Unpacking(request, monitor).run(request.archive_fd);
}

}  // namespace boxlite::image
