#include "image/staging.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>

#include "base/failpoint.h"
#include "base/file.h"
#include "base/ofd_lock.h"
#include "base/sys.h"
#include "image/base_disk.h"
#include "image/ext4_image.h"

namespace boxlite::image {
namespace {

// A base that exists is never replaced.
Result<void> commit_base(const std::string& built, const std::string& target) {
  // Read-only in its mode, before it has its name: nobody may ever open it for writing.
  if (::chmod(built.c_str(), 0444) < 0) return fail_errno("chmod {}", built);
  FAILPOINT("image.base.commit");
  if (::renameat2(AT_FDCWD, built.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) < 0 && errno != EEXIST) {
    return fail_errno("rename {} to {}", built, target);
  }
  return {};
}

Result<std::optional<OfdLock>> lock_store(int fd) {
  if (fd < 0) return std::nullopt;
  UniqueFd own(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!own) return fail_errno("duplicate the lock of the image store");
  TRY_ASSIGN(OfdLock lock, OfdLock::acquire(std::move(own), kStoreLockTimeout, OfdLock::Mode::kShared));
  return lock;
}

}  // namespace

Result<Staging> Staging::create(const JobRequest& request, JobMonitor& monitor) {
  TRY_ASSIGN(JobDirectory directory, JobDirectory::create(request.home));
  FAILPOINT("image.staging");
  TRY_ASSIGN(BlobStore store, BlobStore::open(request.home));
  TRY(ensure_directory(request.home + "/bases", 0700));
  return Staging(request, monitor, std::move(store), std::move(directory));
}

Result<bool> Staging::borrow(const Descriptor& blob) {
  if (has(blob.digest)) return true;
  TRY_ASSIGN(const bool borrowed, store_.borrow(blob.digest, blob.size, directory()));
  if (borrowed) add(blob.digest);
  return borrowed;
}

Result<bool> Staging::borrow(const Digest& digest) {
  const auto st = sys::stat(store_.path(digest));
  if (!st) return has(digest);
  return borrow(Descriptor{.media_type = {},
                           .digest = digest,
                           .size = static_cast<std::uint64_t>(st->st_size),
                           .platform = {},
                           .name = {},
                           .image_name = {}});
}

Result<void> Staging::give_back(const Digest& digest) {
  blobs_.erase(digest);
  return sys::unlink(path(digest));
}

Result<void> Staging::keep(std::string_view bytes, const Digest& digest, const std::string& what) {
  TRY_ASSIGN(BlobWriter writer, BlobWriter::create(directory(), digest, bytes.size(), what));
  TRY(writer.append(std::as_bytes(std::span(bytes))));
  TRY(writer.verify());
  add(digest);
  return {};
}

Result<void> Staging::check(const StagedImage& image) const {
  const std::size_t layers = image.manifest.layers.size();
  if (image.config.diff_ids.size() != layers) {
    return fail(ErrorCode::kCorrupt, "{} has {} layers and {} diff_ids", image.name, layers, image.config.diff_ids.size());
  }
  std::uint64_t total = 0;
  for (const Descriptor& layer : image.manifest.layers) {
    total += layer.size;
    // Compression does not make a layer larger, so this need not be fetched to be refused.
    if (total > request_->max_unpacked_bytes)
      return fail(ErrorCode::kResourceExhausted, "{}: the image unpacks to more than is allowed", image.name);
  }
  return {};
}

std::string Staging::base_path(const StagedImage& image) const {
  return fmt::format("{}/bases/{}", request_->home, base_file_name(image.manifest.config.digest.text()));
}

Result<std::string> Staging::build_base(const StagedImage& image) const {
  BaseDiskSpec spec{.image = image.name,
                    .image_id = image.manifest.config.digest,
                    .layers = {},
                    .disk_bytes = request_->disk_bytes,
                    .max_unpacked_bytes = request_->max_unpacked_bytes};
  for (std::size_t i = 0; i < image.manifest.layers.size(); ++i) {
    const Digest& digest = image.manifest.layers.at(i).digest;
    spec.layers.push_back({.path = path(digest),
                           .what = fmt::format("{}: layer {}", image.name, digest.text()),
                           .diff_id = image.config.diff_ids.at(i)});
  }
  std::string built = fmt::format("{}/{}", directory(), base_file_name(image.manifest.config.digest.text()));
  TRY(build_base_disk(spec, built, *monitor_));
  FAILPOINT("image.base.built");
  return built;
}

Result<void> Staging::publish() const {
  if (request_->keep_blobs) {
    for (const Digest& digest : blobs_) TRY(store_.publish(path(digest), digest));
    TRY(store_.sync());
  }
  for (const auto& [target, built] : built_) TRY(commit_base(built, target));
  FAILPOINT("image.published");
  return sync_directory(request_->home + "/bases");
}

Result<void> Staging::commit(const std::vector<StagedImage>& images) {
  for (;;) {
    for (const StagedImage& image : images) {
      const std::string base = base_path(image);
      if (built_.contains(base) || sys::stat(base)) continue;
      TRY_ASSIGN(built_[base], build_base(image));
    }
    FAILPOINT("image.commit");
    TRY_ASSIGN(std::optional<OfdLock> lock, lock_store(request_->store_lock_fd));
    const bool complete = std::ranges::all_of(images, [&](const StagedImage& image) {
      return built_.contains(base_path(image)) || sys::stat(base_path(image)).has_value();
    });
    if (!complete) continue;
    TRY(publish());
    if (lock) lock->hand_over();
    return {};
  }
}

Result<ImageInfo> Staging::info(const StagedImage& image, const std::string& reference) const {
  ImageInfo info;
  info.reference = reference;
  info.id = image.manifest.config.digest.text();
  info.manifest_digest = image.manifest_digest.text();
  info.platform = to_string(image.config.platform);
  info.created = image.config.created;
  for (const Descriptor& layer : image.manifest.layers) {
    info.size_bytes += layer.size;
    info.layers.push_back(layer.digest.text());
  }
  for (const Digest& diff_id : image.config.diff_ids) info.diff_ids.push_back(diff_id.text());
  TRY_ASSIGN(info.unpacked_bytes, ext4_content_bytes(base_path(image)));
  info.config = image.config.config;
  return info;
}

}  // namespace boxlite::image
