// Theory of operation.
//
//   volumes/<name>/data         the volume
//   volumes/<name>/new          the same, half made
//   volumes/<name>/populating   a box is giving it what its image has, and holds the lock of this file; a file that nobody holds
//                               is of a box that died over it: the volume is not whole, and the next start does it again
//   trash/volume-<random>       one being deleted
//
// A volume exists when it has a row. Directories are made and taken away inside the transaction that makes and deletes the row,
// so whoever else makes or uses the volume sees both or neither; a crash in between leaves a directory without a row, which the
// next volume of that name takes over (it is empty) and the next sweep of the home deletes, or a row without a directory, which
// the next use makes; the row of an anonymous volume, which nobody will use, is deleted by the next sweep. What a crash leaves in
// trash/ is deleted with the next volume or by a sweep.
#include "runtime/volumes.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "base/failpoint.h"
#include "base/file.h"
#include "base/sys.h"
#include "runtime/disk_usage.h"
#include "runtime/mounts.h"

namespace boxlite {
namespace {

constexpr std::string_view kTrashPrefix = "volume-";
// Of another box's population, which ends with its start at the latest. A large one takes minutes without KVM.
constexpr auto kPopulationPatience = std::chrono::minutes(30);

VolumeInfo describe(const HomePaths& paths, VolumeRow row) {
  return {.name = row.name,
          .path = paths.volume_data(row.name),
          .created_at = std::move(row.created_at),
          .labels = std::move(row.labels),
          .anonymous = row.anonymous,
          .boxes = std::move(row.boxes)};
}

Result<void> empty_trash(const HomePaths& paths) {
  const std::unique_ptr<DIR, int (*)(DIR*)> trash(::opendir(paths.trash().c_str()), ::closedir);
  if (!trash) return fail_errno("{}", paths.trash());
  Result<void> result;
  while (const dirent* entry = ::readdir(trash.get())) {
    const std::string name = entry->d_name;
    if (!name.starts_with(kTrashPrefix)) continue;
    if (auto removed = remove_tree(paths.trash() + "/" + name); !removed) result = removed;
  }
  return result;
}

Result<void> move_to_trash(const HomePaths& paths, const std::string& name) {
  auto moved = sys::rename(paths.volume(name), fmt::format("{}/{}{}", paths.trash(), kTrashPrefix, sys::random_hex(8)));
  if (!moved && moved.error().error_number() != ENOENT) return moved;
  FAILPOINT("volume.trash");
  return {};
}

Result<std::vector<std::string>> names_with_files(const HomePaths& paths) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(paths.volumes(), error)) names.push_back(entry.path().filename());
  if (error && error.value() != ENOENT) return std::unexpected(Error::from_errno(error.value(), "read " + paths.volumes()));
  return names;
}

std::string populating_marker(const HomePaths& paths, const std::string& name) { return paths.volume(name) + "/populating"; }

std::unexpected<Error> not_found(const std::string& name) {
  return fail(ErrorCode::kNotFound, "no volume named {}; `boxlite volume ls` lists them", name);
}

}  // namespace

Result<void> make_volume_files(const HomePaths& paths, const std::string& name) {
  TRY(validate_volume_name(name));
  TRY(ensure_directory(paths.volumes(), 0700));
  TRY(ensure_directory(paths.volume(name), 0700));
  const std::string data = paths.volume_data(name);
  if (::access(data.c_str(), F_OK) == 0) return {};
  const std::string half_made = paths.volume(name) + "/new";
  TRY(ensure_directory(half_made, 0700));
  FAILPOINT("volume.mkdir");
  // Whatever the umask: the box's users are to reach it. Outside, the home's own mode keeps others away.
  if (::chmod(half_made.c_str(), 0755) < 0) return fail_errno("set the mode of {}", half_made);
  if (::renameat2(AT_FDCWD, half_made.c_str(), AT_FDCWD, data.c_str(), RENAME_NOREPLACE) < 0) {
    // Another box may have been faster, and may have files in it by now.
    if (errno != EEXIST && ::access(data.c_str(), F_OK) < 0) return fail_errno("make {}", data);
    (void)::rmdir(half_made.c_str());
  }
  FAILPOINT("volume.files");
  return {};
}

Result<VolumeInfo> create_volume(const HomePaths& paths, Database& database, const std::string& name,
                                 const std::map<std::string, std::string>& labels) {
  const bool anonymous = name.empty();
  const std::string chosen = anonymous ? sys::random_hex(32) : name;
  TRY(validate_volume_name(chosen));
  VolumeRow row = {.name = chosen, .created_at = sys::utc_now(), .labels = labels, .anonymous = anonymous, .boxes = {}};
  TRY(database.add_volume(row, [&paths](const std::string& added) { return make_volume_files(paths, added); }));
  return find_volume(paths, database, chosen);
}

