// The row comes last, so a box that has a row is whole. A creation that is killed before leaves files of an id without a row: in
// tmp/ until the rename, in boxes/ after it. The operation lock of the new id is held from before the first file until after the
// row, so whoever finds such files and gets the lock knows that nobody will come back for them, and deletes them (sweep_home() in
// removal.cc).
#include "runtime/create.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/defer.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/sys.h"
#include "disk/qcow2.h"
#include "image/image_job.h"
#include "runtime/box_config.h"
#include "runtime/images.h"
#include "runtime/lease.h"
#include "runtime/names.h"
#include "runtime/removal.h"
#include "runtime/volumes.h"

namespace boxlite {
namespace {

// The base of a large image is larger than the default; its overlay may not be smaller.
Result<void> make_disk(const HomePaths& paths, const std::string& path, const BoxOptions& options, const ImageInfo& image) {
  TRY_ASSIGN(const std::uint64_t bytes, disk_size(paths, options, image.id));
  return disk::create_overlay(path, bytes, "../../bases/" + image::base_file_name(image.id), "raw");
}

Result<void> make_directory(const HomePaths& paths, const std::string& id, const BoxOptions& options, const ImageInfo& image) {
  const std::string directory = paths.new_box(id);
  TRY(sys::mkdir(directory, 0700));
  FAILPOINT("create.mkdir");
  TRY(write_file_atomic(directory + "/secrets", encode_secrets({.image_env = image.config.env, .env = options.env}), 0600));
  FAILPOINT("create.secrets");
  TRY(make_disk(paths, directory + "/disk.qcow2", options, image));
  FAILPOINT("create.disk");
  TRY(sync_directory(directory));
  TRY(sys::rename(directory, paths.box(id)));
  return sync_directory(paths.boxes());
}

// A volume comes into being with the first box that has it.
std::vector<VolumeRow> new_volumes(const std::vector<Mount>& mounts, const std::string& now) {
  std::vector<VolumeRow> rows;
  for (const std::string& name : volumes_of(mounts)) {
    const auto mount = std::ranges::find(mounts, name, &Mount::name);
    rows.push_back({.name = name, .created_at = now, .labels = {}, .anonymous = mount->anonymous, .boxes = {}});
  }
  return rows;
}

}  // namespace

Result<std::uint64_t> disk_size(const HomePaths& paths, const BoxOptions& options, const std::string& image_id) {
  TRY_ASSIGN(const struct stat base, sys::stat(paths.base(image_id)));
  return std::max(options.disk_bytes, static_cast<std::uint64_t>(base.st_size));
}

Result<std::pair<std::string, OpLock>> reserve_id(const HomePaths& paths) {
  for (;;) {
    std::string id = sys::random_hex(6);
    TRY_ASSIGN(std::optional<OpLock> lock, OpLock::try_acquire(paths, id));
    if (lock) return std::pair(std::move(id), std::move(*lock));
  }
}

Result<void> insert_row(const HomePaths& paths, Database& database, BoxRow& row, const std::vector<VolumeRow>& volumes,
                        bool name_is_made_up) {
  for (int attempt = 0;; ++attempt) {
    auto inserted =
        database.insert_box(row, volumes, [&paths](const std::string& name) { return make_volume_files(paths, name); });
    if (inserted || !name_is_made_up || inserted.error().code() != ErrorCode::kAlreadyExists) return inserted;
    row.name = random_box_name();
    if (attempt >= 5) row.name += "_" + sys::random_hex(2);  // a crowded home
  }
}

Result<BoxRow> create_box(Context& context, const BoxOptions& options, const PullOptions& pull) {
  const HomePaths& paths = context.paths;
  TRY(validate_options(options));
  (void)sweep_home(paths, context.database);  // what cannot be swept now is no reason not to make a box
  if (!options.name.empty()) TRY(context.database.refuse_taken_name(options.name));  // before a long pull
  TRY_ASSIGN(const HeldImage held, ensure_image(context, options.image, pull));      // until the row refers to it
  const ImageInfo& image = held.image;

  BoxConfig config;
  config.options = options;
  config.options.env.clear();
  TRY_ASSIGN(config.args, main_command(options, image.config));
  config.working_dir = options.working_dir.empty() ? image.config.working_dir : options.working_dir;
  config.user = options.user.empty() ? image.config.user : options.user;
  config.stop_signal = options.stop_signal.empty() ? image.config.stop_signal : options.stop_signal;
  config.labels = options.labels;
  config.labels.insert(image.config.labels.begin(), image.config.labels.end());

  TRY_ASSIGN(ResolvedMounts resolved, resolve_mounts(paths, options, image.config));
  config.mounts = std::move(resolved.mounts);
  config.directories = std::move(resolved.directories);
  TRY_ASSIGN(config.ports, asked_ports(options, image.config.exposed_ports));

  TRY_ASSIGN(auto reserved, reserve_id(paths));
  auto& [id, lock] = reserved;
  const std::string new_id = id;
  Defer undo([&paths, &new_id, &op = lock] {
    (void)remove_tree(paths.new_box(new_id));
    (void)remove_tree(paths.box(new_id));
    (void)op.unlink_lock_files();
  });
  FAILPOINT("create.locked");
  TRY(make_directory(paths, new_id, options, image));
  FAILPOINT("create.dir");

  BoxRow row;
  row.id = new_id;
  row.name = options.name.empty() ? random_box_name() : options.name;
  row.image_reference = image.reference;
  row.image_id = image.id;
  row.config = to_json(config);
  row.created_at = sys::utc_now();
  row.auto_remove = options.auto_remove;
  TRY(insert_row(paths, context.database, row, new_volumes(config.mounts, row.created_at), options.name.empty()));
  undo.cancel();
  FAILPOINT("create.row");
  return row;
}

}  // namespace boxlite
