#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "base/bounded_log.h"
#include "base/file.h"
#include "base/json.h"
#include "base/ofd_lock.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/unix_socket.h"

namespace boxlite {
namespace {

class BaseTest : public ::testing::Test {
 protected:
  TempDir dir_ = *TempDir::create("/tmp", "boxlite-base-test-");
  std::string path(const std::string& name) const { return dir_.path() + "/" + name; }
};

TEST_F(BaseTest, AnErrnoErrorNamesTheCallTheFileAndTheReason) {
  const auto fd = sys::open(path("absent"), O_RDONLY);
  ASSERT_FALSE(fd);
  EXPECT_EQ(fd.error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(fd.error().message(), "open " + path("absent") + ": No such file or directory");
  EXPECT_EQ(fd.error().context("start box a").message().substr(0, 13), "start box a: ");
}

TEST_F(BaseTest, EveryErrorCodeHasANameThatLeadsBackToIt) {
  for (int i = 1; i <= static_cast<int>(ErrorCode::kCommandNotFound); ++i) {
    const auto code = static_cast<ErrorCode>(i);
    EXPECT_EQ(error_code_from_name(name(code)), code);
  }
  EXPECT_EQ(exit_status(ErrorCode::kCommandNotFound), 127);
  EXPECT_EQ(exit_status(ErrorCode::kCommandNotExecutable), 126);
  EXPECT_EQ(exit_status(ErrorCode::kUnavailable), 125);
}

TEST_F(BaseTest, AtomicWriteLeavesOneFileWithTheNewContents) {
  ASSERT_TRUE(write_file_atomic(path("f"), "one", 0600));
  ASSERT_TRUE(write_file_atomic(path("f"), "two", 0640));
  EXPECT_EQ(*read_file(path("f"), 100), "two");
  EXPECT_EQ(sys::stat(path("f"))->st_mode & 0777U, 0640U);
  EXPECT_FALSE(read_file(path("f"), 2));
}

TEST_F(BaseTest, ReadFileRefusesAFifoInsteadOfHanging) {
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  const auto contents = read_file(path("fifo"), 100);
  ASSERT_FALSE(contents);
  EXPECT_EQ(contents.error().code(), ErrorCode::kCorrupt);
}

TEST_F(BaseTest, RemoveTreeRemovesATreeThatIsDeeperThanThereAreDescriptors) {
  ASSERT_EQ(::mkdir(path("deep").c_str(), 0700), 0);
  UniqueFd at(::open(path("deep").c_str(), O_RDONLY | O_DIRECTORY));
  for (int depth = 0; depth < 1500; ++depth) {
    ASSERT_EQ(::mkdirat(at.get(), "d", 0700), 0) << depth;
    if (depth % 100 == 0) {
      UniqueFd(::openat(at.get(), "f", O_WRONLY | O_CREAT, 0600));
      ASSERT_EQ(::mkdirat(at.get(), "closed", 0500), 0);
    }
    at = UniqueFd(::openat(at.get(), "d", O_RDONLY | O_DIRECTORY));
    ASSERT_TRUE(at);
  }
  at.reset();
  const auto removed = remove_tree(path("deep"));
  ASSERT_TRUE(removed) << removed.error().message();
  EXPECT_NE(::access(path("deep").c_str(), F_OK), 0);
}

TEST_F(BaseTest, RemoveTreeRemovesLinksAndNotWhatTheyPointTo) {
  ASSERT_TRUE(sys::mkdir(path("keep"), 0700));
  ASSERT_TRUE(write_file_atomic(path("keep/file"), "x", 0600));
  ASSERT_TRUE(sys::mkdir(path("tree"), 0700));
  ASSERT_TRUE(sys::mkdir(path("tree/sub"), 0700));
  ASSERT_EQ(::symlink(path("keep").c_str(), path("tree/sub/link").c_str()), 0);
  ASSERT_TRUE(remove_tree(path("tree")));
  EXPECT_FALSE(sys::stat(path("tree")));
  EXPECT_TRUE(sys::stat(path("keep/file")));
  EXPECT_TRUE(remove_tree(path("tree")));
}

TEST_F(BaseTest, ALockIsSeenByOthersAndAskingTakesNothing) {
  EXPECT_FALSE(*OfdLock::held(path("lock")));
  auto lock = OfdLock::try_acquire(path("lock"));
  ASSERT_TRUE(lock && *lock);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(*OfdLock::held(path("lock")));
  EXPECT_FALSE(OfdLock::try_acquire(path("lock"))->has_value());
  const auto late = OfdLock::acquire(path("lock"), std::chrono::milliseconds(5));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code(), ErrorCode::kUnavailable);
  (*lock)->release();
  EXPECT_FALSE(*OfdLock::held(path("lock")));
}

TEST_F(BaseTest, ALockGoesWithItsKilledHolder) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto lock = OfdLock::try_acquire(path("lock"));
    if (!lock || !*lock || !write_file_atomic(path("locked"), "", 0600)) ::_exit(1);
    ::pause();
  }
  while (!sys::stat(path("locked"))) ASSERT_EQ(::waitpid(child, nullptr, WNOHANG), 0);
  EXPECT_TRUE(*OfdLock::held(path("lock")));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_FALSE(*OfdLock::held(path("lock")));
}

