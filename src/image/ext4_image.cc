#include "image/ext4_image.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ext2fs/ext2fs.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/sys.h"
#include "image/ext4_directory.h"

namespace boxlite::image {
namespace {

constexpr std::uint64_t kBytesPerInode = 16384;    // mkfs.ext4's default
constexpr std::uint32_t kMaxExtentBlocks = 32768;  // EXT_INIT_MAX_LEN
constexpr std::uint32_t kMaxLinks = 65000;         // EXT4_LINK_MAX
constexpr std::size_t kFastLinkBytes = 60;         // fits into i_block, its NUL included
constexpr std::uint16_t kInodeSize = 256;
constexpr std::uint32_t kExtraInodeBytes = sizeof(ext2_inode_large) - EXT2_GOOD_OLD_INODE_SIZE;
constexpr std::uint64_t kDirectoryBuffer = 256;       // blocks of a directory that are written at once
constexpr std::uint64_t kLostAndFoundBlocks = 4;      // as mkfs: room for e2fsck without allocation
constexpr std::uint32_t kGrowthLimitGdtBlocks = 255;  // descriptors for 2 TiB: the most that online growth is prepared for

std::uint16_t type_bits(FileType type) {
  switch (type) {
    case FileType::kDirectory:
      return LINUX_S_IFDIR;
    case FileType::kSymlink:
      return LINUX_S_IFLNK;
    case FileType::kCharDevice:
      return LINUX_S_IFCHR;
    case FileType::kBlockDevice:
      return LINUX_S_IFBLK;
    case FileType::kFifo:
      return LINUX_S_IFIFO;
    case FileType::kRegular:
    case FileType::kHardLink:
      return LINUX_S_IFREG;
  }
  return LINUX_S_IFREG;
}

// Linux' new_encode_dev() and old_encode_dev().
void set_device(ext2_inode& inode, std::uint32_t major, std::uint32_t minor) {
  if (major < 256 && minor < 256) {
    inode.i_block[0] = (major << 8) | minor;
  } else {
    inode.i_block[1] = (minor & 0xff) | (major << 8) | ((minor & ~0xffU) << 12);
  }
}

// 34 bits of seconds: the low 32 as a signed number, two more in the extra field (kernel: ext4_encode_extra_time).
void set_times(ext2_inode_large& inode, std::int64_t seconds, std::uint32_t nanoseconds) {
  constexpr std::int64_t kEarliest = std::numeric_limits<std::int32_t>::min();
  const std::int64_t clamped = std::clamp(seconds, kEarliest, kEarliest + (std::int64_t{1} << 34) - 1);
  const auto low = static_cast<std::uint32_t>(clamped & 0xffffffff);
  const auto epoch = static_cast<std::uint32_t>(((clamped - static_cast<std::int32_t>(low)) >> 32) & 3);
  const std::uint32_t extra = epoch | (nanoseconds << 2);
  inode.i_atime = inode.i_ctime = inode.i_mtime = inode.i_crtime = low;
  inode.i_atime_extra = inode.i_ctime_extra = inode.i_mtime_extra = inode.i_crtime_extra = extra;
}

ext2_inode_large make_inode(const FileFacts& entry, std::uint32_t links) {
  ext2_inode_large inode = {};
  inode.i_mode = static_cast<std::uint16_t>(type_bits(entry.type) | entry.mode);
  inode.i_uid = static_cast<std::uint16_t>(entry.uid & 0xffff);
  inode.i_gid = static_cast<std::uint16_t>(entry.gid & 0xffff);
  inode.osd2.linux2.l_i_uid_high = static_cast<std::uint16_t>(entry.uid >> 16);
  inode.osd2.linux2.l_i_gid_high = static_cast<std::uint16_t>(entry.gid >> 16);
  // dir_nlink: 1 says "too many subdirectories to count".
  inode.i_links_count = static_cast<std::uint16_t>(links >= kMaxLinks ? 1 : links);
  inode.i_extra_isize = static_cast<std::uint16_t>(kExtraInodeBytes);
  set_times(inode, entry.mtime_seconds, entry.mtime_nanoseconds);
  return inode;
}

ext2_inode* small(ext2_inode_large& inode) { return reinterpret_cast<ext2_inode*>(&inode); }

void set_size(ext2_inode_large& inode, std::uint64_t size) {
  inode.i_size = static_cast<std::uint32_t>(size & 0xffffffff);
  inode.i_size_high = static_cast<std::uint32_t>(size >> 32);
}

bool is_acl(std::string_view xattr) { return xattr == "system.posix_acl_access" || xattr == "system.posix_acl_default"; }

// The kernel knows attributes by a number for their prefix; others it could not name, and no container engine keeps them.
bool is_storable(std::string_view xattr) {
  const auto of_class = [&](std::string_view prefix) { return xattr.starts_with(prefix) && xattr.size() > prefix.size(); };
  if (xattr.starts_with("trusted.overlay.")) return false;  // overlayfs' own notes, of where the layer was made
  return of_class("user.") || of_class("security.") || of_class("trusted.") || is_acl(xattr);
}

void fill_parameters(ext2_super_block& parameters, const Ext4Image::Options& options) {
  const std::uint64_t blocks = options.disk_bytes / kBlockSize;
  ext2fs_blocks_count_set(&parameters, blocks);
  parameters.s_rev_level = EXT2_DYNAMIC_REV;
  parameters.s_log_block_size = 2;
  parameters.s_log_cluster_size = 2;
  parameters.s_inode_size = kInodeSize;
  parameters.s_inodes_count =
      std::max(static_cast<std::uint32_t>(std::min<std::uint64_t>(options.disk_bytes / kBytesPerInode, 0xfffffff0)),
               options.inodes_wanted);
  parameters.s_feature_compat = EXT2_FEATURE_COMPAT_EXT_ATTR | EXT2_FEATURE_COMPAT_RESIZE_INODE | EXT2_FEATURE_COMPAT_DIR_INDEX;
  parameters.s_feature_incompat = EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_EXTENTS | EXT4_FEATURE_INCOMPAT_64BIT |
                                  EXT4_FEATURE_INCOMPAT_FLEX_BG;
  parameters.s_feature_ro_compat = EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE |
                                   EXT4_FEATURE_RO_COMPAT_HUGE_FILE | EXT4_FEATURE_RO_COMPAT_DIR_NLINK |
                                   EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE | EXT4_FEATURE_RO_COMPAT_METADATA_CSUM;
  parameters.s_log_groups_per_flex = 4;
  parameters.s_reserved_gdt_blocks = static_cast<std::uint16_t>(kGrowthLimitGdtBlocks);
}

}  // namespace

struct Ext4Image::Impl {
  std::string path;
  std::string what;
  UniqueFd file;
  ext2_filsys fs = nullptr;
  std::uint64_t cursor = 0;  // blocks before it are used

  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    if (fs != nullptr) ext2fs_free(fs);
  }