Result<std::vector<VolumeInfo>> list_volumes(const HomePaths& paths, const Database& database) {
  TRY_ASSIGN(std::vector<VolumeRow> rows, database.volumes());
  std::vector<VolumeInfo> infos;
  for (VolumeRow& row : rows) infos.push_back(describe(paths, std::move(row)));
  return infos;
}

Result<VolumeInfo> find_volume(const HomePaths& paths, const Database& database, const std::string& name) {
  TRY_ASSIGN(std::vector<VolumeRow> rows, database.volumes());
  for (VolumeRow& row : rows) {
    if (row.name == name) return describe(paths, std::move(row));
  }
  return not_found(name);
}

Result<void> remove_volume(const HomePaths& paths, Database& database, const std::string& name) {
  TRY_ASSIGN(const bool removed, database.delete_volume(name, [&] { return move_to_trash(paths, name); }));
  if (!removed) return not_found(name);
  FAILPOINT("volume.row");
  return empty_trash(paths);
}

Result<VolumeRemoval> prune_volumes(const HomePaths& paths, Database& database, bool all) {
  VolumeRemoval removal;
  TRY_ASSIGN(const std::vector<VolumeRow> rows, database.volumes());
  for (const VolumeRow& row : rows) {
    if (!row.boxes.empty() || (!row.anonymous && !all)) continue;
    const std::uint64_t bytes = disk_usage(paths.volume(row.name));
    const auto removed = remove_volume(paths, database, row.name);
    if (!removed && removed.error().code() == ErrorCode::kInvalidState) continue;  // somebody has just taken it
    if (!removed && removed.error().code() == ErrorCode::kNotFound) continue;
    TRY(removed);
    removal.names.push_back(row.name);
    removal.reclaimed_bytes += bytes;
  }
  return removal;
}

Result<void> sweep_volumes(const HomePaths& paths, Database& database) {
  // Rows after files, as a volume is made with its row.
  TRY_ASSIGN(const std::vector<std::string> names, names_with_files(paths));
  TRY_ASSIGN(const std::vector<VolumeRow> rows, database.volumes());
  for (const std::string& name : names) {
    if (std::ranges::find(rows, name, &VolumeRow::name) != rows.end()) continue;
    TRY(database.unless_volume(name, [&]() -> Result<void> {
      // Never more than empty directories: in others there is somebody's data, whatever became of the row.
      const std::string volume = paths.volume(name);
      for (const std::string& directory : {volume + "/new", volume + "/data", volume}) {
        if (::rmdir(directory.c_str()) < 0 && errno != ENOENT && errno != ENOTEMPTY && errno != ENOTDIR)
          return fail_errno("rmdir {}", directory);
      }
      return {};
    }));
  }
  const auto has_files = [&paths](const std::string& name) { return ::access(paths.volume(name).c_str(), F_OK) == 0; };
  for (const VolumeRow& row : rows) {
    if (!row.anonymous || !row.boxes.empty() || has_files(row.name)) continue;
    const auto removed = database.delete_volume(row.name, [&]() -> Result<void> {
      if (has_files(row.name)) return fail(ErrorCode::kInvalidState, "volume {} is there again", row.name);
      return {};
    });
    if (!removed && removed.error().code() != ErrorCode::kInvalidState) return std::unexpected(removed.error());
  }
  return empty_trash(paths);
}

Result<std::optional<OfdLock>> begin_population(const HomePaths& paths, const std::string& name) {
  const std::string marker = populating_marker(paths, name);
  for (;;) {
    std::error_code error;
    const bool empty = std::filesystem::is_empty(paths.volume_data(name), error);
    if (error) return fail(ErrorCode::kNotFound, "the files of volume {} are not there: {}", name, error.message());
    if (!empty && ::access(marker.c_str(), F_OK) < 0) return std::nullopt;
    auto lock = OfdLock::acquire(marker, kPopulationPatience);
    if (!lock) return std::unexpected(std::move(lock).error().context("volume " + name + " is being filled by another box"));
    // One that has been unlinked was waited for: its holder has finished.
    if (!lock->still_linked()) continue;
    FAILPOINT("volume.populating");
    return std::move(*lock);
  }
}

Result<void> finish_population(const HomePaths& paths, const std::string& name, OfdLock population) {
  FAILPOINT("volume.populated");
  TRY(sys::unlink(populating_marker(paths, name)));
  population.release();
  return {};
}

}  // namespace boxlite
