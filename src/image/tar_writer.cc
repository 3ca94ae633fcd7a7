#include "image/tar_writer.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>
#include <vector>

#include "base/sys.h"

namespace boxlite::image {
namespace {

constexpr std::size_t kCopyBlock = 256 * 1024;
constexpr int kMaxWorkers = 4;
// A smaller hole is written: each piece of data costs an entry of the archive's map.
constexpr std::uint64_t kLeastHole = 256 * 1024;
constexpr std::size_t kMaxExtents = 100'000;

struct Extent {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

// Where the file has data, in order; a hole smaller than `least_hole` counts as data.
Result<std::vector<Extent>> extents_of(int fd, std::uint64_t size, std::uint64_t least_hole, const std::string& name) {
  std::vector<Extent> extents;
  for (std::uint64_t at = 0; at < size;) {
    const off_t begin = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (begin < 0 && errno == ENXIO) break;
    if (begin < 0) return fail_errno("{}", name);
    const off_t end = ::lseek(fd, begin, SEEK_HOLE);
    if (end < 0) return fail_errno("{}", name);
    const Extent extent{.begin = static_cast<std::uint64_t>(begin), .end = std::min(size, static_cast<std::uint64_t>(end))};
    if (!extents.empty() && extent.begin - extents.back().end < least_hole) {
      extents.back().end = extent.end;
    } else {
      extents.push_back(extent);
    }
    at = extent.end;
  }
  return extents;
}

Result<std::size_t> read_at(int fd, std::span<std::byte> buffer, std::uint64_t offset, const std::string& name) {
  const ssize_t count = ::pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(offset));
  if (count < 0) return fail_errno("read {}", name);
  return static_cast<std::size_t>(count);
}

}  // namespace

void TarWriter::Free::operator()(archive* a) const { archive_write_free(a); }
void TarWriter::Free::operator()(ZSTD_CCtx_s* context) const { ZSTD_freeCCtx(context); }

TarWriter::TarWriter(std::string name, JobMonitor& monitor)
    : name_(std::move(name)), monitor_(monitor), writer_(archive_write_new()) {}

Result<void> TarWriter::open(int fd, Compression compression) {
  fd_ = fd;
  if (compression == Compression::kZstd) {
    compressor_.reset(ZSTD_createCCtx());
    if (!compressor_ || ZSTD_isError(ZSTD_CCtx_setParameter(compressor_.get(), ZSTD_c_checksumFlag, 1)) != 0)
      return fail(ErrorCode::kInternal, "{}: zstd cannot be begun", name_);
    compressed_.resize(ZSTD_CStreamOutSize());
    const auto workers = std::min(kMaxWorkers, static_cast<int>(std::thread::hardware_concurrency()));
    (void)ZSTD_CCtx_setParameter(compressor_.get(), ZSTD_c_nbWorkers, workers);  // a library without threads does it alone
  }
  if (archive_write_set_format_pax_restricted(writer_.get()) != ARCHIVE_OK ||
      archive_write_open(writer_.get(), this, nullptr, write_callback, nullptr) != ARCHIVE_OK) {
    return broken();
  }
  return {};
}

Result<void> TarWriter::directory(const std::string& path) {
  archive_entry* entry = archive_entry_new();
  archive_entry_set_filetype(entry, AE_IFDIR);
  archive_entry_set_perm(entry, 0755);
  return header(entry, path);
}

Result<void> TarWriter::text(const std::string& path, const std::string& bytes) {
  TRY(file_header(path, bytes.size()));
  return data(std::as_bytes(std::span(bytes)));
}

Result<void> TarWriter::file(const std::string& path, const std::string& source) {
  TRY_ASSIGN(const UniqueFd fd, sys::open(source, O_RDONLY | O_NOFOLLOW));
  TRY_ASSIGN(const struct stat st, sys::fstat(fd.get()));
  TRY(file_header(path, static_cast<std::uint64_t>(st.st_size)));
  std::vector<std::byte> buffer(kCopyBlock);
  for (;;) {
    TRY(monitor_.check());
    TRY_ASSIGN(const std::size_t count, sys::read(fd.get(), buffer));
    if (count == 0) return {};
    TRY(data(std::span(buffer).first(count)));
  }
}

Result<void> TarWriter::sparse_file(const std::string& path, int source) {
  TRY_ASSIGN(const struct stat st, sys::fstat(source));
  const auto size = static_cast<std::uint64_t>(st.st_size);
  std::uint64_t least_hole = kLeastHole;
  TRY_ASSIGN(std::vector<Extent> extents, extents_of(source, size, least_hole, path));
  while (extents.size() > kMaxExtents) {
    least_hole *= 4;
    TRY_ASSIGN(extents, extents_of(source, size, least_hole, path));
  }
  archive_entry* entry = archive_entry_new();
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_entry_set_perm(entry, 0644);
  archive_entry_set_size(entry, static_cast<la_int64_t>(size));
  const bool whole = extents.size() == 1 && extents.front().begin == 0 && extents.front().end == size;
  if (!whole && size > 0) {
    for (const Extent& extent : extents) {
      archive_entry_sparse_add_entry(entry, static_cast<la_int64_t>(extent.begin),
                                     static_cast<la_int64_t>(extent.end - extent.begin));
    }
    if (extents.empty()) archive_entry_sparse_add_entry(entry, static_cast<la_int64_t>(size), 0);
  }
  TRY(header(entry, path));
  // libarchive wants the bytes of holes too, and leaves them out.
  std::vector<std::byte> buffer(kCopyBlock);
  const std::vector<std::byte> zeros(kCopyBlock);
  auto extent = extents.begin();
  for (std::uint64_t at = 0; at < size;) {
    TRY(monitor_.check());
    while (extent != extents.end() && extent->end <= at) ++extent;
    const bool in_data = extent != extents.end() && extent->begin <= at;
    const std::uint64_t until = in_data ? extent->end : extent == extents.end() ? size : extent->begin;
    const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(kCopyBlock, until - at));
    std::span<const std::byte> piece = std::span(zeros).first(wanted);
    if (in_data) {
      TRY_ASSIGN(const std::size_t count, read_at(source, std::span(buffer).first(wanted), at, path));
      if (count == 0) return fail(ErrorCode::kIo, "{}: {} became shorter while it was read", name_, path);
      piece = std::span(buffer).first(count);
    }
    TRY(data(piece));
    at += piece.size();
  }
  return {};
}

