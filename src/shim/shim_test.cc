// Whole boxes: the real shim, agent and kernel, started as the runtime starts them. Needs qemu, bwrap, mke2fs and busybox-static.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <sstream>
#include <stdexcept>

#include "base/file.h"
#include "base/sys.h"
#include "base/unix_socket.h"
#include "disk/qcow2.h"
#include "runtime/box_config.h"
#include "runtime/control.h"
#include "runtime/database.h"
#include "runtime/exit_record.h"
#include "runtime/lease.h"
#include "runtime/line_channel.h"
#include "runtime/output_log.h"
#include "runtime/paths.h"
#include "runtime/records.h"
#include "runtime/session_client.h"
#include "vmm/host_clock.h"

namespace boxlite::shim {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr auto kPatience = 180s;  // a busy machine may be slow; no test waits this long when all is well
constexpr const char* kId = "0123456789ab";
constexpr std::uint64_t kDiskBytes = 64U << 20U;

template <typename Condition>
bool eventually(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    ::poll(nullptr, 0, 10);
  }
  return true;
}

int run_program(const std::string& program, std::vector<std::string> argv) {
  argv.insert(argv.begin(), program);
  auto child =
      ChildProcess::spawn({.program = *find_program(program), .argv = std::move(argv), .environment = {"PATH=/usr/bin:/bin"}});
  return child ? child->wait()->code : -1;
}

std::string base_image() {
  static const TempDir folder = *TempDir::create("/tmp", "boxlite-shim-base-");
  static const std::string image = [] {
    const std::string root = folder.path() + "/root";
    for (const char* path : {"", "/bin", "/etc", "/tmp", "/proc", "/sys", "/dev"}) EXPECT_TRUE(sys::mkdir(root + path, 0755));
    EXPECT_EQ(run_program("cp", {"/bin/busybox", root + "/bin/busybox"}), 0);
    for (const char* applet : {"sh", "sleep", "cat", "echo", "true", "dd", "kill"}) {
      EXPECT_EQ(::symlink("busybox", fmt::format("{}/bin/{}", root, applet).c_str()), 0);
    }
    EXPECT_TRUE(write_file_volatile(root + "/etc/passwd", "root:x:0:0:root:/:/bin/sh\n", 0644));
    std::string path = folder.path() + "/base.ext4";
    EXPECT_EQ(run_program("mke2fs", {"-q", "-t", "ext4", "-b", "4096", "-E", "root_owner=0:0", "-d", root, path, "64M"}), 0);
    return path;
  }();
  return image;
}

