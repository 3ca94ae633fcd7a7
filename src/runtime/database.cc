#include "runtime/database.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/failpoint.h"
#include "base/sys.h"
#include "image/image_job.h"
#include "runtime/disk_reserve.h"
#include "runtime/sqlite.h"

namespace boxlite {
namespace {

// Schema changes are appended, never edited: entry n brings a file from version n to n + 1, in one transaction. A running box's
// shim, and whoever has the older program still, go on with the newer file as long as `compatibility` names a version that they
// know: an entry that only adds (tables, columns with a default) leaves it alone, any other sets it to its own number.
constexpr std::array kMigrations = {
    R"sql(
CREATE TABLE boxes(
  id TEXT PRIMARY KEY NOT NULL,
  name TEXT NOT NULL UNIQUE,
  image_reference TEXT NOT NULL,
  image_id TEXT NOT NULL,
  config TEXT NOT NULL,
  created_at TEXT NOT NULL,
  generation INTEGER NOT NULL DEFAULT 0,
  start_boot_id TEXT,
  started_at TEXT,
  remove_intent INTEGER NOT NULL DEFAULT 0,
  uid INTEGER UNIQUE,
  auto_remove INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE images(
  reference TEXT PRIMARY KEY NOT NULL,
  info TEXT NOT NULL
) WITHOUT ROWID;
)sql",
    R"sql(
CREATE TABLE volumes(
  name TEXT PRIMARY KEY NOT NULL,
  created_at TEXT NOT NULL,
  labels TEXT NOT NULL,
  anonymous INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE volume_uses(
  box_id TEXT NOT NULL,
  volume TEXT NOT NULL,
  PRIMARY KEY(box_id, volume)
) WITHOUT ROWID;
)sql",
    R"sql(
CREATE TABLE compatibility(schema INTEGER NOT NULL);
INSERT INTO compatibility VALUES(3);
)sql",
    R"sql(
CREATE TABLE starts(kind TEXT PRIMARY KEY NOT NULL, count INTEGER NOT NULL) WITHOUT ROWID;
)sql",
#ifdef BOXLITE_NEXT_VERSION  // the tests' program of the version to come
    R"sql(
ALTER TABLE boxes ADD COLUMN next TEXT NOT NULL DEFAULT 'added';
CREATE TABLE next(box_id TEXT PRIMARY KEY NOT NULL) WITHOUT ROWID;
)sql",
#endif
};
constexpr auto kSchemaVersion = static_cast<std::int64_t>(kMigrations.size());

constexpr std::string_view kBoxColumns =
    "SELECT id,name,image_reference,image_id,config,created_at,generation,start_boot_id,started_at,remove_intent,uid,auto_remove "
    "FROM boxes ";

// Users of a range that no distribution hands out, so that nothing else on the host runs as one of them.
constexpr std::uint32_t kFirstUid = 0x60000000;
constexpr std::uint32_t kUidMask = 0x0fffffff;

Result<std::int64_t> schema_version(sqlite::Connection& connection) {
  TRY_ASSIGN(sqlite::Statement statement, connection.prepare("PRAGMA user_version"));
  TRY(statement.step());
  return statement.number(0);
}

// The oldest schema whose programs still understand this file.
Result<std::int64_t> compatible_schema(sqlite::Connection& connection) {
  TRY_ASSIGN(sqlite::Statement statement, connection.prepare("SELECT max(schema) FROM compatibility"));
  TRY(statement.step());
  return statement.number(0);
}

Result<void> accept_newer(sqlite::Connection& connection, std::int64_t version, const std::string& path) {
  const auto compatible = compatible_schema(connection);
  if (compatible && *compatible > 0 && *compatible <= kSchemaVersion) return {};
  return fail(
      ErrorCode::kUnsupported,
      "{} was made by a newer boxlite (schema {}, this program knows up to {}); update this program, or use another --home", path,
      version, kSchemaVersion);
}

// No box is made before the database is: an empty database beside boxes means that the file was lost, and the boxes, which look
// like leftovers to a sweep, were not.
Result<void> refuse_orphaned_boxes(const std::string& path) {
  const std::string boxes = path.substr(0, path.rfind('/')) + "/boxes";
  std::error_code ignored;  // a folder that is not there holds no boxes
  if (!std::filesystem::exists(boxes, ignored) || std::filesystem::is_empty(boxes, ignored)) return {};
  return fail(
      ErrorCode::kCorrupt,
      "{} is missing or empty, but {} holds boxes: put the database back from a backup, or move that folder away to begin anew",
      path, boxes);
}

