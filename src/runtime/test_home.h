// For tests: a home with one image, a fake shim, and every command a process of its own, as in real life: so a command can be
// killed at a failpoint, and the next one starts with nothing but what the home holds.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/process.h"
#include "base/sys.h"
#include "boxlite/runtime.h"
#include "runtime/database.h"
#include "runtime/lease.h"
#include "runtime/paths.h"
#include "runtime/shim_kill.h"

namespace boxlite {

inline constexpr const char* kTestImage = "docker.io/library/test:latest";

/// Waits for a condition; generous, since the machine may be busy.
inline bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

struct CommandResult {
  ExitStatus status;
  std::string output;  // stdout and stderr
  bool ok() const { return status.code == 0; }
};

/// Has the process a descriptor that leads there (readlink of /proc/<pid>/fd/N)? So it has come as far as to have opened it.
inline bool has_open(pid_t pid, const std::string& what) {
  std::error_code error;
  for (std::filesystem::directory_iterator it(fmt::format("/proc/{}/fd", pid), error), end; !error && it != end;
       it.increment(error)) {
    std::error_code gone;
    if (std::filesystem::read_symlink(it->path(), gone) == what) return true;
  }
  return false;
}

class TestHome {
 public:
  TestHome() : directory_(*TempDir::create(std::filesystem::temp_directory_path(), "boxlite-test-")), paths_(root() + "/home") {
    for (const char* folder : {"/libexec", "/guest", "/path"}) std::filesystem::create_directory(root() + folder);
    for (const char* file : {"/guest/vmlinux", "/guest/initramfs.cpio"}) std::ofstream(root() + file) << "x";
    for (const char* program :
         {"/libexec/boxlite-vm-init", "/libexec/boxlite-volume", "/libexec/boxlite-net", "/libexec/boxlite-template",
          "/libexec/boxlite-memory-guard.so", "/libexec/boxlite-vm-resume", "/path/qemu-system-x86_64", "/path/bwrap"}) {
      std::filesystem::create_symlink("/bin/true", root() + program);
    }
    use_shim(BOXLITE_FAKE_SHIM);
    EXPECT_TRUE(open_home(paths_.home()));
    put_test_image();
  }

  TestHome(const TestHome&) = delete;
  TestHome& operator=(const TestHome&) = delete;
  /// A test that fails half-way leaves no shim behind either.
  ~TestHome() {
    for (const BoxRow& row : rows()) (void)kill_shim(paths_, row.id);
  }

  const std::string& root() const { return directory_.path(); }
  const HomePaths& paths() const { return paths_; }
  Database database() const { return *Database::open(paths_.database()); }
  std::vector<BoxRow> rows() const { return database().boxes().value_or(std::vector<BoxRow>()); }

  /// A pidfd of the shim that runs the box.
  UniqueFd shim(const std::string& id) const {
    auto found = open_lease_holder(paths_, id);
    EXPECT_TRUE(found && *found) << "no shim of box " << id;
    return found && *found ? std::move(**found) : UniqueFd();
  }

  void use_shim(const std::string& program) const {
    const std::string link = root() + "/libexec/boxlite-shim";
    std::filesystem::remove(link);
    std::filesystem::create_symlink(program, link);
  }

  /// A command in a process of its own; see runtime_test_command.cc for the verbs.
  ChildProcess launch(const std::vector<std::string>& arguments, int output_fd = -1, const std::string& failpoints = "") const {
    std::vector<std::string> argv = {"runtime_test_command", paths_.home()};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return *ChildProcess::spawn(
        {.program = BOXLITE_TEST_COMMAND,
         .argv = argv,
         .environment = {"PATH=" + root() + "/path", "BOXLITE_LIBEXEC_DIR=" + root() + "/libexec",
                         "BOXLITE_GUEST_DIR=" + root() + "/guest", "BOXLITE_COLD=1", "BOXLITE_FAILPOINTS=" + failpoints},
         .stdout_fd = output_fd,
         .stderr_fd = output_fd});
  }

  CommandResult run(const std::vector<std::string>& arguments, const std::string& failpoints = "") const {
    const std::string log = root() + "/output-" + sys::random_hex(4);
    UniqueFd fd =
        *sys::open(log, O_RDWR | O_CREAT | O_EXCL, 0600);  // a file: a shim that keeps a pipe open would hold the test up
    ChildProcess child = launch(arguments, fd.get(), failpoints);
    const ExitStatus status = *child.wait();
    return {status, *read_file(log, 1 << 20)};
  }

  /// Creates a box whose main command tells the fake shim what to do (fake_shim_program.cc); returns its id.
  std::string create(const std::string& name, const std::vector<std::string>& command, bool auto_remove = false) const {
    std::vector<std::string> arguments = {auto_remove ? "create-rm" : "create", name};
    arguments.insert(arguments.end(), command.begin(), command.end());
    CommandResult result = run(arguments);
    EXPECT_TRUE(result.ok()) << result.output;
    if (!result.output.empty()) result.output.pop_back();
    return result.output;
  }

  /// "running", "failed: …"
  std::string status(const std::string& name) const {
    std::string output = run({"status", name}).output;
    if (!output.empty()) output.pop_back();
    return output;
  }

  /// Every file of the home that belongs to some box, locks included.
  std::vector<std::string> box_files() const {
    std::vector<std::string> found;
    for (const std::string& folder : {paths_.locks(), paths_.boxes(), paths_.trash(), paths_.tmp()}) {
      for (const auto& entry : std::filesystem::directory_iterator(folder)) found.push_back(entry.path());
    }
    return found;
  }

 private:
  void put_test_image() const {
    ImageInfo image;
    image.reference = kTestImage;
    image.id = "sha256:" + std::string(64, 'a');
    image.manifest_digest = "sha256:" + std::string(64, 'b');
    image.platform = "linux/amd64";
    image.config.env = {"PATH=/bin", "FROM=image"};
    Database database = *Database::open(paths_.database());
    EXPECT_TRUE(database.put_images({image}));
    std::ofstream(paths_.base(image.id)) << "x";
  }

  TempDir directory_;
  HomePaths paths_;
};

}  // namespace boxlite