// One home with one box, started as runtime/start.cc does it.
class ShimTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(sys::stat(BOXLITE_TEST_GUEST_DIR "/vmlinux")) << "the guest kernel is not built: make kernel";
    ::signal(SIGPIPE, SIG_IGN);
    auto opened = open_home(home_.path() + "/home");
    ASSERT_TRUE(opened) << opened.error().message();
    auto database = Database::open(paths_.database());
    ASSERT_TRUE(database) << database.error().message();
    database_.emplace(std::move(*database));
    ASSERT_TRUE(sys::mkdir(paths_.box(kId), 0700));
    ASSERT_TRUE(disk::create_overlay(paths_.disk(kId), kDiskBytes, "named-for-the-record.ext4", "raw"));
    BoxRow row;
    row.id = kId;
    row.name = "test";
    row.config =
        to_json(BoxConfig{.options = {}, .args = {"true"}, .working_dir = "", .user = "", .stop_signal = "", .labels = {}});
    row.created_at = sys::utc_now();
    ASSERT_TRUE(database_->insert_box(row));

    config_.home = paths_.home();
    config_.box_id = kId;
    config_.box.options.hostname = "test";
    config_.env = {"PATH=/bin", "SECRET=canary"};
    config_.box.options.disk_bytes = kDiskBytes;
    config_.vm.memory_mib = 256;
    config_.vm.kernel = BOXLITE_TEST_GUEST_DIR "/vmlinux";
    config_.vm.initramfs = BOXLITE_TEST_GUEST_DIR "/initramfs.cpio";
    config_.vm.base_image = base_image();
    config_.vm.overlay = paths_.disk(kId);
    config_.vm.tsc_khz = *vmm::measure_tsc_khz();
    auto programs = vmm::find_vm_programs(BOXLITE_TEST_BIN_DIR "/boxlite-vm-init");
    ASSERT_TRUE(programs) << programs.error().message();
    config_.programs = *programs;
    config_.net_program = BOXLITE_TEST_BIN_DIR "/boxlite-net";
  }

  void TearDown() override {
    // Whatever a failed test left running.
    const auto shim = open_lease_holder(paths_, kId);
    if (shim && *shim) (void)signal_process((*shim)->get(), SIGKILL);
    EXPECT_TRUE(eventually([&] { return !*OfdLock::held(paths_.vm_lock(kId)); }));
    if (HasFailure()) {
      for (const auto& file : {paths_.shim_log(kId), paths_.console_log(kId), paths_.exit_record(kId)}) {
        std::cerr << "---- " << file << "\n" << read_file(file, 1U << 20U).value_or("(none)") << "\n";
      }
    }
  }

  UniqueFd spawn_shim(const std::vector<std::string>& environment = {}) {
    auto pair = sys::socket_pair();
    const auto log = sys::open(paths_.shim_log(kId), O_WRONLY | O_CREAT | O_APPEND, 0600);
    auto child = ChildProcess::spawn({.program = BOXLITE_TEST_BIN_DIR "/boxlite-shim",
                                      .argv = {"boxlite-shim", kId},
                                      .environment = environment,
                                      .stdin_fd = pair->b.get(),
                                      .stdout_fd = log->get(),
                                      .stderr_fd = log->get()});
    EXPECT_TRUE(child) << child.error().message();
    EXPECT_EQ(child->wait()->code, 0) << "the first process only forks";
    return std::move(pair->a);
  }

  // Sends the configuration and returns the socket for the reports.
  UniqueFd start(std::vector<std::string> args, const std::vector<std::string>& environment = {}) {
    begin_start(std::move(args));
    return send_config(environment);
  }

  void begin_start(std::vector<std::string> args) {
    auto row = database_->begin_start(kId, {*boot_id(), sys::utc_now()}, ::geteuid() == 0);
    EXPECT_TRUE(row) << row.error().message();
    config_.generation = row->generation;
    config_.vm.uid = row->uid;
    config_.box.args = std::move(args);
  }

  UniqueFd send_config(const std::vector<std::string>& environment) {
    UniqueFd socket = spawn_shim(environment);
    EXPECT_TRUE(send_line(socket.get(), dump_json(to_json(config_))));
    return socket;
  }

  // The reports until the last one ("running", "failed", end-of-file) or `until`.
  static std::vector<Json> reports(int socket, std::string_view until = "running") {
    std::vector<Json> seen;
    LineReader lines(socket);
    for (;;) {
      const auto line = lines.next(std::chrono::steady_clock::now() + kPatience);
      EXPECT_TRUE(line) << line.error().message();
      if (!line || !*line) return seen;
      seen.push_back(*parse_json(**line, "report"));
      const std::string kind = seen.back()["report"];
      if (kind == until || kind == "failed") return seen;
    }
  }

  static std::string kinds(const std::vector<Json>& reports) {
    std::string text;
    for (const Json& report : reports) text += (text.empty() ? "" : " ") + report["report"].get<std::string>();
    return text;
  }

  void start_and_run(std::vector<std::string> args) {
    const UniqueFd socket = start(std::move(args));
    ASSERT_EQ(kinds(reports(socket.get())), "lease running");
  }

  // The shim that stands at a failpoint.
  static pid_t stopped_shim() {
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const auto command = read_file(entry.path() / "cmdline", 65536);
      if (!command || !command->starts_with(std::string("boxlite-shim\0", 13) + kId)) continue;
      const auto status = read_file(entry.path() / "status", 65536);
      if (status && status->find("State:\tT") != std::string::npos) return std::stoi(entry.path().filename());
    }
    return -1;
  }

  bool alive() const { return probe_lease(paths_, kId)->held; }

  // The record of a box that ends by itself, checked to have left nothing else.
  ExitRecord end() {
    EXPECT_TRUE(eventually([&] { return !alive(); })) << "still running";
    EXPECT_FALSE(*OfdLock::held(paths_.vm_lock(kId)));
    EXPECT_FALSE(sys::stat(paths_.box(kId) + "/portal.sock"));
    return read_exit_record(paths_.exit_record(kId)).value_or(ExitRecord{});
  }

  std::string output() const {
    std::string text;
    EXPECT_TRUE(read_log(paths_.output_log(kId), std::nullopt, {}, [&](const LogRecord& record) {
      text += record.data;
      return true;
    }));
    return text;
  }

  Result<Json> control(const Json& call) const { return control_call(paths_.box(kId), call, 60s); }

  std::string exec(std::vector<std::string> command) const {
    ExecOptions options;
    options.command = std::move(command);
    options.env = {"PATH=/bin"};
    auto execution = start_exec(paths_.box(kId), options);
    EXPECT_TRUE(execution) << execution.error().message();
    std::string text;
    for (;;) {
      auto event = execution->next(kPatience);
      EXPECT_TRUE(event && *event);
      if (!event || !*event || std::holds_alternative<ExitInfo>(**event)) return text;
      text += std::get<OutputChunk>(**event).data;
    }
  }

  /// The process and all below it.
  static std::vector<pid_t> tree(pid_t root) {
    std::vector<pid_t> found = {root};
    for (std::size_t i = 0; i < found.size(); ++i) {
      std::istringstream children(read_file(fmt::format("/proc/{0}/task/{0}/children", found[i]), 4096).value_or(""));
      for (pid_t child = 0; children >> child;) found.push_back(child);
    }
    return found;
  }
  /// The one process of the box whose name begins like that.
  pid_t process_named(std::string_view name) const {
    for (const pid_t pid : tree(shim_pid())) {
      if (read_file(fmt::format("/proc/{}/comm", pid), 64).value_or("").starts_with(name)) return pid;
    }
    throw std::runtime_error(fmt::format("the box has no process {}", name));
  }
  /// Never a number that kill() takes for a group or for everybody.
  pid_t shim_pid() const {
    const auto lease = probe_lease(paths_, kId);
    if (!lease || !lease->record || lease->record->pid <= 1) throw std::runtime_error("the box has no shim");
    return lease->record->pid;
  }

  TempDir home_ = *TempDir::create("/tmp", "boxlite-shim-test-");
  HomePaths paths_{home_.path() + "/home"};
  std::optional<Database> database_;
  ShimConfig config_;
};