Result<void> TarWriter::close() {
  if (archive_write_close(writer_.get()) != ARCHIVE_OK) return broken();
  if (auto ended = put({}, true); !ended) return std::unexpected(std::move(ended).error().context(name_));
  return {};
}

// Compressed if it is to be, to the descriptor.
Result<void> TarWriter::put(std::span<const std::byte> bytes, bool last) {
  if (!compressor_) return sys::write_all(fd_, bytes);
  ZSTD_inBuffer input{.src = bytes.data(), .size = bytes.size(), .pos = 0};
  for (;;) {
    ZSTD_outBuffer output{.dst = compressed_.data(), .size = compressed_.size(), .pos = 0};
    const std::size_t left = ZSTD_compressStream2(compressor_.get(), &output, &input, last ? ZSTD_e_end : ZSTD_e_continue);
    if (ZSTD_isError(left) != 0) return fail(ErrorCode::kInternal, "zstd: {}", ZSTD_getErrorName(left));
    TRY(sys::write_all(fd_, std::span<const std::byte>(compressed_).first(output.pos)));
    if (last ? left == 0 : input.pos == input.size) return {};
  }
}

std::ptrdiff_t TarWriter::write_callback(archive* a, void* user, const void* data, std::size_t size) {
  auto& self = *static_cast<TarWriter*>(user);
  if (auto written = self.put({static_cast<const std::byte*>(data), size}, false); !written) {
    self.error_ = std::move(written).error().context(self.name_);
    archive_set_error(a, EIO, "stopped");
    return -1;
  }
  return static_cast<std::ptrdiff_t>(size);
}

std::unexpected<Error> TarWriter::broken() {
  if (error_) return std::unexpected(*error_);
  const char* text = archive_error_string(writer_.get());
  return fail(ErrorCode::kIo, "{}: {}", name_, text == nullptr ? "cannot be written" : text);
}

Result<void> TarWriter::file_header(const std::string& path, std::uint64_t size) {
  archive_entry* entry = archive_entry_new();
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_entry_set_perm(entry, 0644);
  archive_entry_set_size(entry, static_cast<la_int64_t>(size));
  return header(entry, path);
}

Result<void> TarWriter::header(archive_entry* entry, const std::string& path) {
  archive_entry_copy_pathname(entry, path.c_str());
  archive_entry_set_mtime(entry, 0, 0);
  const int status = archive_write_header(writer_.get(), entry);
  archive_entry_free(entry);
  return status == ARCHIVE_OK ? Result<void>() : broken();
}

Result<void> TarWriter::data(std::span<const std::byte> bytes) {
  if (archive_write_data(writer_.get(), bytes.data(), bytes.size()) < 0) return broken();
  return {};
}

}  // namespace boxlite::image
