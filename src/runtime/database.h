// The rows of a home: which boxes and images there are, and the intents of unfinished operations. Never a status: that is derived
// (status.h) from locks and records at the moment of asking. Never a secret: WAL and free pages keep what was once written.
//
// Thread safe. Any number of processes at once: writes are BEGIN IMMEDIATE with a busy timeout, readers never wait (WAL).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "boxlite/image.h"

namespace boxlite {

namespace sqlite {
class Connection;
class Statement;
}  // namespace sqlite

/// The last start that was begun. It is not cleared when the shim has taken over: whether it has is told by the lease's record.
struct StartIntent {
  std::string boot_id;
  std::string started_at;
  bool restored = false;  // from a template; else it boots. Counted, not kept
};

struct StartCounts {
  std::uint64_t restored = 0;
  std::uint64_t booted = 0;
};

struct BoxRow {
  std::string id;
  std::string name;
  std::string image_reference;
  std::string image_id;
  Json config;  // BoxConfig (box_config.h), without env values
  std::string created_at;
  std::uint64_t generation = 0;  // 0: never started
  std::optional<StartIntent> start;
  bool remove_intent = false;
  std::optional<std::uint32_t> uid;  // of the VM's processes, when started by root
  bool auto_remove = false;
};

struct VolumeRow {
  std::string name;
  std::string created_at;
  std::map<std::string, std::string> labels;
  bool anonymous = false;
  std::vector<std::string> boxes;  // names of those that have it; not written
};

class Database {
 public:
  /// Creates or migrates. kUnsupported when a newer program has made the file.
  static Result<Database> open(const std::string& path);
  /// One without rows and without a file: of a home that is not there.
  static Result<Database> open_empty();
  Database(Database&&) noexcept;
  Database& operator=(Database&&) noexcept;
  ~Database();

  /// What is wrong with it, a line each: pages and indexes, uses of volumes or boxes that are not there.
  Result<std::vector<std::string>> faults() const;

  /// kAlreadyExists, naming the box, when the name is taken.
  Result<void> refuse_taken_name(std::string_view name) const;
  using MakeVolume = std::function<Result<void>(const std::string& name)>;
  /// The same, and the row; of `volumes` those that are not there are made, by `make` inside the transaction, and all are the
  /// box's.
  Result<void> insert_box(const BoxRow& row, const std::vector<VolumeRow>& volumes = {}, const MakeVolume& make = {});
  Result<std::optional<BoxRow>> box(std::string_view id) const;
  Result<std::optional<BoxRow>> box_by_name(std::string_view name) const;
  /// At most two: enough to know whether the beginning is ambiguous.
  Result<std::vector<BoxRow>> boxes_by_id_prefix(std::string_view prefix) const;
  /// Newest first.
  Result<std::vector<BoxRow>> boxes() const;

  /// One transaction: generation + 1, the start intent, and a uid if `want_uid` and there is none yet. Returns the row as it is
  /// now. kNotFound: no such box; kInvalidState: it is being removed.
  Result<BoxRow> begin_start(std::string_view id, const StartIntent& intent, bool want_uid);
  /// How many begin_start() has begun, of each kind.
  Result<StartCounts> start_counts() const;
  /// kAlreadyExists, naming the box, when the name is taken.
  Result<void> rename_box(std::string_view id, std::string_view name);
  Result<void> set_remove_intent(std::string_view id);
  Result<void> delete_box(std::string_view id);

  /// Nothing when it is there.
  Result<void> add_volume(const VolumeRow& row, const MakeVolume& make);
  /// By name.
  Result<std::vector<VolumeRow>> volumes() const;
  /// `remove` is called inside the transaction. false: there is none. kInvalidState: a box has it.
  Result<bool> delete_volume(std::string_view name, const std::function<Result<void>()>& remove);
  /// Returns when what others are committing is there.
  Result<void> wait_for_writers() const;

  /// Calls `action`, inside a transaction, if there is no volume of that name.
  Result<void> unless_volume(std::string_view name, const std::function<Result<void>()>& action);

  /// Each under its full reference (image/reference.h). What a reference named before is replaced; an image that has no name
  /// left after that is kept without one, under its id.
  Result<void> put_images(const std::vector<ImageInfo>& images);
  Result<void> delete_images(const std::vector<std::string>& full_references);
  /// Does any box or image refer to the image of this id?
  Result<bool> uses_image(std::string_view id) const;
  Result<std::optional<ImageInfo>> image(std::string_view full_reference) const;
  Result<std::vector<ImageInfo>> images() const;

 private:
  Result<void> put_volume(const VolumeRow& row, const MakeVolume& make);
  explicit Database(std::unique_ptr<sqlite::Connection> connection);
  std::unique_ptr<sqlite::Connection> connection_;
};

}  // namespace boxlite