Result<void> migrate(sqlite::Connection& connection, const std::string& path) {
  TRY_ASSIGN(std::int64_t version, schema_version(connection));
  if (version == kSchemaVersion) return {};
  if (version > kSchemaVersion) return accept_newer(connection, version, path);
  return connection.transaction([&]() -> Result<void> {
    TRY_ASSIGN(version, schema_version(connection));  // another process may have been faster
    if (version > kSchemaVersion) return accept_newer(connection, version, path);
    if (version == 0) TRY(refuse_orphaned_boxes(path));
    for (; version < kSchemaVersion; ++version) TRY(connection.execute(kMigrations.at(static_cast<std::size_t>(version))));
    return connection.execute(fmt::format("PRAGMA user_version={}", kSchemaVersion).c_str());
  });
}

Result<BoxRow> read_row(const sqlite::Statement& statement) {
  BoxRow row;
  row.id = statement.text(0);
  row.name = statement.text(1);
  row.image_reference = statement.text(2);
  row.image_id = statement.text(3);
  TRY_ASSIGN(row.config, parse_json(statement.text(4), fmt::format("configuration of box {}", row.name)));
  row.created_at = statement.text(5);
  row.generation = static_cast<std::uint64_t>(statement.number(6));
  if (!statement.is_null(7)) row.start = StartIntent{statement.text(7), statement.text(8)};
  row.remove_intent = statement.number(9) != 0;
  if (!statement.is_null(10)) row.uid = static_cast<std::uint32_t>(statement.number(10));
  row.auto_remove = statement.number(11) != 0;
  return row;
}

Result<std::vector<BoxRow>> read_rows(sqlite::Statement& statement) {
  std::vector<BoxRow> rows;
  for (;;) {
    TRY_ASSIGN(const bool more, statement.step());
    if (!more) return rows;
    TRY_ASSIGN(BoxRow row, read_row(statement));
    rows.push_back(std::move(row));
  }
}

Result<std::optional<BoxRow>> read_one(sqlite::Statement& statement) {
  TRY_ASSIGN(std::vector<BoxRow> rows, read_rows(statement));
  if (rows.empty()) return std::nullopt;
  return std::move(rows.front());
}

Result<ImageInfo> read_image(const std::string& text) {
  TRY_ASSIGN(const Json json, parse_json(text, "image in the database"));
  return image::image_info_from_json(json);
}

Result<void> put_image(sqlite::Connection& connection, const ImageInfo& image) {
  TRY_ASSIGN(sqlite::Statement put, connection.prepare("INSERT INTO images(reference,info) VALUES(?,?) "
                                                       "ON CONFLICT(reference) DO UPDATE SET info=excluded.info"));
  return put.bind(image.reference).bind(dump_json(image::to_json(image))).run();
}

Result<std::uint32_t> unused_uid(sqlite::Connection& connection) {
  for (;;) {
    std::uint32_t random = 0;
    sys::random_bytes(std::as_writable_bytes(std::span(&random, 1)));
    const std::uint32_t uid = kFirstUid | (random & kUidMask);
    TRY_ASSIGN(sqlite::Statement statement, connection.prepare("SELECT 1 FROM boxes WHERE uid=?"));
    statement.bind(std::int64_t{uid});
    TRY_ASSIGN(const bool taken, statement.step());
    if (!taken) return uid;
  }
}

}  // namespace

Database::Database(std::unique_ptr<sqlite::Connection> connection) : connection_(std::move(connection)) {}
Database::Database(Database&&) noexcept = default;
Database& Database::operator=(Database&&) noexcept = default;
Database::~Database() = default;

Result<Database> Database::open(const std::string& path) {
  const DiskReserve reserve(path.substr(0, path.rfind('/')) + "/reserve");
  TRY_ASSIGN(std::unique_ptr<sqlite::Connection> connection, sqlite::Connection::open(path));
  TRY(migrate(*connection, path));
  return Database(std::move(connection));
}

Result<Database> Database::open_empty() {
  TRY_ASSIGN(std::unique_ptr<sqlite::Connection> connection, sqlite::Connection::open_in_memory());
  for (const char* migration : kMigrations) TRY(connection->execute(migration));
  return Database(std::move(connection));
}