  std::unexpected<Error> failure(errcode_t code, std::string_view doing) const {
    constexpr errcode_t kLargestErrno = 4095;
    if (code > 0 && code <= kLargestErrno) {
      return std::unexpected(Error::from_errno(static_cast<int>(code), fmt::format("{} {}", doing, path)));
    }
    // libext2fs' file access says only that a write was cut short; on a regular file that is a full disk.
    if (code == EXT2_ET_SHORT_WRITE) {
      return std::unexpected(Error::from_errno(ENOSPC, fmt::format("{} {}", doing, path)));
    }
    if (code == EXT2_ET_BLOCK_ALLOC_FAIL || code == EXT2_ET_INODE_ALLOC_FAIL || code == EXT2_ET_TOOSMALL) return full();
    return fail(ErrorCode::kInternal, "{} {}: {}", doing, path, error_message(code));
  }
  std::unexpected<Error> full() const {
    return fail(ErrorCode::kResourceExhausted, "{} does not fit on a disk of {} MiB; choose a larger --disk-size", what,
                ext2fs_blocks_count(fs->super) / 256);
  }

  Result<void> lay_out(const Options& options);
  Result<Extent> allocate(std::uint64_t wanted);
  Result<void> put_inode(std::uint32_t number, ext2_inode_large& inode, const FileFacts& entry, std::span<const Extent> extents);
  Result<void> put_extents(std::uint32_t number, ext2_inode_large& inode, std::span<const Extent> extents);
  Result<void> put_xattrs(std::uint32_t number, const FileFacts& entry);
};

#define TRY_EXT2(call, doing)                                                     \
  do {                                                                            \
    if (const errcode_t code_ = (call); code_ != 0) return failure(code_, doing); \
  } while (false)

