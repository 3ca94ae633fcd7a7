#include "runtime/database.h"

#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>

#include <gtest/gtest.h>

#include "runtime/test_home.h"

namespace boxlite {
namespace {

class DatabaseTest : public testing::Test {
 protected:
  DatabaseTest() : directory_(*TempDir::create(std::filesystem::temp_directory_path(), "boxlite-database-")) {}
  std::string path() const { return directory_.path() + "/boxlite.db"; }

  static BoxRow row(const std::string& id, const std::string& name) {
    BoxRow row;
    row.id = id;
    row.name = name;
    row.image_reference = kTestImage;
    row.image_id = "sha256:0";
    row.config = Json{{"args", {"sh"}}};
    row.created_at = sys::utc_now();
    return row;
  }

  void execute(const char* sql) const {
    sqlite3* handle = nullptr;
    ASSERT_EQ(sqlite3_open(path().c_str(), &handle), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(handle, sql, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(handle);
    sqlite3_close(handle);
  }

 private:
  TempDir directory_;
};

TEST_F(DatabaseTest, ARowComesBackAsItWasWritten) {
  Database database = *Database::open(path());
  BoxRow written = row("0123456789ab", "web");
  written.auto_remove = true;
  ASSERT_TRUE(database.insert_box(written));
  const std::optional<BoxRow> read = *database.box("0123456789ab");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->name, "web");
  EXPECT_EQ(read->config, written.config);
  EXPECT_EQ(read->created_at, written.created_at);
  EXPECT_EQ(read->generation, 0U);
  EXPECT_FALSE(read->start);
  EXPECT_FALSE(read->uid);
  EXPECT_TRUE(read->auto_remove);
  EXPECT_EQ((*database.box_by_name("web"))->id, "0123456789ab");
  EXPECT_FALSE(*database.box_by_name("other"));
}

TEST_F(DatabaseTest, WhoeverOpensItFirstAtTheSameTimeAllSucceed) {
  constexpr int kProcesses = 6;
  for (int round = 0; round < 40; ++round) {
    const std::string fresh = path() + std::to_string(round);
    int failed = 0;
    std::vector<pid_t> children;
    for (int i = 0; i < kProcesses; ++i) {
      const pid_t pid = ::fork();
      if (pid == 0) ::_exit(Database::open(fresh) ? 0 : 1);
      children.push_back(pid);
    }
    for (const pid_t pid : children) {
      int status = 0;
      ASSERT_EQ(::waitpid(pid, &status, 0), pid);
      failed += status == 0 ? 0 : 1;
    }
    ASSERT_EQ(failed, 0) << "in round " << round;
  }
}

TEST_F(DatabaseTest, ATakenNameIsAnErrorThatNamesTheBox) {
  Database database = *Database::open(path());
  ASSERT_TRUE(database.insert_box(row("0123456789ab", "web")));
  const auto second = database.insert_box(row("ba9876543210", "web"));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::kAlreadyExists);
  EXPECT_NE(second.error().message().find("0123456789ab"), std::string::npos);
  EXPECT_EQ(database.boxes()->size(), 1U);
}

TEST_F(DatabaseTest, BeginStartIsOneStepForGenerationIntentAndUid) {
  Database database = *Database::open(path());
  ASSERT_TRUE(database.insert_box(row("0123456789ab", "web")));
  const BoxRow first = *database.begin_start("0123456789ab", {"boot", "then"}, true);
  EXPECT_EQ(first.generation, 1U);
  ASSERT_TRUE(first.uid);
  EXPECT_GE(*first.uid, 0x60000000U);
  EXPECT_LE(*first.uid, 0x6fffffffU);
  const BoxRow second = *database.begin_start("0123456789ab", {"boot", "now"}, true);
  EXPECT_EQ(second.generation, 2U);
  EXPECT_EQ(second.uid, first.uid);
  const std::optional<BoxRow> read = *database.box("0123456789ab");
  EXPECT_EQ(read->generation, 2U);
  EXPECT_EQ(read->start->started_at, "now");
  EXPECT_EQ(read->uid, first.uid);
}

TEST_F(DatabaseTest, ABoxThatIsBeingRemovedOrIsGoneCannotBegin) {
  Database database = *Database::open(path());
  ASSERT_TRUE(database.insert_box(row("0123456789ab", "web")));
  ASSERT_TRUE(database.set_remove_intent("0123456789ab"));
  EXPECT_EQ(database.begin_start("0123456789ab", {"boot", "now"}, false).error().code(), ErrorCode::kInvalidState);
  ASSERT_TRUE(database.delete_box("0123456789ab"));
  ASSERT_TRUE(database.delete_box("0123456789ab"));
  EXPECT_EQ(database.begin_start("0123456789ab", {"boot", "now"}, false).error().code(), ErrorCode::kNotFound);
}

TEST_F(DatabaseTest, AnIdPrefixFindsAtMostTwo) {
  Database database = *Database::open(path());
  for (const char* id : {"aa0000000000", "aa1111111111", "aa2222222222", "bb0000000000"}) {
    ASSERT_TRUE(database.insert_box(row(id, id)));
  }
  EXPECT_EQ(database.boxes_by_id_prefix("aa")->size(), 2U);
  EXPECT_EQ(database.boxes_by_id_prefix("b")->front().id, "bb0000000000");
  EXPECT_TRUE(database.boxes_by_id_prefix("%")->empty());
}

TEST_F(DatabaseTest, ANewerSchemaIsRefusedAndNotTouched) {
  {
    (void)*Database::open(path());
  }
  execute("PRAGMA user_version=99; UPDATE compatibility SET schema=99");
  const auto opened = Database::open(path());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), ErrorCode::kUnsupported);
  EXPECT_NE(opened.error().message().find("newer boxlite"), std::string::npos);
  EXPECT_NE(opened.error().message().find("99"), std::string::npos);
}