Result<void> Database::refuse_taken_name(std::string_view name) const {
  TRY_ASSIGN(const std::optional<BoxRow> taken, box_by_name(name));
  if (!taken) return {};
  return fail(ErrorCode::kAlreadyExists, "the name {} is taken by box {}; choose another, or remove that one: boxlite rm -f {}",
              name, taken->id, name);
}

Result<void> Database::put_volume(const VolumeRow& row, const MakeVolume& make) {
  TRY(make(row.name));
  TRY_ASSIGN(sqlite::Statement put,
             connection_->prepare("INSERT OR IGNORE INTO volumes(name,created_at,labels,anonymous) VALUES(?,?,?,?)"));
  return put.bind(row.name).bind(row.created_at).bind(dump_json(row.labels)).bind(std::int64_t{row.anonymous}).run();
}

Result<void> Database::add_volume(const VolumeRow& row, const MakeVolume& make) {
  return connection_->transaction([&] { return put_volume(row, make); });
}

Result<std::vector<std::string>> Database::faults() const {
  TRY_ASSIGN(const auto held, connection_->lock());
  std::vector<std::string> faults;
  for (const char* query : {"SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check<>'ok'",
                            "SELECT 'volume '||volume||' is kept for box '||box_id||', which is not there' FROM volume_uses "
                            "WHERE box_id NOT IN (SELECT id FROM boxes)",
                            "SELECT 'box '||box_id||' has volume '||volume||', which is not there' FROM volume_uses "
                            "WHERE volume NOT IN (SELECT name FROM volumes)"}) {
    TRY_ASSIGN(sqlite::Statement statement, connection_->prepare(query));
    for (;;) {
      TRY_ASSIGN(const bool more, statement.step());
      if (!more) break;
      faults.push_back(statement.text(0));
    }
  }
  return faults;
}

Result<std::vector<VolumeRow>> Database::volumes() const {
  TRY_ASSIGN(const auto held, connection_->lock());
  TRY_ASSIGN(sqlite::Statement statement,
             connection_->prepare("SELECT v.name,v.created_at,v.labels,v.anonymous,b.name FROM volumes v "
                                  "LEFT JOIN volume_uses u ON u.volume=v.name LEFT JOIN boxes b ON b.id=u.box_id "
                                  "ORDER BY v.name,b.name"));
  std::vector<VolumeRow> rows;
  for (;;) {
    TRY_ASSIGN(const bool more, statement.step());
    if (!more) return rows;
    if (rows.empty() || rows.back().name != statement.text(0)) {
      VolumeRow row;
      row.name = statement.text(0);
      row.created_at = statement.text(1);
      TRY_ASSIGN(const Json labels, parse_json(statement.text(2), "labels of a volume"));
      for (const auto& [key, value] : labels.items()) row.labels[key] = value.is_string() ? value.get<std::string>() : "";
      row.anonymous = statement.number(3) != 0;
      rows.push_back(std::move(row));
    }
    if (!statement.is_null(4)) rows.back().boxes.push_back(statement.text(4));
  }
}

Result<bool> Database::delete_volume(std::string_view name, const std::function<Result<void>()>& remove) {
  bool found = false;
  const auto body = [&]() -> Result<void> {
    TRY_ASSIGN(const std::vector<VolumeRow> rows, volumes());
    const auto row = std::ranges::find(rows, name, &VolumeRow::name);
    if (row == rows.end()) return {};
    found = true;
    if (!row->boxes.empty()) {
      return fail(ErrorCode::kInvalidState, "volume {} is in use by box {}; remove that first: boxlite rm {} (rm -f if it runs)",
                  name, row->boxes.front(), row->boxes.front());
    }
    TRY_ASSIGN(sqlite::Statement statement, connection_->prepare("DELETE FROM volumes WHERE name=?"));
    TRY(statement.bind(name).run());
    return remove();
  };
  TRY(connection_->transaction(body));
  return found;
}

Result<void> Database::wait_for_writers() const {
  return connection_->transaction([]() -> Result<void> { return {}; });
}

Result<void> Database::unless_volume(std::string_view name, const std::function<Result<void>()>& action) {
  return connection_->transaction([&]() -> Result<void> {
    TRY_ASSIGN(sqlite::Statement statement, connection_->prepare("SELECT 1 FROM volumes WHERE name=?"));
    TRY_ASSIGN(const bool found, statement.bind(name).step());
    return found ? Result<void>() : action();
  });
}