TEST_F(ShimTest, ABoxRunsItsCommandAndLeavesItsExitCodeAndOutput) {
  const UniqueFd socket = start({"sh", "-c", "echo hello $SECRET; echo oops >&2; exit 3"});
  EXPECT_EQ(kinds(reports(socket.get())), "lease running");
  const ExitRecord record = end();
  EXPECT_FALSE(record.failed) << record.reason;
  EXPECT_EQ(record.code, 3);
  EXPECT_EQ(record.generation, 1U);
  EXPECT_THAT(output(), HasSubstr("hello canary\n"));
  EXPECT_THAT(output(), HasSubstr("oops\n"));
}

TEST_F(ShimTest, TheDiskIsKeptFromStartToStart) {
  start_and_run({"sh", "-c", "echo kept >/tmp/file"});
  EXPECT_EQ(end().code, 0);
  start_and_run({"cat", "/tmp/file"});
  EXPECT_EQ(end().code, 0);
  EXPECT_EQ(output(), "kept\n");
}

TEST_F(ShimTest, ACommandThatDoesNotExistFailsTheStartWithItsCode) {
  const UniqueFd socket = start({"no-such-command"});
  const auto seen = reports(socket.get());
  ASSERT_EQ(kinds(seen), "lease failed");
  EXPECT_EQ(seen.back()["code"], "command_not_found");
  const ExitRecord record = end();
  EXPECT_FALSE(record.failed);
  EXPECT_EQ(record.code, 127);
  EXPECT_THAT(record.reason, HasSubstr("no-such-command"));
}

