// Theory of operation.
//
// One checkpoint is taken of the parent, which goes on at once. A child is a box like any other whose directory has that
// checkpoint, as links: to the memory, which all children map privately, and to the disk, on top of which each has an empty one
// of its own. It is started as a box that was paused to disk is. The checkpoint's own directory goes when the children are made;
// its files go with the last who has a link or a mapping.
#include "runtime/fork.h"

#include <sys/stat.h>

#include <algorithm>
#include <atomic>

#include "base/defer.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/thread.h"
#include "runtime/box_config.h"
#include "runtime/capture.h"
#include "runtime/create.h"
#include "runtime/images.h"
#include "runtime/names.h"
#include "runtime/snapshot.h"
#include "runtime/start.h"

namespace boxlite {
namespace {

constexpr unsigned kMostChildren = 1000;
constexpr std::size_t kMostAtOnce = 16;  // starts; each is a process that the host has to make room for

std::string name_of(const ForkOptions& options, unsigned index) {
  if (options.name.empty() || options.count == 1) return options.name;
  return fmt::format("{}-{}", options.name, index + 1);
}

// Ports of the host cannot lead into two boxes.
Json config_of_child(BoxConfig config, const std::string& name) {
  config.options.name = name;
  for (PortRequest& port : config.ports) port.first = port.last = 0;
  return to_json(config);
}

class Forking {
 public:
  Forking(Context& context, const BoxRow& parent, std::string checkpoint)
      : context_(context), parent_(parent), checkpoint_(std::move(checkpoint)) {}

  Result<BoxRow> make_child(const std::string& asked_name) {
    const HomePaths& paths = context_.paths;
    TRY_ASSIGN(const BoxConfig config, box_config_from_json(parent_.config));
    TRY_ASSIGN(auto reserved, reserve_id(paths));
    auto& [id, lock] = reserved;
    const std::string new_id = id;
    Defer undo([&paths, &new_id, &op = lock] {
      (void)remove_tree(paths.new_box(new_id));
      (void)remove_tree(paths.box(new_id));
      (void)op.unlink_lock_files();
    });
    // Until the row refers to the base: the parent may be the last that does, and be removed meanwhile.
    TRY_ASSIGN(const OfdLock store, share_image_store(paths));
    const std::string directory = paths.new_box(new_id);
    TRY(sys::mkdir(directory, 0700));
    TRY(copy_file(paths.secrets(parent_.id), directory + "/secrets", 0600));
    TRY_ASSIGN(const std::uint64_t bytes, disk_size(paths, config.options, parent_.image_id));
    TRY(build_from_snapshot(checkpoint_, directory, bytes, true));
    FAILPOINT("fork.built");
    TRY(sync_directory(directory));
    TRY(sys::rename(directory, paths.box(new_id)));
    TRY(sync_directory(paths.boxes()));
    BoxRow row;
    row.id = new_id;
    row.name = asked_name.empty() ? random_box_name() : asked_name;
    row.image_reference = parent_.image_reference;
    row.image_id = parent_.image_id;
    row.config = config_of_child(config, row.name);
    row.created_at = sys::utc_now();
    row.auto_remove = parent_.auto_remove;
    TRY(insert_row(paths, context_.database, row, {}, asked_name.empty()));
    undo.cancel();
    FAILPOINT("fork.row");
    return row;
  }

 private:
  Context& context_;
  const BoxRow& parent_;
  std::string checkpoint_;
};

// All of them, some at a time. The first error, once all are done.
Result<void> start_all(Context& context, const std::vector<BoxRow>& rows) {
  std::vector<Result<void>> outcomes(rows.size());
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < rows.size(); i = next++) {
      const auto started = start_box(context, rows[i].id, {});
      if (!started) outcomes[i] = std::unexpected(started.error());
    }
  };
  {
    std::vector<std::jthread> threads;
    while (threads.size() + 1 < std::min(kMostAtOnce, rows.size())) {
      auto thread = start_thread(work);
      if (!thread) break;
      threads.push_back(std::move(*thread));
    }
    work();
  }
  for (Result<void>& outcome : outcomes) TRY(std::move(outcome));
  return {};
}

// Those that are there are nobody's surprise.
Error with_names(const Error& error, const std::vector<BoxRow>& children) {
  if (children.empty()) return error;
  std::string names;
  for (const BoxRow& child : children) names += (names.empty() ? "" : " ") + child.name;
  return error.advice(fmt::format("these were made: {}; start or remove them", names));
}

}  // namespace

Result<std::vector<BoxRow>> fork_box(Context& context, const BoxRow& parent, const ForkOptions& options) {
  if (options.count < 1 || options.count > kMostChildren)
    return fail(ErrorCode::kInvalidArgument, "{} boxes cannot be forked at once; 1 to {} can", options.count, kMostChildren);
  for (unsigned i = 0; !options.name.empty() && i < options.count; ++i) {
    TRY(validate_name(name_of(options, i)));
    TRY(context.database.refuse_taken_name(name_of(options, i)));
  }
  const std::string box = context.paths.box(parent.id);
  const std::string checkpoint = fmt::format("{}/snapshots/.{}.new", box, sys::random_hex(6));
  const Defer discard([&checkpoint] { (void)remove_tree(checkpoint); });
  std::vector<BoxRow> children;
  {
    TRY_ASSIGN(Capture capture, Capture::take(context, parent, {.memory = true, .disk = true}));
    TRY(capture.go_on());
    TRY(ensure_directory(box + "/snapshots", 0700));
    TRY(sys::mkdir(checkpoint, 0700));
    TRY(capture.move_into(checkpoint));
    CheckpointRecord record = capture.record();
    TRY_ASSIGN(record.boot_id, boot_id());
    TRY(write_file_volatile(checkpoint + "/checkpoint.json", dump_json(to_json(record), 1) + "\n", 0600));
    FAILPOINT("fork.captured");
    // While the lock is held, nobody takes the checkpoint for one that a killed command has left.
    Forking forking(context, parent, checkpoint);
    for (unsigned i = 0; i < options.count; ++i) {
      auto child = forking.make_child(name_of(options, i));
      if (!child) return std::unexpected(with_names(child.error(), children));
      children.push_back(std::move(*child));
    }
  }
  if (const auto started = start_all(context, children); !started) return std::unexpected(with_names(started.error(), children));
  return children;
}

}  // namespace boxlite
