#include "image/test_layer.h"

#include <archive.h>
#include <archive_entry.h>

#include <cstdlib>
#include <memory>

namespace boxlite::image {
namespace {

void check(bool ok) {
  if (!ok) std::abort();
}

unsigned archive_type(FileType type) {
  switch (type) {
    case FileType::kDirectory:
      return AE_IFDIR;
    case FileType::kSymlink:
      return AE_IFLNK;
    case FileType::kCharDevice:
      return AE_IFCHR;
    case FileType::kBlockDevice:
      return AE_IFBLK;
    case FileType::kFifo:
      return AE_IFIFO;
    case FileType::kRegular:
    case FileType::kHardLink:
      break;
  }
  return AE_IFREG;
}

la_ssize_t append(archive* /*a*/, void* user, const void* data, std::size_t size) {
  static_cast<std::string*>(user)->append(static_cast<const char*>(data), size);
  return static_cast<la_ssize_t>(size);
}

}  // namespace

std::string make_layer(const std::vector<TestFile>& files, Compression compression) {
  std::string bytes;
  const std::unique_ptr<archive, int (*)(archive*)> out(archive_write_new(), archive_write_free);
  check(archive_write_set_format_pax(out.get()) == ARCHIVE_OK);
  if (compression == Compression::kGzip) check(archive_write_add_filter_gzip(out.get()) == ARCHIVE_OK);
  if (compression == Compression::kZstd) check(archive_write_add_filter_zstd(out.get()) == ARCHIVE_OK);
  // Else only the plain archive is padded, and its digest is not that of the others' contents.
  check(archive_write_set_bytes_in_last_block(out.get(), 1) == ARCHIVE_OK);
  check(archive_write_open(out.get(), &bytes, nullptr, append, nullptr) == ARCHIVE_OK);
  for (const TestFile& file : files) {
    const LayerEntry& from = file.entry;
    const std::unique_ptr<archive_entry, void (*)(archive_entry*)> entry(archive_entry_new(), archive_entry_free);
    archive_entry_set_pathname(entry.get(), from.path.c_str());
    archive_entry_set_filetype(entry.get(), archive_type(from.type));
    archive_entry_set_perm(entry.get(), static_cast<mode_t>(from.mode));
    archive_entry_set_uid(entry.get(), from.uid);
    archive_entry_set_gid(entry.get(), from.gid);
    archive_entry_set_mtime(entry.get(), from.mtime_seconds, from.mtime_nanoseconds);
    archive_entry_set_rdevmajor(entry.get(), from.device_major);
    archive_entry_set_rdevminor(entry.get(), from.device_minor);
    if (from.type == FileType::kSymlink) archive_entry_set_symlink(entry.get(), from.link.c_str());
    if (from.type == FileType::kHardLink) archive_entry_set_hardlink(entry.get(), from.link.c_str());
    if (from.type == FileType::kRegular) archive_entry_set_size(entry.get(), static_cast<la_int64_t>(file.content.size()));
    for (const auto& [name, value] : from.xattrs)
      archive_entry_xattr_add_entry(entry.get(), name.c_str(), value.data(), value.size());
    check(archive_write_header(out.get(), entry.get()) >= ARCHIVE_WARN);
    check(archive_write_data(out.get(), file.content.data(), file.content.size()) ==
          static_cast<la_ssize_t>(file.content.size()));
  }
  check(archive_write_close(out.get()) == ARCHIVE_OK);
  return bytes;
}

}  // namespace boxlite::image