TEST_F(ShimTest, ACommandIsHeldUntilItsStarterHasAttached) {
  config_.attach = true;
  const UniqueFd socket = start({"sh", "-c", "echo first; exit 4"});
  ASSERT_EQ(kinds(reports(socket.get(), "prepared")), "lease prepared");
  EXPECT_EQ(output(), "");
  auto execution = attach_session(paths_.box(kId), {});
  ASSERT_TRUE(execution) << execution.error().message();
  ASSERT_TRUE(send_line(socket.get(), "go"));
  EXPECT_EQ(kinds(reports(socket.get())), "running");
  std::string seen;
  int code = -1;
  while (code < 0) {
    auto event = execution->next(kPatience);
    ASSERT_TRUE(event && *event);
    if (const auto* chunk = std::get_if<OutputChunk>(&**event)) seen += chunk->data;
    if (const auto* exit = std::get_if<ExitInfo>(&**event)) code = exit->code;
  }
  EXPECT_EQ(seen, "first\n");
  EXPECT_EQ(code, 4);
  execution = fail(ErrorCode::kUnavailable, "closed");  // the agent waits for its clients to leave
  EXPECT_EQ(end().code, 4);
}

TEST_F(ShimTest, AStarterThatIsGoneHoldsNoCommandBack) {
  config_.attach = true;
  {
    const UniqueFd socket = start({"sh", "-c", "exit 5"});
    ASSERT_EQ(kinds(reports(socket.get(), "prepared")), "lease prepared");
  }
  EXPECT_EQ(end().code, 5);
}

TEST_F(ShimTest, AStarterThatIsGoneBeforeTheBoxIsPreparedHoldsNoCommandBack) {
  config_.attach = true;
  {
    const UniqueFd socket = start({"sh", "-c", "exit 5"});
    ASSERT_EQ(kinds(reports(socket.get(), "lease")), "lease");
  }
  EXPECT_EQ(end().code, 5);
}

TEST_F(ShimTest, CommandsRunBesideTheMainCommandAndSignalsReachIt) {
  start_and_run({"sh", "-c", "trap 'exit 6' USR1; echo ready; while :; do sleep 1; done"});
  EXPECT_TRUE(control({{"call", "ping"}}));
  EXPECT_EQ(exec({"sh", "-c", "echo one >/tmp/x; cat /tmp/x"}), "one\n");
  EXPECT_EQ(exec({"cat", "/tmp/x"}), "one\n");
  EXPECT_EQ(exec({"sh", "-c", "dd if=/dev/zero bs=64k count=32 2>/dev/null"}).size(), 2U << 20U);
  EXPECT_FALSE(control({{"call", "signal"}, {"signal", 65}}));
  EXPECT_FALSE(control({{"call", "nonsense"}}));
  EXPECT_TRUE(eventually([&] { return output() == "ready\n"; }));
  EXPECT_TRUE(control({{"call", "signal"}, {"signal", SIGUSR1}}));
  EXPECT_EQ(end().code, 6);
}

TEST_F(ShimTest, AStopEndsACommandThatIgnoresItWhenTheGraceIsOver) {
  start_and_run({"sh", "-c", "trap '' TERM; while :; do sleep 1; done"});
  EXPECT_TRUE(control({{"call", "stop"}, {"grace_ms", 3'600'000}}));
  EXPECT_TRUE(control({{"call", "ping"}}));
  EXPECT_TRUE(control({{"call", "stop"}, {"grace_ms", 500}}));
  const ExitRecord record = end();
  EXPECT_FALSE(record.failed) << record.reason;
  EXPECT_EQ(record.code, 137);
}