// What mkfs does after the superblock: tables, own inodes, journal, room for growth.
Result<void> Ext4Image::Impl::lay_out(const Options& options) {
  ext2_super_block* super = fs->super;
  fs->now = 1;  // not the time of day: the same image gives the same bytes
  std::memcpy(super->s_uuid, options.seed.data(), sizeof super->s_uuid);
  std::memcpy(super->s_hash_seed, options.seed.data() + sizeof super->s_uuid, sizeof super->s_hash_seed);
  super->s_uuid[6] = static_cast<std::uint8_t>((super->s_uuid[6] & 0x0f) | 0x80);  // RFC 9562: version 8, of our own making
  super->s_uuid[8] = static_cast<std::uint8_t>((super->s_uuid[8] & 0x3f) | 0x80);
  super->s_checksum_type = EXT2_CRC32C_CHKSUM;
  super->s_def_hash_version = EXT2_HASH_HALF_MD4;
  super->s_flags |= EXT2_FLAGS_SIGNED_HASH;
  super->s_default_mount_opts = EXT2_DEFM_XATTR_USER | EXT2_DEFM_ACL;
  super->s_min_extra_isize = super->s_want_extra_isize = static_cast<std::uint16_t>(kExtraInodeBytes);
  super->s_max_mnt_count = -1;
  super->s_mkfs_time = super->s_lastcheck = static_cast<std::uint32_t>(fs->now);
  ext2fs_init_csum_seed(fs);
  TRY_EXT2(ext2fs_allocate_tables(fs), "lay out");
  for (dgrp_t group = 0; group < fs->group_desc_count; ++group) ext2fs_bg_flags_set(fs, group, EXT2_BG_INODE_ZEROED);
  for (std::uint32_t number = EXT2_BAD_INO; number < kFirstInode; ++number) {
    ext2fs_inode_alloc_stats2(fs, number, +1, number == kRootInode ? 1 : 0);
  }
  TRY_EXT2(ext2fs_create_resize_inode(fs), "lay out");
  const int journal_blocks = ext2fs_default_journal_size(ext2fs_blocks_count(super));
  TRY_EXT2(ext2fs_add_journal_inode2(fs, static_cast<blk_t>(journal_blocks), ~std::uint64_t{0},
                                     EXT2_MKJOURNAL_LAZYINIT | EXT2_MKJOURNAL_NO_MNT_CHECK),
           "make the journal of");
  return {};
}

Result<Extent> Ext4Image::Impl::allocate(std::uint64_t wanted) {
  const std::uint64_t last = ext2fs_blocks_count(fs->super) - 1;
  blk64_t start = 0;
  if (cursor > last || ext2fs_find_first_zero_block_bitmap2(fs->block_map, cursor, last, &start) != 0) return full();
  const std::uint64_t end = std::min<std::uint64_t>(start + std::min<std::uint64_t>(wanted, kMaxExtentBlocks), last + 1);
  blk64_t used = 0;
  if (ext2fs_find_first_set_block_bitmap2(fs->block_map, start, end - 1, &used) != 0) used = end;
  const auto count = static_cast<std::uint32_t>(used - start);
  ext2fs_block_alloc_stats_range(fs, start, count, +1);
  cursor = start + count;
  return Extent{.logical = 0, .physical = start, .count = count};
}

Result<void> Ext4Image::Impl::put_extents(std::uint32_t number, ext2_inode_large& inode, std::span<const Extent> extents) {
  inode.i_flags |= EXT4_EXTENTS_FL;
  std::uint64_t blocks = 0;
  for (const Extent& extent : extents) blocks += extent.count;
  TRY_EXT2(ext2fs_iblk_set(fs, small(inode), blocks), "write to");
  ext2_extent_handle_t handle = nullptr;
  TRY_EXT2(ext2fs_extent_open2(fs, number, small(inode), &handle), "write to");
  errcode_t code = 0;
  for (const Extent& extent : extents) {
    ext2fs_extent raw = {};
    raw.e_lblk = extent.logical;
    raw.e_pblk = extent.physical;
    raw.e_len = extent.count;
    code = ext2fs_extent_insert(handle, EXT2_EXTENT_INSERT_AFTER, &raw);
    if (code == 0) code = ext2fs_extent_fix_parents(handle);
    if (code != 0) break;
  }
  ext2fs_extent_free(handle);
  if (code != 0) return failure(code, "write to");
  return {};
}

