// Theory of operation.
//
//   volumes/<name>/data         the volume
//   volumes/<name>/populating   a box is giving it what its image has; it is not whole, and the next start does it again
//   trash/volume-<random>       one being deleted
//
// A volume exists when it has a row. Directories are made and taken away inside the transaction that makes and deletes the row,
// so whoever else makes or uses the volume sees both or neither; a crash in between leaves a directory without a row, which the
// next volume of that name takes over (it is empty), or a row without a directory, which the next use makes. What a crash leaves
// in trash/ is deleted with the next volume.
#include "runtime/volumes.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>

#include "base/file.h"
#include "base/sys.h"
#include "runtime/mounts.h"

namespace boxlite {
namespace {

constexpr std::string_view kTrashPrefix = "volume-";

VolumeInfo describe(const HomePaths& paths, VolumeRow row) {
  return {.name = row.name,
          .path = paths.volume_data(row.name),
          .created_at = std::move(row.created_at),
          .labels = std::move(row.labels),
          .anonymous = row.anonymous,
          .boxes = std::move(row.boxes)};
}

std::uint64_t bytes_of(const std::string& directory) {
  std::uint64_t sum = 0;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    struct stat st = {};
    if (::lstat(it->path().c_str(), &st) == 0) sum += static_cast<std::uint64_t>(st.st_blocks) * 512;
  }
  return sum;
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
  if (!moved && moved.error().error_number() == ENOENT) return {};
  return moved;
}

std::unexpected<Error> not_found(const std::string& name) {
  return fail(ErrorCode::kNotFound, "no volume named {}; `boxlite volume ls` lists them", name);
}

}  // namespace

Result<void> make_volume_files(const HomePaths& paths, const std::string& name) {
  TRY(validate_volume_name(name));
  TRY(ensure_directory(paths.volumes(), 0700));
  TRY(ensure_directory(paths.volume(name), 0700));
  const std::string data = paths.volume_data(name);
  if (::mkdir(data.c_str(), 0700) < 0) return errno == EEXIST ? Result<void>() : fail_errno("make {}", data);
  // Whatever the umask: the box's users are to reach it. Outside, the home's own mode keeps others away.
  if (::chmod(data.c_str(), 0755) < 0) return fail_errno("set the mode of {}", data);
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
  return empty_trash(paths);
}

Result<VolumeRemoval> prune_volumes(const HomePaths& paths, Database& database, bool all) {
  VolumeRemoval removal;
  TRY_ASSIGN(const std::vector<VolumeRow> rows, database.volumes());
  for (const VolumeRow& row : rows) {
    if (!row.boxes.empty() || (!row.anonymous && !all)) continue;
    const std::uint64_t bytes = bytes_of(paths.volume(row.name));
    const auto removed = remove_volume(paths, database, row.name);
    if (!removed && removed.error().code() == ErrorCode::kInvalidState) continue;  // somebody has just taken it
    if (!removed && removed.error().code() == ErrorCode::kNotFound) continue;
    TRY(removed);
    removal.names.push_back(row.name);
    removal.reclaimed_bytes += bytes;
  }
  return removal;
}

Result<bool> begin_population(const HomePaths& paths, const std::string& name) {
  const std::string marker = paths.volume(name) + "/populating";
  std::error_code error;
  const bool empty = std::filesystem::is_empty(paths.volume_data(name), error);
  if (error) return fail(ErrorCode::kNotFound, "the files of volume {} are not there: {}", name, error.message());
  if (!empty) return ::access(marker.c_str(), F_OK) == 0;
  TRY(sys::open(marker, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  return true;
}

Result<void> finish_population(const HomePaths& paths, const std::string& name) {
  return sys::unlink(paths.volume(name) + "/populating");
}

}  // namespace boxlite