Result<void> Database::insert_box(const BoxRow& row, const std::vector<VolumeRow>& volumes, const MakeVolume& make) {
  return connection_->transaction([&]() -> Result<void> {
    TRY(refuse_taken_name(row.name));
    for (const VolumeRow& volume : volumes) {
      TRY(put_volume(volume, make));
      TRY_ASSIGN(sqlite::Statement use, connection_->prepare("INSERT INTO volume_uses(box_id,volume) VALUES(?,?)"));
      TRY(use.bind(row.id).bind(volume.name).run());
    }
    TRY_ASSIGN(
        sqlite::Statement insert,
        connection_->prepare("INSERT INTO boxes(id,name,image_reference,image_id,config,created_at,generation,auto_remove) "
                             "VALUES(?,?,?,?,?,?,?,?)"));
    return insert.bind(row.id)
        .bind(row.name)
        .bind(row.image_reference)
        .bind(row.image_id)
        .bind(dump_json(row.config))
        .bind(row.created_at)
        .bind(static_cast<std::int64_t>(row.generation))
        .bind(std::int64_t{row.auto_remove})
        .run();
  });
}

Result<std::optional<BoxRow>> Database::box(std::string_view id) const {
  TRY_ASSIGN(const auto held, connection_->lock());
  TRY_ASSIGN(sqlite::Statement statement, connection_->prepare(fmt::format("{}WHERE id=?", kBoxColumns)));
  statement.bind(id);
  return read_one(statement);
}

Result<std::optional<BoxRow>> Database::box_by_name(std::string_view name) const {
  TRY_ASSIGN(const auto held, connection_->lock());
  TRY_ASSIGN(sqlite::Statement statement, connection_->prepare(fmt::format("{}WHERE name=?", kBoxColumns)));
  statement.bind(name);
  return read_one(statement);
}

Result<std::vector<BoxRow>> Database::boxes_by_id_prefix(std::string_view prefix) const {
  TRY_ASSIGN(const auto held, connection_->lock());
  TRY_ASSIGN(sqlite::Statement statement, connection_->prepare(fmt::format("{}WHERE substr(id,1,?)=? LIMIT 2", kBoxColumns)));
  statement.bind(static_cast<std::int64_t>(prefix.size())).bind(prefix);
  return read_rows(statement);
}

Result<std::vector<BoxRow>> Database::boxes() const {
  TRY_ASSIGN(const auto held, connection_->lock());
  TRY_ASSIGN(sqlite::Statement statement, connection_->prepare(fmt::format("{}ORDER BY created_at DESC, id", kBoxColumns)));
  return read_rows(statement);
}

Result<BoxRow> Database::begin_start(std::string_view id, const StartIntent& intent, bool want_uid) {
  BoxRow row;
  TRY(connection_->transaction([&]() -> Result<void> {
    TRY_ASSIGN(std::optional<BoxRow> found, box(id));
    if (!found) return fail(ErrorCode::kNotFound, "box {} was removed; `boxlite ls -a` lists those that are here", id);
    if (found->remove_intent)
      return fail(ErrorCode::kInvalidState, "box {} is being removed; `boxlite ls -a` lists those that stay", found->name);
    row = std::move(*found);
    row.generation += 1;
    row.start = intent;
    if (want_uid && !row.uid) {
      TRY_ASSIGN(row.uid, unused_uid(*connection_));
    }
    TRY_ASSIGN(sqlite::Statement update,
               connection_->prepare("UPDATE boxes SET generation=?, start_boot_id=?, started_at=?, uid=? WHERE id=?"));
    update.bind(static_cast<std::int64_t>(row.generation)).bind(intent.boot_id).bind(intent.started_at);
    row.uid ? update.bind(std::int64_t{*row.uid}) : update.bind_null();
    if (auto updated = update.bind(id).run(); !updated) return updated;
    TRY_ASSIGN(sqlite::Statement count,
               connection_->prepare("INSERT INTO starts VALUES(?,1) ON CONFLICT(kind) DO UPDATE SET count=count+1"));
    return count.bind(intent.restored ? "restored" : "booted").run();
  }));
  return row;
}

