// What a host with cgroup v2 makes of the cgroup of a box's VM (vmm/vm_cgroup.h): run in a privileged box, whose kernel has one.
//
//   vm_cgroup_probe place           where it would be, or why nowhere
//   vm_cgroup_probe bounds          makes one with limits, runs processes in it that go beyond them, removes it
//   vm_cgroup_probe die NAME        makes one, leaves a process in it, and is killed
//   vm_cgroup_probe remove NAME     removes what is left
//   vm_cgroup_probe use MIB, fork, where, sleep    what those processes do
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <fmt/core.h>

#include "base/file.h"
#include "base/process.h"
#include "base/sys.h"
#include "vmm/vm_cgroup.h"

namespace boxlite::vmm {
namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;
constexpr CgroupLimits kLimits = {.memory_bytes = 24 * kMiB, .processes = 8};

Result<ChildProcess> spawn(int cgroup, std::vector<std::string> argv) {
  argv.insert(argv.begin(), "vm_cgroup_probe");
  return ChildProcess::spawn({.program = "/proc/self/exe",
                              .argv = std::move(argv),
                              .stdout_fd = STDOUT_FILENO,
                              .stderr_fd = STDERR_FILENO,
                              .cgroup = cgroup});
}

void print(std::string_view key, std::string_view value) {
  while (value.ends_with('\n')) value.remove_suffix(1);
  fmt::print("{}: {}\n", key, value);
  (void)std::fflush(stdout);
}

void print_file(const VmCgroup& cgroup, const std::string& name) {
  print(name, read_file(cgroup.path() + "/" + name, 4096).value_or("unreadable"));
}

Result<std::string> path_of(const std::string& name) {
  TRY_ASSIGN(const std::string place, find_cgroup_place());
  return place + "/boxlite/" + name;
}

Result<void> place() {
  const auto found = find_cgroup_place();
  print(found ? "place" : "none", found ? *found : found.error().message());
  return {};
}

Result<void> run(const VmCgroup& cgroup, std::vector<std::string> argv) {
  TRY_ASSIGN(const UniqueFd directory, cgroup.open());
  const std::string what = argv.back();
  TRY_ASSIGN(ChildProcess child, spawn(directory.get(), std::move(argv)));
  TRY_ASSIGN(const ExitStatus status, child.wait());
  print("end of " + what, fmt::format("{}", status.code));
  return {};
}

Result<void> bounds() {
  TRY_ASSIGN(const std::string path, path_of("bounds"));
  {
    TRY_ASSIGN(const std::unique_ptr<VmCgroup> cgroup, VmCgroup::create(path, kLimits));
    for (const char* name : {"memory.max", "memory.oom.group", "pids.max"}) print_file(*cgroup, name);
    TRY(run(*cgroup, {"where"}));
    TRY(run(*cgroup, {"fork"}));
    TRY_ASSIGN(const UniqueFd directory, cgroup->open());
    TRY_ASSIGN(ChildProcess bystander, spawn(directory.get(), {"sleep"}));
    TRY(run(*cgroup, {"use", "8"}));
    VmCgroup::OutOfMemory seen = cgroup->out_of_memory();
    print("before", fmt::format("killed {}, own limit {}", seen.killed, seen.own_limit));
    TRY(run(*cgroup, {"use", "64"}));
    TRY_ASSIGN(const ExitStatus status, bystander.wait());
    print("end of bystander", fmt::format("{}", status.code));
    seen = cgroup->out_of_memory();
    print("after", fmt::format("killed {}, own limit {}", seen.killed, seen.own_limit));
  }
  print("directory", ::access(path.c_str(), F_OK) == 0 ? "left" : "gone");
  return {};
}

Result<void> die(const std::string& name) {
  TRY_ASSIGN(const std::string path, path_of(name));
  TRY_ASSIGN(const std::unique_ptr<VmCgroup> cgroup, VmCgroup::create(path, kLimits));
  TRY_ASSIGN(const UniqueFd directory, cgroup->open());
  TRY(spawn(directory.get(), {"sleep"}));
  ::kill(::getpid(), SIGKILL);
  return {};
}

Result<void> remove(const std::string& name) {
  TRY_ASSIGN(const std::string path, path_of(name));
  const auto early = remove_cgroup(path, std::chrono::milliseconds(10));
  print("removed", early ? "at once" : early.error().message());
  TRY(kill_cgroup(path));
  TRY(remove_cgroup(path, std::chrono::seconds(60)));
  print("directory", ::access(path.c_str(), F_OK) == 0 ? "left" : "gone");
  return remove_cgroup(path, std::chrono::seconds(0));
}

// ---- In the cgroup

Result<void> where() {
  TRY_ASSIGN(const std::string text, read_file("/proc/self/cgroup", 4096));
  print("where", text);
  return {};
}

Result<void> use(std::size_t mib) {
  void* const memory = std::malloc(mib * kMiB);
  if (memory == nullptr) return fail(ErrorCode::kResourceExhausted, "malloc");
  std::memset(memory, 1, mib * kMiB);
  asm volatile("" : : "g"(memory) : "memory");
  std::free(memory);
  return {};
}

Result<void> fork_all() {
  std::vector<pid_t> made;
  while (made.size() < 100) {
    const pid_t pid = ::fork();
    if (pid < 0) break;
    if (pid == 0) {
      ::pause();
      ::_exit(0);
    }
    made.push_back(pid);
  }
  print("processes", fmt::format("{}, then {}", 1 + made.size(), std::strerror(errno)));
  for (const pid_t pid : made) ::kill(pid, SIGKILL);
  while (::wait(nullptr) > 0) continue;
  return {};
}

Result<void> dispatch(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const std::string argument = argc > 2 ? argv[2] : "";
  if (what == "place") return place();
  if (what == "bounds") return bounds();
  if (what == "die") return die(argument);
  if (what == "remove") return remove(argument);
  if (what == "where") return where();
  if (what == "use") return use(std::strtoul(argument.c_str(), nullptr, 10));
  if (what == "fork") return fork_all();
  if (what == "sleep") ::pause();
  return fail(ErrorCode::kInvalidArgument, "usage: see its source");
}

}  // namespace
}  // namespace boxlite::vmm

int main(int argc, char** argv) {
  const auto done = boxlite::vmm::dispatch(argc, argv);
  if (!done) fmt::print(stderr, "{}\n", done.error().message());
  return done ? 0 : 1;
}
