#include "image/spooled_archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>

#include <filesystem>
#include <memory>

#include "base/file.h"
#include "base/sys.h"
#include "image/archive_ptr.h"
#include "image/sha256.h"

namespace boxlite::image {
namespace {

constexpr std::size_t kSpoolReadBlock = 256 * 1024;
constexpr std::size_t kMaxEntries = 100'000;
constexpr int kMaxLinksFollowed = 16;

// "./a//b/../c" and "/a/c" are "a/c". What leaves the archive names nothing in it.
std::string normal(std::string_view path) {
  while (path.starts_with('/')) path.remove_prefix(1);
  return std::filesystem::path(path).lexically_normal().string();
}

std::unexpected<Error> broken(archive* a, const std::string& name) {
  const char* text = archive_error_string(a);
  return fail(ErrorCode::kCorrupt, "{} is no tar archive, or damaged: {}", name, text == nullptr ? "cannot be read" : text);
}

// The current entry's contents.
Result<SpooledFile> spool_entry(archive* a, const std::string& name, const std::string& directory, std::uint64_t& budget,
                                JobMonitor& monitor) {
  const std::string temporary = directory + "/incoming";
  TRY_ASSIGN(const UniqueFd fd, sys::open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
  Sha256 hash;
  std::uint64_t size = 0;
  const auto take = [&](std::span<const std::byte> data) -> Result<void> {
    if (data.size() > budget) return fail(ErrorCode::kResourceExhausted, "{} unpacks to more than is allowed", name);
    budget -= data.size();
    TRY(monitor.check());
    if (auto written = sys::write_all(fd.get(), data); !written) return std::unexpected(written.error().context(temporary));
    hash.update(data);
    size += data.size();
    return {};
  };
  static const std::vector<std::byte> zeros(kSpoolReadBlock);
  for (;;) {
    const void* data = nullptr;
    std::size_t count = 0;
    la_int64_t offset = 0;
    const int status = archive_read_data_block(a, &data, &count, &offset);
    if (status == ARCHIVE_EOF) break;
    if (status != ARCHIVE_OK) return broken(a, name);
    while (size < static_cast<std::uint64_t>(offset)) {  // a hole
      TRY(take(std::span(zeros).first(std::min<std::uint64_t>(zeros.size(), static_cast<std::uint64_t>(offset) - size))));
    }
    TRY(take({static_cast<const std::byte*>(data), count}));
  }
  SpooledFile file{.digest = hash.finish(), .size = size};
  TRY(sys::rename(temporary, directory + "/" + file.digest.hex()));
  return file;
}

Result<ArchivePtr> open_archive(int fd, const std::string& name, bool raw) {
  ArchivePtr a(archive_read_new());
  for (const auto enable : {archive_read_support_filter_gzip, archive_read_support_filter_bzip2, archive_read_support_filter_xz,
                            archive_read_support_filter_lzma, archive_read_support_filter_zstd}) {
    if (enable(a.get()) != ARCHIVE_OK) return broken(a.get(), name);
  }
  if (raw) {
    archive_read_support_format_raw(a.get());
  } else {
    archive_read_support_format_tar(a.get());
  }
  if (archive_read_open_fd(a.get(), fd, kSpoolReadBlock) != ARCHIVE_OK) return broken(a.get(), name);
  return a;
}

}  // namespace

Result<SpooledArchive> SpooledArchive::read(int fd, const std::string& name, const std::string& directory, std::uint64_t limit,
                                            JobMonitor& monitor) {
  TRY_ASSIGN(const ArchivePtr a, open_archive(fd, name, false));
  SpooledArchive spooled(name, directory);
  for (std::size_t entries = 0;; ++entries) {
    archive_entry* entry = nullptr;
    const int status = archive_read_next_header(a.get(), &entry);
    if (status == ARCHIVE_EOF) return spooled;
    if (status != ARCHIVE_OK && status != ARCHIVE_WARN) return broken(a.get(), name);
    if (entries == kMaxEntries) return fail(ErrorCode::kResourceExhausted, "{} has more than {} entries", name, kMaxEntries);
    const char* raw_path = archive_entry_pathname(entry);
    const std::string path = normal(raw_path == nullptr ? "" : raw_path);
    spooled.files_.erase(path);  // the last entry of a name is the one that counts
    spooled.links_.erase(path);
    if (const char* target = archive_entry_hardlink(entry); target != nullptr) {
      spooled.links_[path] = normal(target);
    } else if (archive_entry_filetype(entry) == AE_IFLNK) {
      const char* link = archive_entry_symlink(entry);
      const std::string parent = path.substr(0, path.rfind('/') == std::string::npos ? 0 : path.rfind('/') + 1);
      spooled.links_[path] = normal(parent + (link == nullptr ? "" : link));
    } else if (archive_entry_filetype(entry) == AE_IFREG) {
      TRY_ASSIGN(SpooledFile file, spool_entry(a.get(), name, directory, limit, monitor));
      spooled.files_.emplace(path, std::move(file));
    }
  }
}

Result<SpooledFile> SpooledArchive::find(const std::string& path) const {
  std::string at = normal(path);
  for (int followed = 0; followed < kMaxLinksFollowed; ++followed) {
    if (const auto file = files_.find(at); file != files_.end()) return file->second;
    const auto link = links_.find(at);
    if (link == links_.end()) break;
    at = link->second;
  }
  return fail(ErrorCode::kNotFound, "{} holds no file {}", name_, path.substr(0, 200));
}

Result<std::string> SpooledArchive::contents(const std::string& path, std::size_t limit) const {
  TRY_ASSIGN(const SpooledFile file, find(path));
  if (file.size > limit) return fail(ErrorCode::kCorrupt, "{}: {} is larger than {} bytes", name_, path.substr(0, 200), limit);
  return read_file(directory_ + "/" + file.digest.hex(), limit);
}

Result<void> check_tar(const std::string& path, const std::string& name) {
  TRY_ASSIGN(const UniqueFd fd, sys::open(path, O_RDONLY | O_NOFOLLOW));
  TRY_ASSIGN(const ArchivePtr a, open_archive(fd.get(), name, false));
  archive_entry* entry = nullptr;
  if (archive_read_next_header(a.get(), &entry) == ARCHIVE_FATAL) return broken(a.get(), name);
  return {};
}

Result<SpooledFile> spool_uncompressed(int fd, const std::string& name, const std::string& directory, std::uint64_t limit,
                                       JobMonitor& monitor) {
  TRY_ASSIGN(const ArchivePtr a, open_archive(fd, name, true));
  archive_entry* entry = nullptr;
  const int status = archive_read_next_header(a.get(), &entry);
  if (status == ARCHIVE_EOF) return fail(ErrorCode::kCorrupt, "{} is empty", name);
  if (status != ARCHIVE_OK) return broken(a.get(), name);
  return spool_entry(a.get(), name, directory, limit, monitor);
}

}  // namespace boxlite::image