Result<void> Ext4Image::Impl::put_xattrs(std::uint32_t number, const FileFacts& entry) {
  if (std::ranges::none_of(entry.xattrs, [](const auto& xattr) { return is_storable(xattr.first); })) return {};
  ext2_xattr_handle* handle = nullptr;
  TRY_EXT2(ext2fs_xattrs_open(fs, number, &handle), "write to");
  errcode_t code = ext2fs_xattrs_read(handle);
  for (const auto& [name, value] : entry.xattrs) {
    if (code != 0 || !is_storable(name)) continue;
    code = ext2fs_xattr_set(handle, std::string(name).c_str(), value.data(), value.size());
    // It is parsed there, being stored in another form.
    if (is_acl(name) && (code == EINVAL || code == ENOMEM)) {
      ext2fs_xattrs_close(&handle);
      return fail(ErrorCode::kCorrupt, "{}: a file's attribute {} is damaged", what, name);
    }
  }
  ext2fs_xattrs_close(&handle);
  if (code == EXT2_ET_EA_NO_SPACE) {
    return fail(ErrorCode::kUnsupported, "{}: a file has more extended attributes than ext4 holds (about 4000 bytes)", what);
  }
  if (code != 0) return failure(code, "write to");
  return {};
}

Result<void> Ext4Image::Impl::put_inode(std::uint32_t number, ext2_inode_large& inode, const FileFacts& entry,
                                        std::span<const Extent> extents) {
  const bool has_blocks = entry.type == FileType::kRegular || entry.type == FileType::kDirectory || !extents.empty();
  if (has_blocks) TRY(put_extents(number, inode, extents));
  TRY_EXT2(ext2fs_write_inode_full(fs, number, small(inode), sizeof inode), "write to");
  return put_xattrs(number, entry);
}