TEST_F(ShimTest, AStopSendsTheBoxsOwnSignal) {
  config_.box.stop_signal = "SIGRTMIN+3";
  start_and_run({"sh", "-c", "trap 'exit 7' 37; echo ready; while :; do sleep 1; done"});
  EXPECT_TRUE(eventually([&] { return output() == "ready\n"; }));
  EXPECT_TRUE(control({{"call", "stop"}, {"grace_ms", 60'000}}));
  EXPECT_EQ(end().code, 7);
}

TEST_F(ShimTest, TerminatingTheShimStopsTheBox) {
  start_and_run({"sh", "-c", "trap 'exit 8' TERM; echo ready; while :; do sleep 1; done"});
  EXPECT_TRUE(eventually([&] { return output() == "ready\n"; }));
  ::kill(shim_pid(), SIGTERM);
  EXPECT_EQ(end().code, 8);
}

TEST_F(ShimTest, NothingIsLeftOfAKilledShim) {
  start_and_run({"sleep", "100000"});
  EXPECT_TRUE(*OfdLock::held(paths_.vm_lock(kId)));
  ::kill(shim_pid(), SIGKILL);
  EXPECT_TRUE(eventually([&] { return !alive() && !*OfdLock::held(paths_.vm_lock(kId)); }));
  EXPECT_FALSE(read_exit_record(paths_.exit_record(kId)));
  start_and_run({"sh", "-c", "exit 9"});
  EXPECT_EQ(end().code, 9);
}

TEST_F(ShimTest, AKilledQemuFailsTheBoxWithTheReason) {
  start_and_run({"sleep", "100000"});
  ::kill(process_named("qemu-system"), SIGKILL);
  const ExitRecord record = end();
  EXPECT_TRUE(record.failed);
  EXPECT_THAT(record.reason, HasSubstr("signal 9"));
}

TEST_F(ShimTest, AKilledNetworkProcessFailsTheBoxWithTheReason) {
  start_and_run({"sleep", "100000"});
  ::kill(process_named("boxlite-net"), SIGKILL);
  const ExitRecord record = end();
  EXPECT_TRUE(record.failed);
  EXPECT_THAT(record.reason, HasSubstr("its network process was ended by signal 9"));
}

TEST_F(ShimTest, AVmThatCannotStartFailsAtOnceWithTheReason) {
  config_.vm.kernel = home_.path() + "/absent-kernel";
  const UniqueFd socket = start({"true"});
  const auto seen = reports(socket.get());
  ASSERT_EQ(kinds(seen), "lease failed");
  EXPECT_THAT(seen.back()["message"].get<std::string>(), HasSubstr("absent-kernel"));
  EXPECT_TRUE(end().failed);
}

TEST_F(ShimTest, AStopDuringTheBootIsNotAFailure) {
  const UniqueFd socket = start({"sleep", "100000"});
  ASSERT_EQ(kinds(reports(socket.get(), "lease")), "lease");
  ASSERT_TRUE(eventually([&] { return control({{"call", "stop"}, {"grace_ms", 1000}}).has_value(); }));
  const ExitRecord record = end();
  EXPECT_FALSE(record.failed) << record.reason;
  EXPECT_EQ(record.code, 137);
}

TEST_F(ShimTest, AnOvertakenStartDoesNotTouchTheBox) {
  auto row = database_->begin_start(kId, {*boot_id(), sys::utc_now()}, false);
  ASSERT_TRUE(row);
  config_.generation = row->generation;
  ASSERT_TRUE(database_->begin_start(kId, {*boot_id(), sys::utc_now()}, false));
  config_.box.args = {"true"};
  const UniqueFd socket = spawn_shim();
  ASSERT_TRUE(send_line(socket.get(), dump_json(to_json(config_))));
  EXPECT_EQ(kinds(reports(socket.get())), "failed");
  EXPECT_FALSE(sys::stat(paths_.state(kId)));
  EXPECT_FALSE(sys::stat(paths_.exit_record(kId)));
}

TEST_F(ShimTest, AStarterThatDiesBeforeTheConfigurationLeavesNothing) {
  UniqueFd socket = spawn_shim();
  ASSERT_TRUE(sys::write_all(socket.get(), "{\"version\":1,"));
  EXPECT_EQ(::shutdown(socket.get(), SHUT_WR), 0);
  EXPECT_EQ(kinds(reports(socket.get())), "");  // ends at the shim's end
  EXPECT_FALSE(sys::stat(paths_.lease(kId)));
}

TEST_F(ShimTest, AStarterThatDiesBeforeTheLeaseHasFailedToStart) {
  pid_t shim = -1;
  {
    const UniqueFd socket = start({"true"}, {"BOXLITE_FAILPOINTS=shim.configured=stop"});
    ASSERT_TRUE(eventually([&] { return (shim = stopped_shim()) > 0; }));
  }
  ::kill(shim, SIGCONT);
  EXPECT_TRUE(eventually([&] { return read_exit_record(paths_.exit_record(kId)).has_value(); }));
  const ExitRecord record = end();
  EXPECT_TRUE(record.failed);
  EXPECT_THAT(record.reason, HasSubstr("interrupted"));
  EXPECT_FALSE(sys::stat(paths_.state(kId)));
}

TEST_F(ShimTest, AnOwnedBoxEndsWithItsOwner) {
  auto ready = sys::pipe();
  config_.owner_bound = true;
  begin_start({"sleep", "100000"});  // the database stays in this process
  const pid_t owner = ::fork();
  ASSERT_GE(owner, 0);
  if (owner == 0) {
    const UniqueFd socket = send_config({});
    const bool ran = kinds(reports(socket.get())) == "lease running";
    (void)sys::write_all(ready->write_end.get(), ran ? "r" : "f");
    for (;;) ::pause();
  }
  char byte = 0;
  EXPECT_EQ(::read(ready->read_end.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 'r');
  ::kill(owner, SIGKILL);
  ::waitpid(owner, nullptr, 0);
  const ExitRecord record = end();
  EXPECT_FALSE(record.failed);
  EXPECT_THAT(record.reason, HasSubstr("has ended"));
}

TEST_F(ShimTest, ABoxThatIsNotToStayRemovesItself) {
  config_.box.options.auto_remove = true;
  start_and_run({"true"});
  EXPECT_TRUE(eventually([&] { return !database_->box(kId)->has_value() && !sys::stat(paths_.lease(kId)); }));
  EXPECT_FALSE(sys::stat(paths_.box(kId)));
}

TEST_F(ShimTest, TheShimsProcessTellsNothing) {
  start_and_run({"sleep", "100000"});
  const pid_t shim = shim_pid();
  EXPECT_EQ(*read_file(fmt::format("/proc/{}/cmdline", shim), 4096),
            std::string("boxlite-shim\0", 13) + kId + std::string(1, '\0'));
  if (::geteuid() == 0) {
    EXPECT_EQ(*read_file(fmt::format("/proc/{}/environ", shim), 65536), "");
    for (const pid_t pid : tree(shim)) {
      EXPECT_EQ(read_file(fmt::format("/proc/{}/environ", pid), 65536)->find("canary"), std::string::npos);
      EXPECT_EQ(read_file(fmt::format("/proc/{}/cmdline", pid), 65536)->find("canary"), std::string::npos);
    }
  }
  EXPECT_EQ(sys::stat(fmt::format("/proc/{}/stat", shim))->st_uid, 0U) << "dumpable";
  for (const auto& file : {paths_.shim_log(kId), paths_.console_log(kId), paths_.state(kId)}) {
    EXPECT_EQ(read_file(file, 1U << 20U)->find("canary"), std::string::npos) << file;
  }
}

TEST_F(ShimTest, AShimKilledAtAnyStepLeavesABoxThatStartsAgain) {
  for (const char* point :
       {"shim.configured", "shim.leased", "shim.vm_started", "shim.prepared", "shim.running", "shim.exit_record"}) {
    const UniqueFd socket = start({"true"}, {fmt::format("BOXLITE_FAILPOINTS={}=kill9", point)});
    (void)reports(socket.get(), "never");
    EXPECT_TRUE(eventually([&] { return !alive() && !*OfdLock::held(paths_.vm_lock(kId)); })) << point;
    EXPECT_FALSE(read_exit_record(paths_.exit_record(kId))) << point;
  }
  start_and_run({"sh", "-c", "exit 10"});
  EXPECT_EQ(end().code, 10);
}

}  // namespace
}  // namespace boxlite::shim
