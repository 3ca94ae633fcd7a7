#include "runtime/image_removal.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/failpoint.h"
#include "base/ofd_lock.h"
#include "base/sys.h"
#include "image/image_job.h"
#include "image/job_directory.h"
#include "image/reference.h"
#include "runtime/disk_reserve.h"
#include "runtime/images.h"

namespace boxlite {
namespace {

Result<OfdLock> lock_image_store(const HomePaths& paths) {
  return OfdLock::acquire(image::store_lock_path(paths.home()), image::kStoreLockTimeout, OfdLock::Mode::kExclusive);
}

std::string hex_of(const std::string& digest) { return digest.substr(digest.find(':') + 1); }

// The files of a directory whose names are not in `wanted`.
Result<void> add_unwanted(const std::string& directory, const std::set<std::string>& wanted, std::vector<std::string>& unwanted) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (!wanted.contains(entry.path().filename().string())) unwanted.push_back(entry.path().string());
  }
  if (error && error.value() != ENOENT) return std::unexpected(Error::from_errno(error.value(), "read " + directory));
  return {};
}

// The caller holds the store's lock, exclusively.
Result<std::vector<std::string>> find_garbage(const HomePaths& paths, const Database& database) {
  std::set<std::string> blobs;
  std::set<std::string> bases;
  TRY_ASSIGN(const std::vector<ImageInfo> images, database.images());
  for (const ImageInfo& image : images) {
    bases.insert(image::base_file_name(image.id));
    blobs.insert(hex_of(image.id));
    blobs.insert(hex_of(image.manifest_digest));
    for (const std::string& layer : image.layers) blobs.insert(hex_of(layer));
  }
  TRY_ASSIGN(const std::vector<BoxRow> boxes, database.boxes());
  for (const BoxRow& box : boxes) bases.insert(image::base_file_name(box.image_id));
  std::vector<std::string> garbage;
  TRY(add_unwanted(paths.bases(), bases, garbage));
  TRY(add_unwanted(paths.images() + "/blobs/sha256", blobs, garbage));
  return garbage;
}

Result<std::uint64_t> collect_garbage(const Context& context) {
  std::uint64_t reclaimed = 0;
  TRY_ASSIGN(const std::vector<std::string> garbage, find_garbage(context.paths, context.database));
  for (const std::string& path : garbage) {
    const auto st = sys::stat(path);
    TRY(sys::unlink(path));
    FAILPOINT("image.collect");
    // A file that a job has a name for as well goes with that job.
    if (st && st->st_nlink == 1) reclaimed += static_cast<std::uint64_t>(st->st_blocks) * 512;
  }
  return reclaimed;
}

Result<void> refuse_used(const Context& context, const std::string& image_id, const std::string& what, bool force) {
  TRY_ASSIGN(const std::vector<BoxRow> boxes, context.database.boxes());
  for (const BoxRow& box : boxes) {
    if (box.image_id != image_id) continue;
    TRY_ASSIGN(const bool running, OfdLock::held(context.paths.lease(box.id)));
    if (running) {
      return fail(ErrorCode::kInvalidState, "image {} is used by the running box {}; stop and remove that one first", what,
                  box.name);
    }
    if (!force) {
      return fail(ErrorCode::kInvalidState, "image {} is used by box {}; remove that one first (boxlite rm {}), or use -f", what,
                  box.name, box.name);
    }
  }
  return {};
}

// A deletion is written before it frees anything: also where no block is free.
Result<void> delete_rows(Context& context, const std::vector<std::string>& references) {
  const DiskReserve reserve(context.paths.reserve());
  TRY(context.database.delete_images(references));
  FAILPOINT("image.untag");
  return {};
}

bool has_name(const ImageInfo& image) { return image.reference != image.id; }

}  // namespace

Result<void> tag_image(Context& context, const std::string& source, const std::string& target) {
  TRY_ASSIGN(const image::Reference parsed, image::parse_reference(target));
  const auto* name = std::get_if<image::RegistryReference>(&parsed);
  if (name == nullptr || name->digest) {
    return fail(ErrorCode::kInvalidArgument, "\"{}\" cannot be given as a name; use NAME[:TAG]", target);
  }
  TRY_ASSIGN(const OfdLock store, share_image_store(context.paths));
  TRY_ASSIGN(FoundImage found, require_image(context.database, source));
  found.image.reference = image::to_string(parsed);
  FAILPOINT("image.tag");
  return context.database.put_images({found.image});
}

Result<ImageRemoval> remove_image(Context& context, const std::string& reference, bool force) {
  TRY_ASSIGN(const OfdLock store, lock_image_store(context.paths));
  TRY_ASSIGN(const FoundImage found, require_image(context.database, reference));
  TRY_ASSIGN(const std::vector<ImageInfo> images, context.database.images());
  std::vector<std::string> all;
  for (const ImageInfo& image : images) {
    if (image.id == found.image.id) all.push_back(image.reference);
  }
  if (found.by_id && all.size() > 1 && !force) {
    return fail(ErrorCode::kInvalidState, "image {} has {} names; remove it by name, or all of them with -f", reference,
                all.size());
  }
  const std::vector<std::string> removed = found.by_id ? all : std::vector{found.image.reference};
  ImageRemoval removal;
  if (removed.size() == all.size()) {
    TRY(refuse_used(context, found.image.id, reference, force));
    removal.deleted.push_back(found.image.id);
  }
  TRY(delete_rows(context, removed));
  if (has_name(found.image)) removal.untagged = removed;
  TRY_ASSIGN(removal.reclaimed_bytes, collect_garbage(context));
  return removal;
}

Result<ImageRemoval> prune_images(Context& context, bool all) {
  TRY(image::JobDirectory::sweep(context.paths.home()));
  TRY_ASSIGN(const OfdLock store, lock_image_store(context.paths));
  TRY_ASSIGN(const std::vector<ImageInfo> images, context.database.images());
  TRY_ASSIGN(const std::vector<BoxRow> boxes, context.database.boxes());
  ImageRemoval removal;
  std::vector<std::string> removed;
  for (const ImageInfo& image : images) {
    if ((has_name(image) && !all) || (std::ranges::find(boxes, image.id, &BoxRow::image_id) != boxes.end())) continue;
    removed.push_back(image.reference);
    if (has_name(image)) removal.untagged.push_back(image.reference);
    if (std::ranges::find(removal.deleted, image.id) == removal.deleted.end()) removal.deleted.push_back(image.id);
  }
  TRY(delete_rows(context, removed));
  TRY_ASSIGN(removal.reclaimed_bytes, collect_garbage(context));
  return removal;
}

Result<std::optional<std::vector<std::string>>> unreferenced_files(const HomePaths& paths, const Database& database) {
  TRY_ASSIGN(const std::optional<OfdLock> store, OfdLock::try_acquire(image::store_lock_path(paths.home())));
  if (!store) return std::nullopt;
  return find_garbage(paths, database);
}

Result<std::uint64_t> collect_unreferenced(Context& context) {
  TRY_ASSIGN(const OfdLock store, lock_image_store(context.paths));
  return collect_garbage(context);
}

void collect_base(const HomePaths& paths, const Database& database, const std::string& image_id) {
  auto used = database.uses_image(image_id);
  if (!used || *used) return;
  const auto store = lock_image_store(paths);  // whoever has it has it for milliseconds
  if (!store) return;
  used = database.uses_image(image_id);
  if (used && !*used) (void)sys::unlink(paths.base(image_id));
}

}  // namespace boxlite