Ext4Image::Ext4Image(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Ext4Image::Ext4Image(Ext4Image&&) noexcept = default;
Ext4Image::~Ext4Image() = default;

Result<Ext4Image> Ext4Image::create(const std::string& path, const std::string& what, const Options& options) {
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->what = what;
  TRY_ASSIGN(impl->file, sys::open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  const std::uint64_t bytes = options.disk_bytes / kBlockSize * kBlockSize;
  if (::ftruncate(impl->file.get(), static_cast<off_t>(bytes)) < 0) return fail_errno("truncate {}", path);
  initialize_ext2_error_table();
  ext2_super_block parameters = {};
  fill_parameters(parameters, options);
  const errcode_t code =
      ext2fs_initialize(path.c_str(), EXT2_FLAG_RW | EXT2_FLAG_64BITS, &parameters, unix_io_manager, &impl->fs);
  if (code != 0) {
    impl->fs = nullptr;
    return impl->failure(code, "make the file system in");
  }
  TRY(impl->lay_out(options));
  return Ext4Image(std::move(impl));
}

void Ext4Image::use_inode(std::uint32_t number, bool directory) {
  ext2fs_inode_alloc_stats2(impl_->fs, number, +1, directory ? 1 : 0);
}

Result<void> Ext4Image::write_blocks(std::uint64_t logical, std::span<const std::byte> blocks, std::vector<Extent>& extents) {
  while (!blocks.empty()) {
    TRY_ASSIGN(Extent extent, impl_->allocate(blocks.size() / kBlockSize));
    extent.logical = logical;
    const errcode_t code = io_channel_write_blk64(impl_->fs->io, extent.physical, static_cast<int>(extent.count), blocks.data());
    if (code != 0) return impl_->failure(code, "write to");
    logical += extent.count;
    blocks = blocks.subspan(std::size_t{extent.count} * kBlockSize);
    if (!extents.empty()) {
      Extent& last = extents.back();
      const bool adjacent = last.logical + last.count == extent.logical && last.physical + last.count == extent.physical;
      if (adjacent && last.count + extent.count <= kMaxExtentBlocks) {
        last.count += extent.count;
        continue;
      }
    }
    extents.push_back(extent);
  }
  return {};
}

Result<void> Ext4Image::write_inode(std::uint32_t number, const FileFacts& entry, std::uint32_t links,
                                    std::span<const Extent> extents) {
  if (links >= kMaxLinks)
    return fail(ErrorCode::kUnsupported, "{}: a file has {} names; ext4 allows {}", impl_->what, links, kMaxLinks);
  ext2_inode_large inode = make_inode(entry, links);
  std::vector<Extent> own;
  switch (entry.type) {
    case FileType::kCharDevice:
    case FileType::kBlockDevice:
      set_device(*small(inode), entry.device_major, entry.device_minor);
      break;
    case FileType::kSymlink: {
      if (entry.link.size() >= kBlockSize)
        return fail(ErrorCode::kUnsupported, "{}: a symbolic link is longer than ext4 allows", impl_->what);
      set_size(inode, entry.link.size());
      if (entry.link.size() < kFastLinkBytes) {
        std::memcpy(inode.i_block, entry.link.data(), entry.link.size());
        break;
      }
      std::vector<std::byte> block(kBlockSize);
      std::memcpy(block.data(), entry.link.data(), entry.link.size());
      TRY(write_blocks(0, block, own));
      extents = own;
      break;
    }
    case FileType::kRegular:
      set_size(inode, entry.size);
      break;
    case FileType::kFifo:
    case FileType::kDirectory:
    case FileType::kHardLink:
      break;
  }
  return impl_->put_inode(number, inode, entry, extents);
}

Result<void> Ext4Image::write_directory(std::uint32_t number, std::uint32_t parent, const FileFacts& entry, std::uint32_t links,
                                        const std::function<std::optional<DirectoryEntry>()>& next) {
  DirectoryBlocks packed(kBlockSize - sizeof(ext2_dir_entry_tail));
  std::vector<Extent> extents;
  std::uint64_t written = 0;
  const auto write_full = [&](std::uint64_t blocks) -> Result<void> {
    const std::span<std::byte> bytes = packed.bytes().first(blocks * kBlockSize);
    for (std::span<std::byte> rest = bytes; !rest.empty(); rest = rest.subspan(kBlockSize)) {
      ext2fs_initialize_dirent_tail(impl_->fs, EXT2_DIRENT_TAIL(rest.data(), kBlockSize));
      const errcode_t code = ext2fs_dir_block_csum_set(impl_->fs, number, reinterpret_cast<ext2_dir_entry*>(rest.data()));
      if (code != 0) return impl_->failure(code, "write to");
    }
    TRY(write_blocks(written, bytes, extents));
    written += blocks;
    packed.drop_front(blocks);
    return {};
  };
  packed.add({.name = ".", .inode = number, .type = FileType::kDirectory});
  packed.add({.name = "..", .inode = parent, .type = FileType::kDirectory});
  while (const std::optional<DirectoryEntry> child = next()) {
    packed.add(*child);
    if (packed.blocks() > kDirectoryBuffer) TRY(write_full(kDirectoryBuffer));
  }
  if (number == kFirstInode) {
    while (written + packed.blocks() < kLostAndFoundBlocks) packed.add_empty_block();
  }
  TRY(write_full(packed.blocks()));
  ext2_inode_large inode = make_inode(entry, links);
  set_size(inode, written * kBlockSize);
  return impl_->put_inode(number, inode, entry, extents);
}

Result<void> Ext4Image::finish() {
  ext2fs_set_gdt_csum(impl_->fs);
  ext2fs_mark_super_dirty(impl_->fs);
  const errcode_t code = ext2fs_close_free(&impl_->fs);
  if (code != 0) return impl_->failure(code, "write to");
  return sys::fsync(impl_->file.get(), impl_->path);
}

Result<std::uint64_t> ext4_content_bytes(const std::string& path) {
  ext2_filsys fs = nullptr;
  errcode_t code = ext2fs_open(path.c_str(), EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &fs);
  if (code != 0) return fail(ErrorCode::kCorrupt, "{} is not an ext4 image", path);
  ext2_inode_scan scan = nullptr;
  code = ext2fs_open_inode_scan(fs, 0, &scan);
  std::uint64_t bytes = 0;
  ext2_ino_t number = 0;
  ext2_inode inode = {};
  while (code == 0) {
    code = ext2fs_get_next_inode(scan, &number, &inode);
    if (code != 0 || number == 0) break;
    if (number >= kFirstInode && inode.i_links_count != 0 && LINUX_S_ISREG(inode.i_mode)) bytes += EXT2_I_SIZE(&inode);
  }
  if (scan != nullptr) ext2fs_close_inode_scan(scan);
  ext2fs_free(fs);
  if (code != 0) return fail(ErrorCode::kCorrupt, "{} cannot be read as an ext4 image", path);
  return bytes;
}

}  // namespace boxlite::image