Result<StartCounts> Database::start_counts() const {
  TRY_ASSIGN(sqlite::Statement statement, connection_->prepare("SELECT kind,count FROM starts"));
  StartCounts counts;
  for (;;) {
    const auto more = statement.step();
    if (!more) return std::unexpected(more.error());
    if (!*more) return counts;
    (statement.text(0) == "restored" ? counts.restored : counts.booted) += static_cast<std::uint64_t>(statement.number(1));
  }
}

Result<void> Database::rename_box(std::string_view id, std::string_view name) {
  FAILPOINT("rename.row");
  return connection_->transaction([&]() -> Result<void> {
    TRY(refuse_taken_name(name));
    TRY_ASSIGN(sqlite::Statement statement, connection_->prepare("UPDATE boxes SET name=? WHERE id=?"));
    return statement.bind(name).bind(id).run();
  });
}

Result<void> Database::set_remove_intent(std::string_view id) {
  return connection_->transaction([&]() -> Result<void> {
    TRY_ASSIGN(sqlite::Statement statement, connection_->prepare("UPDATE boxes SET remove_intent=1 WHERE id=?"));
    return statement.bind(id).run();
  });
}

Result<void> Database::delete_box(std::string_view id) {
  return connection_->transaction([&]() -> Result<void> {
    TRY_ASSIGN(sqlite::Statement uses, connection_->prepare("DELETE FROM volume_uses WHERE box_id=?"));
    TRY(uses.bind(id).run());
    TRY_ASSIGN(sqlite::Statement statement, connection_->prepare("DELETE FROM boxes WHERE id=?"));
    return statement.bind(id).run();
  });
}

Result<void> Database::put_images(const std::vector<ImageInfo>& images) {
  FAILPOINT("image.row");
  return connection_->transaction([&]() -> Result<void> {
    std::vector<ImageInfo> replaced;
    for (const ImageInfo& image : images) {
      TRY_ASSIGN(std::optional<ImageInfo> before, this->image(image.reference));
      if (before && before->id != image.id) replaced.push_back(std::move(*before));
      TRY(put_image(*connection_, image));
    }
    for (ImageInfo& image : replaced) {
      image.reference = image.id;
      TRY(put_image(*connection_, image));
    }
    // An image has a row of its id exactly while it has no name.
    return connection_->execute(
        "DELETE FROM images AS bare WHERE reference=json_extract(info,'$.id') AND EXISTS(SELECT 1 FROM images AS named WHERE "
        "json_extract(named.info,'$.id')=bare.reference AND named.reference<>bare.reference)");
  });
}

Result<void> Database::delete_images(const std::vector<std::string>& full_references) {
  return connection_->transaction([&]() -> Result<void> {
    for (const std::string& reference : full_references) {
      TRY_ASSIGN(sqlite::Statement statement, connection_->prepare("DELETE FROM images WHERE reference=?"));
      TRY(statement.bind(reference).run());
    }
    return {};
  });
}

Result<bool> Database::uses_image(std::string_view id) const {
  TRY_ASSIGN(const auto held, connection_->lock());
  TRY_ASSIGN(sqlite::Statement statement, connection_->prepare("SELECT 1 FROM boxes WHERE image_id=? UNION ALL "
                                                               "SELECT 1 FROM images WHERE json_extract(info,'$.id')=?"));
  return statement.bind(id).bind(id).step();
}

Result<std::optional<ImageInfo>> Database::image(std::string_view full_reference) const {
  TRY_ASSIGN(const auto held, connection_->lock());
  TRY_ASSIGN(sqlite::Statement statement, connection_->prepare("SELECT info FROM images WHERE reference=?"));
  statement.bind(full_reference);
  TRY_ASSIGN(const bool found, statement.step());
  if (!found) return std::nullopt;
  return read_image(statement.text(0));
}

Result<std::vector<ImageInfo>> Database::images() const {
  TRY_ASSIGN(const auto held, connection_->lock());
  TRY_ASSIGN(sqlite::Statement statement, connection_->prepare("SELECT info FROM images ORDER BY reference"));
  std::vector<ImageInfo> images;
  for (;;) {
    TRY_ASSIGN(const bool more, statement.step());
    if (!more) return images;
    TRY_ASSIGN(ImageInfo image, read_image(statement.text(0)));
    images.push_back(std::move(image));
  }
}

}  // namespace boxlite