TEST_F(DatabaseTest, ANewerSchemaThatOnlyAddsIsUsedAsItIs) {
  {
    (void)*Database::open(path());
  }
  execute("PRAGMA user_version=99; ALTER TABLE boxes ADD COLUMN next TEXT NOT NULL DEFAULT 'x'");
  auto opened = Database::open(path());
  ASSERT_TRUE(opened) << opened.error().message();
  ASSERT_TRUE(opened->insert_box(row("aa0000000000", "a")));
  EXPECT_EQ(opened->box_by_name("a").value()->id, "aa0000000000");
}

TEST_F(DatabaseTest, ANewerSchemaThatDoesNotSayWhomItSuitsIsRefused) {
  {
    (void)*Database::open(path());
  }
  execute("PRAGMA user_version=99; DROP TABLE compatibility");
  EXPECT_FALSE(Database::open(path()));
}

TEST_F(DatabaseTest, AFileThatIsNoDatabaseIsCorrupt) {
  std::ofstream(path()) << std::string(4096, 'x');
  const auto opened = Database::open(path());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), ErrorCode::kCorrupt);
}

TEST_F(DatabaseTest, AnEmptiedDatabaseBesideBoxesIsRefusedAndNoBoxTouched) {
  {
    ASSERT_TRUE(Database::open(path()));
  }
  const std::string boxes = path().substr(0, path().rfind('/')) + "/boxes";
  ASSERT_TRUE(sys::mkdir(boxes, 0700));
  ASSERT_TRUE(sys::mkdir(boxes + "/0123456789ab", 0700));
  EXPECT_TRUE(Database::open(path()));
  for (const char* suffix : {"-wal", "-shm"}) ASSERT_TRUE(sys::unlink(path() + suffix));
  ASSERT_EQ(::truncate(path().c_str(), 0), 0);
  const auto emptied = Database::open(path());
  ASSERT_FALSE(emptied);
  EXPECT_EQ(emptied.error().code(), ErrorCode::kCorrupt);
  EXPECT_NE(emptied.error().message().find(boxes), std::string::npos);
  ASSERT_TRUE(sys::unlink(path()));
  EXPECT_FALSE(Database::open(path()));
  EXPECT_TRUE(sys::stat(boxes + "/0123456789ab"));
}

TEST_F(DatabaseTest, ItsFilesAreTheOwnersAlone) {
  Database database = *Database::open(path());
  ASSERT_TRUE(database.insert_box(row("0123456789ab", "web")));
  for (const char* suffix : {"", "-wal", "-shm"}) EXPECT_EQ(sys::stat(path() + suffix)->st_mode & 0777U, 0600U) << suffix;
}

TEST_F(DatabaseTest, AForkedChildIsRefusedAndDoesTheParentNoHarm) {
  auto database = std::make_unique<Database>(*Database::open(path()));
  ASSERT_TRUE(database->insert_box(row("0123456789ab", "web")));
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto rows = database->boxes();
    const bool refused = !rows && rows.error().code() == ErrorCode::kInvalidState;
    database.reset();
    ::_exit(refused ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  ASSERT_TRUE(database->insert_box(row("ba9876543210", "db")));
  EXPECT_EQ(database->boxes()->size(), 2U);
}

TEST(HomeTest, ManyProcessesCreateAtOnceAndEveryNameIsGivenOnce) {
  const TestHome home;
  std::vector<ChildProcess> commands;
  for (int i = 0; i < 12; ++i) commands.push_back(home.launch({"create", "box" + std::to_string(i / 2), "run"}));
  int created = 0;
  for (ChildProcess& command : commands) created += command.wait()->code == 0 ? 1 : 0;
  EXPECT_EQ(created, 6);
  std::set<std::string> names;
  const std::vector<BoxRow> rows = home.rows();
  for (const BoxRow& row : rows) {
    names.insert(row.name);
    EXPECT_TRUE(std::filesystem::exists(home.paths().disk(row.id)));
  }
  EXPECT_EQ(rows.size(), 6U);
  EXPECT_EQ(names.size(), 6U);
  // Of a refused creation nothing stays, and of a made one the directory and the operation lock.
  EXPECT_EQ(home.box_files().size(), 12U);
}

}  // namespace
}  // namespace boxlite