TEST_F(BaseTest, AnInheritedLockLastsUntilTheLastHolderIsGone) {
  auto lock = OfdLock::try_acquire(path("lock"));
  ASSERT_TRUE(lock && *lock);
  auto child =
      ChildProcess::spawn({.program = "/bin/sleep", .argv = {"sleep", "1000"}, .environment = {}, .inherit = {(*lock)->fd()}});
  ASSERT_TRUE(child) << child.error().message();
  {
    UniqueFd mine(::fcntl((*lock)->fd(), F_DUPFD_CLOEXEC, 0));
  }
  ::close((*lock)->fd());  // without unlocking, as a killed process would
  EXPECT_TRUE(*OfdLock::held(path("lock")));
  ASSERT_TRUE(child->kill(SIGKILL));
  EXPECT_EQ(child->wait()->signal, SIGKILL);
  EXPECT_FALSE(*OfdLock::held(path("lock")));
}

TEST_F(BaseTest, AChildGetsExactlyTheNamedDescriptorsAndEnvironment) {
  auto out = sys::pipe();
  auto extra = sys::pipe();
  auto child = ChildProcess::spawn({.program = "/bin/sh",
                                    .argv = {"sh", "-c", "ls /proc/$$/fd; env"},
                                    .environment = {"PATH=/bin:/usr/bin", "A=b"},
                                    .stdout_fd = out->write_end.get(),
                                    .inherit = {extra->read_end.get()}});
  ASSERT_TRUE(child);
  out->write_end.reset();
  std::string text(4096, '\0');
  text.resize(*sys::read_full(out->read_end.get(), std::as_writable_bytes(std::span(text))));
  EXPECT_EQ(child->wait()->code, 0);
  std::string expected = fmt::format("0\n1\n2\n{}\n", extra->read_end.get());
  EXPECT_EQ(text.substr(0, expected.size()), expected);
  EXPECT_NE(text.find("A=b\n"), std::string::npos);
  EXPECT_EQ(text.find("HOME="), std::string::npos);
}

TEST_F(BaseTest, AProgramThatCannotBeExecutedIsAnErrorOfSpawn) {
  const auto child = ChildProcess::spawn({.program = path("absent"), .argv = {"absent"}, .environment = {}});
  ASSERT_FALSE(child);
  EXPECT_EQ(child.error().code(), ErrorCode::kNotFound);
}

TEST_F(BaseTest, AProcessIsIdentifiedByPidAndStartTime) {
  auto child = ChildProcess::spawn({.program = "/bin/sleep", .argv = {"sleep", "1000"}, .environment = {}});
  const auto start = process_start_time(child->pid());
  ASSERT_TRUE(start);
  EXPECT_TRUE(open_process(child->pid(), *start));
  EXPECT_FALSE(open_process(child->pid(), *start + 1));
  ASSERT_TRUE(child->kill(SIGKILL));
  ASSERT_TRUE(child->wait());
  EXPECT_FALSE(open_process(child->pid(), *start));
}

TEST_F(BaseTest, SocketsWorkInADirectoryWithALongPath) {
  std::string deep = dir_.path();
  for (int i = 0; i < 10; ++i) {
    deep += "/a-directory-name-of-thirty-bytes";
    ASSERT_TRUE(sys::mkdir(deep, 0700));
  }
  const auto listener = listen_unix(deep, "s.sock");
  ASSERT_TRUE(listener) << listener.error().message();
  const auto client = connect_unix(deep, "s.sock");
  ASSERT_TRUE(client) << client.error().message();
  EXPECT_EQ(peer_credentials(client->get())->pid, ::getpid());
  EXPECT_EQ(connect_unix(deep, "other").error().code(), ErrorCode::kNotFound);
}

TEST_F(BaseTest, ABoundedLogKeepsTheNewestAndNeverTwiceTheLimit) {
  auto log = BoundedLog::open(path("log"), 1000);
  ASSERT_TRUE(log);
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(log->append(fmt::format("line {:05}\n", i)));
  const std::string newest = *read_file(path("log"), 1000);
  EXPECT_NE(newest.find("line 00999\n"), std::string::npos);
  EXPECT_LE(sys::stat(path("log.1"))->st_size, 1000);
}

TEST_F(BaseTest, JsonErrorsNameTheSubject) {
  EXPECT_EQ(parse_json("{", "state.json").error().code(), ErrorCode::kCorrupt);
  const Json value = *parse_json(R"({"a":1,"s":"x","n":-1})", "t");
  EXPECT_EQ(*json_get<std::uint64_t>(value, "a", "t"), 1U);
  EXPECT_FALSE(json_get<std::uint64_t>(value, "n", "t"));
  EXPECT_FALSE(json_get<std::string>(value, "a", "t"));
  const Json wide = *parse_json(R"({"n":4294967305,"m":-4294967287})", "t");  // 2^32 + 9 and 9 - 2^32: both would be cut to 9
  EXPECT_FALSE(json_get<int>(wide, "n", "t"));
  EXPECT_FALSE(json_get<int>(wide, "m", "t"));
  EXPECT_FALSE(json_get<std::uint32_t>(wide, "n", "t"));
  EXPECT_EQ(*json_get<std::int64_t>(wide, "n", "t"), 4294967305);
  EXPECT_EQ(*json_get_or<std::string>(value, "absent", "t", "d"), "d");
  EXPECT_FALSE(parse_json(std::string(100000, '['), "t"));
}

}  // namespace
}  // namespace boxlite
