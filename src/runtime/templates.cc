#include "runtime/templates.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/failpoint.h"
#include "base/file.h"
#include "base/ofd_lock.h"
#include "base/process.h"
#include "base/sys.h"
#include "disk/qcow2.h"
#include "image/image_job.h"
#include "runtime/byte_text.h"
#include "runtime/checkpoint.h"
#include "runtime/disk_usage.h"
#include "runtime/line_channel.h"
#include "runtime/records.h"
#include "vmm/jail.h"
#include "vmm/process_capture.h"
#include "vmm/qemu_command.h"

namespace boxlite {
namespace {

constexpr int kTemplateVersion = 1;
constexpr std::string_view kTemplate = "template";
constexpr std::size_t kMostKept = 12;
constexpr std::size_t kMaxTemplateRecord = std::size_t{64} << 10U;
constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;
// Beyond the guest's whole memory, so that a making never fills the disk.
constexpr std::uint64_t kSpareBytes = 256 * kMiB;
// Making one takes a boot; a busy host may need ten times as long, and others may come first.
constexpr auto kMakerPatience = std::chrono::minutes(2);
// What a start has found is not removed before it had time to open it.
constexpr std::int64_t kInUseSeconds = 600;
// What has failed is tried again then: it may have been somebody's SIGKILL, or the host's lack of memory.
constexpr std::int64_t kFailureSeconds = 600;
// The VM of a template of root's; it owns nothing but the memory file, while it is made.
constexpr uid_t kNobody = 65534;
constexpr std::string_view kUnfinished = ".new";
constexpr std::string_view kFailed = ".failed";
constexpr std::string_view kDropped = ".dropped";

std::string lock_path(const HomePaths& paths) { return paths.templates() + "/lock"; }

Result<Json> file_identity(const std::string& path) {
  TRY_ASSIGN(const struct stat st, sys::stat(path));
  return Json{{"path", bytes_to_text(path)},
              {"device", st.st_dev},
              {"inode", st.st_ino},
              {"size", st.st_size},
              {"mtime_ns", st.st_mtim.tv_sec * 1'000'000'000 + st.st_mtim.tv_nsec},
              {"ctime_ns", st.st_ctim.tv_sec * 1'000'000'000 + st.st_ctim.tv_nsec}};
}

/// Everything that must be the same.
Result<Json> machine_of(const StartPrograms& programs, const std::string& boot, const TemplateWish& wish) {
  Json machine = {{"boot_id", boot},
                  {"boxlite", BOXLITE_VERSION},
                  {"accelerator", to_string(wish.vm.accelerator)},
                  {"cpu", vmm::cpu_model(wish.vm.accelerator)},
                  {"cpus", wish.vm.cpus},
                  {"memory_mib", wish.vm.memory_mib},
                  {"disk_bytes", wish.disk_bytes},
                  {"nic", wish.nic},
                  {"tsc_khz", wish.vm.tsc_khz},
                  {"image", wish.image_id},
                  {"privileged", wish.privileged && !wish.image_id.empty()}};
  for (const auto& [key, path] : {std::pair("qemu", programs.vm.qemu), std::pair("kernel", wish.vm.kernel),
                                  std::pair("initramfs", wish.vm.initramfs), std::pair("base", wish.vm.base_image)}) {
    if (key == std::string_view("base") && wish.image_id.empty()) continue;
    TRY_ASSIGN(machine[key], file_identity(path));
  }
  return machine;
}

// FNV-1a. It need not be more than a name: the record tells what the template is of.
std::string hash(std::string_view text) {
  std::uint64_t value = 14695981039346656037U;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 1099511628211U;
  return fmt::format("{:016x}", value);
}

// Those of one boot begin with the same digits.
std::string boot_prefix(const std::string& boot) { return hash(boot).substr(0, 8) + "-"; }

Template at(const std::string& stem, const std::string& directory, bool mounted) {
  return {.stem = stem,
          .directory = directory,
          .memory = directory + "/memory",
          .device_state = directory + "/device-state",
          .process_image = directory + "/process-image",
          .disk = mounted ? directory + "/disk.qcow2" : ""};
}

std::string record_path(const std::string& directory) { return directory + "/checkpoint.json"; }

Result<Template> open_template(const std::string& stem, const std::string& directory, const Json& machine, bool mounted) {
  const std::string path = record_path(directory);
  TRY_ASSIGN(const std::string text, read_file(path, kMaxTemplateRecord));
  TRY_ASSIGN(const Json record, parse_json(text, path));
  if (!record.is_object() || record.value("version", 0) != kTemplateVersion || record.value("machine", Json()) != machine)
    return fail(ErrorCode::kNotFound, "{} is of another machine", path);
  Template found = at(stem, directory, mounted);
  TRY_ASSIGN(const std::uint32_t now, device_state_checksum(found.device_state));
  TRY_ASSIGN(const auto sum, json_get<std::uint32_t>(record, "device_state_crc32", path));
  if (now != sum) return fail(ErrorCode::kCorrupt, "{} does not have its checksum", found.device_state);
  TRY_ASSIGN(const struct stat memory, sys::stat(found.memory));
  TRY_ASSIGN(const auto bytes, json_get<off_t>(record, "memory_bytes", path));
  if (memory.st_size != bytes) return fail(ErrorCode::kCorrupt, "{} does not have its size", found.memory);
  // Its maker could not take one, or a box could not go on from it.
  if (::access(found.process_image.c_str(), R_OK) < 0) found.process_image.clear();
  // Where a library was replaced there is another QEMU now.
  if (!found.process_image.empty()) TRY(vmm::check_mapped_files(found.process_image));
  // So that those that are in use are seen to be.
  if (::utimensat(AT_FDCWD, path.c_str(), nullptr, 0) < 0) return fail_errno("touch {}", path);
  return found;
}

Result<void> check_space(const HomePaths& paths, std::uint64_t memory_bytes) {
  struct statvfs fs = {};
  if (::statvfs(paths.templates().c_str(), &fs) < 0) return fail_errno("statvfs {}", paths.templates());
  if (std::uint64_t{fs.f_bavail} * fs.f_frsize < memory_bytes + kSpareBytes)
    return fail(ErrorCode::kResourceExhausted, "a template needs up to {} MiB on the disk", (memory_bytes + kSpareBytes) / kMiB);
  return {};
}

Result<void> run_job(const StartPrograms& programs, const TemplateJob& job, const std::string& log_path) {
  TRY_ASSIGN(const UniqueFd log, sys::open(log_path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  TRY_ASSIGN(sys::SocketPair input, sys::socket_pair());
  TRY_ASSIGN(sys::Pipe output, sys::pipe());
  std::vector<std::string> environment;
#ifdef BOXLITE_WITH_FAILPOINTS
  for (const char* variable : {"BOXLITE_FAILPOINTS", "BOXLITE_FAILPOINTS_TRACE"}) {
    const char* value = std::getenv(variable);  // NOLINT(concurrency-mt-unsafe): read only
    if (value != nullptr) environment.push_back(fmt::format("{}={}", variable, value));
  }
#endif
  TRY_ASSIGN(ChildProcess maker, ChildProcess::spawn({.program = programs.template_maker,
                                                      .argv = {"boxlite-template"},
                                                      .environment = environment,
                                                      .stdin_fd = input.b.get(),
                                                      .stdout_fd = output.write_end.get(),
                                                      .stderr_fd = log.get(),
                                                      .die_with_parent = true}));
  input.b.reset();
  output.write_end.reset();
  const auto listen = [&]() -> Result<void> {
    TRY(send_line(input.a.get(), dump_json(to_json(job))));
    LineReader lines(output.read_end.get());
    TRY_ASSIGN(const std::optional<std::string> line, lines.next(std::nullopt));
    if (!line) return fail(ErrorCode::kInternal, "boxlite-template ended without a word");
    TRY_ASSIGN(const Json answer, parse_json(*line, "boxlite-template"));
    if (answer.contains("ok")) return {};
    TRY_ASSIGN(const auto code, json_get<std::string>(answer, "code", "boxlite-template"));
    TRY_ASSIGN(auto message, json_get<std::string>(answer, "message", "boxlite-template"));
    return std::unexpected(Error(error_code_from_name(code), std::move(message)));
  };
  const auto result = listen();
  input.a.reset();
  TRY(maker.wait());
  return result;
}

Result<void> make_memory_file(const std::string& path, std::uint64_t bytes, bool for_nobody) {
  TRY_ASSIGN(const UniqueFd file, sys::open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  if (::ftruncate(file.get(), static_cast<off_t>(bytes)) < 0) return fail_errno("make {}", path);
  if (for_nobody && ::fchown(file.get(), kNobody, kNobody) < 0) return fail_errno("chown {}", path);
  return {};
}

// Nobody writes to it from here on, its owner included.
Result<void> seal(const std::string& path) {
  TRY_ASSIGN(const UniqueFd file, sys::open(path, O_RDONLY | O_NOFOLLOW));
  if (::fchown(file.get(), ::geteuid(), ::getegid()) < 0) return fail_errno("chown {}", path);
  if (::fchmod(file.get(), 0444) < 0) return fail_errno("chmod {}", path);
  return {};
}

Result<Template> make_template(const HomePaths& paths, const StartPrograms& programs, const TemplateWish& wish,
                               const Json& machine, const std::string& stem) {
  const bool mounted = !wish.image_id.empty();
  const std::uint64_t memory_bytes = wish.vm.memory_mib * kMiB;
  TRY(check_space(paths, memory_bytes));
  const std::string directory = stem + "-" + sys::random_hex(4);
  const std::string work = stem + std::string(kUnfinished);
  TRY(remove_tree(work));
  TRY(sys::mkdir(work, 0700));
  const Template made = at(stem, work, mounted);
  const std::string disk = work + "/disk.qcow2";
  const std::string base = wish.vm.base_image.substr(wish.vm.base_image.rfind('/') + 1);

  TemplateJob job;
  job.vm = wish.vm;
  job.vm.memory_file = vmm::MemoryFile{.path = made.memory, .shared = true};
  job.vm.overlay = disk;
  job.vm.disk_bytes = wish.disk_bytes;
  job.vm.uid.reset();
  const bool for_nobody = ::geteuid() == 0 && vmm::has_sys_admin();
  if (for_nobody) job.vm.uid = kNobody;
  job.programs = programs.vm;
  job.nic = wish.nic;
  job.device_state = made.device_state;
  // Another disk than the very one that QEMU had would not fit what it remembers of it; and under KVM the kernel has a part of
  // it.
  if (mounted && wish.vm.accelerator == vmm::Accelerator::kTcg) job.process_image = made.process_image;
  job.console_log = work + "/console.log";
  job.prepared = mounted;
  job.privileged = wish.privileged;
  job.commands = wish.commands;
  job.disk_bytes = wish.disk_bytes;
  TRY(make_memory_file(made.memory, memory_bytes, for_nobody));
  TRY(disk::create_overlay(disk, wish.disk_bytes, "../../bases/" + base, "raw"));
  FAILPOINT("template.begun");
  TRY(run_job(programs, job, work + "/maker.log"));
  FAILPOINT("template.made");
  TRY_ASSIGN(const std::uint32_t sum, device_state_checksum(made.device_state));
  for (const std::string& path : {made.memory, made.device_state, disk}) TRY(seal(path));
  const bool has_image = ::access(made.process_image.c_str(), F_OK) == 0;
  if (has_image) TRY(seal(made.process_image));
  if (!mounted) TRY(sys::unlink(disk));
  const Json record = {{"version", kTemplateVersion},  {"kind", "template"},        {"machine", machine},
                       {"memory_bytes", memory_bytes}, {"device_state_crc32", sum}, {"created_at", sys::utc_now()}};
  TRY(write_file_volatile(record_path(work), dump_json(record, 1) + "\n", 0600));
  TRY(sys::rename(work, directory));
  FAILPOINT("template.renamed");
  Template result = at(stem, directory, mounted);
  if (!has_image) result.process_image.clear();
  return result;
}

struct Entry {
  std::string path;
  std::string name;
  std::int64_t used = 0;  // seconds since 1970; 0: not whole
};

// The oldest first.
std::vector<Entry> entries(const HomePaths& paths) {
  std::vector<Entry> found;
  std::error_code error;
  for (std::filesystem::directory_iterator it(paths.templates(), error), end; !error && it != end; it.increment(error)) {
    Entry entry{.path = it->path().string(), .name = it->path().filename().string()};
    if (entry.path == lock_path(paths)) continue;
    if (const auto st = sys::stat(record_path(entry.path))) entry.used = st->st_mtim.tv_sec;
    found.push_back(std::move(entry));
  }
  std::ranges::sort(found, {}, &Entry::used);
  return found;
}

bool is_unfinished(const Entry& entry) { return entry.name.ends_with(kUnfinished); }
bool is_failure(const Entry& entry) { return entry.name.ends_with(kFailed); }

std::int64_t now() { return std::chrono::system_clock::to_time_t(std::chrono::system_clock::now()); }

bool is_recent(const std::string& note) {
  const auto st = sys::stat(note);
  if (!st) return false;
  const std::int64_t age = now() - st->st_mtim.tv_sec;
  return age >= 0 && age < kFailureSeconds;  // else the clock was set back
}

// A program, the kernel or the base that it needs is gone, or another by now.
bool is_outdated(const std::string& directory) {
  const auto text = read_file(record_path(directory), kMaxTemplateRecord);
  const auto record = text ? parse_json(*text, directory) : fail(ErrorCode::kNotFound, "no record");
  if (!record || !record->is_object() || !record->contains("machine")) return false;
  const Json& machine = record->at("machine");
  for (const char* part : {"qemu", "kernel", "initramfs", "base"}) {
    if (!machine.is_object() || !machine.contains(part)) continue;
    const auto text_of_path = json_get<std::string>(machine.at(part), "path", directory);
    const auto path = text_of_path ? text_to_bytes(*text_of_path, directory) : std::unexpected(text_of_path.error());
    const auto now = path ? file_identity(*path) : std::unexpected(path.error());
    if (!now || *now != machine.at(part)) return true;
  }
  const std::string image = directory + "/process-image";
  return ::access(image.c_str(), F_OK) == 0 && !vmm::check_mapped_files(image);
}

// With the lock.
std::vector<std::string> nobodys(const HomePaths& paths, const std::string& boot) {
  std::vector<std::string> found;
  for (const Entry& entry : entries(paths)) {
    if (!entry.name.starts_with(boot_prefix(boot)) || is_unfinished(entry) || is_outdated(entry.path))
      found.push_back(entry.path);
  }
  return found;
}

std::uint64_t remove_all(const std::vector<std::string>& found) {
  std::uint64_t bytes = 0;
  for (const std::string& path : found) {
    const std::uint64_t size = disk_usage(path);
    if (remove_tree(path)) bytes += size;
  }
  return bytes;
}

// With the lock: room for one more.
void remove_least_used(const HomePaths& paths) {
  std::vector<Entry> found = entries(paths);
  std::erase_if(found, [](const Entry& entry) { return entry.used == 0; });
  for (std::size_t i = 0; i + kMostKept <= found.size() && now() - found[i].used > kInUseSeconds; ++i)
    (void)remove_tree(found[i].path);
}

void note_failure(const std::string& stem, const std::string& reason) {
  (void)write_file_volatile(stem + std::string(kFailed), reason + "\n", 0600);
}

bool has_failed(const std::string& stem) { return is_recent(stem + std::string(kFailed)); }

// Directories of this stem, whatever is in them. Each that is made has a name of its own: whoever knows one by its path never
// gets files of another.
std::vector<std::string> made_of(const HomePaths& paths, const std::string& stem) {
  std::vector<std::string> found;
  for (const Entry& entry : entries(paths)) {
    if (entry.path.starts_with(stem + "-")) found.push_back(entry.path);
  }
  return found;
}

std::optional<Template> find_template(const HomePaths& paths, const std::string& stem, const Json& machine, bool mounted) {
  for (const std::string& directory : made_of(paths, stem)) {
    if (auto found = open_template(stem, directory, machine, mounted)) return *found;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Template> ensure_template(const HomePaths& paths, const StartPrograms& programs, const std::string& boot,
                                        const TemplateWish& wish) {
  const auto machine = machine_of(programs, boot, wish);
  if (!machine) return std::nullopt;
  const bool mounted = !wish.image_id.empty();
  const std::string stem = paths.templates() + "/" + boot_prefix(boot) + hash(dump_json(*machine));
  if (auto found = find_template(paths, stem, *machine, mounted)) return *found;
  if (has_failed(stem)) return std::nullopt;
  const auto lock = OfdLock::acquire(lock_path(paths), kMakerPatience);
  if (!lock) return std::nullopt;
  auto found = find_template(paths, stem, *machine, mounted);
  if (found) return *found;
  if (has_failed(stem)) return std::nullopt;
  for (const std::string& damaged : made_of(paths, stem)) (void)remove_tree(damaged);
  (void)remove_all(nobodys(paths, boot));
  remove_least_used(paths);
  auto made = make_template(paths, programs, wish, *machine, stem);
  if (made) {
    (void)sys::unlink(stem + std::string(kFailed));
    return *made;
  }
  (void)remove_tree(stem + std::string(kUnfinished));
  // Where there is no room now there may be some later.
  if (made.error().code() != ErrorCode::kResourceExhausted) note_failure(stem, made.error().message());
  return std::nullopt;
}

void drop_template(const HomePaths& paths, const Template& bad, const std::string& reason) {
  const auto lock = OfdLock::acquire(lock_path(paths), kMakerPatience);
  if (!lock) return;
  // Others may have found out before, and made another.
  if (::access(bad.directory.c_str(), F_OK) < 0) return;
  // Once may have been somebody's SIGKILL, or the host's lack of memory.
  const std::string once = bad.stem + std::string(kDropped);
  if (is_recent(once)) {
    // Without its image it is restored in another way, which may do.
    if (!bad.process_image.empty()) return (void)sys::unlink(bad.process_image);
    note_failure(bad.stem, reason);
  }
  (void)write_file_volatile(once, reason + "\n", 0600);
  (void)remove_tree(bad.directory);
}

TemplateUsage template_usage(const HomePaths& paths) {
  TemplateUsage usage;
  for (const Entry& entry : entries(paths)) {
    if (is_failure(entry)) {
      if (const auto text = read_file(entry.path, kMaxTemplateRecord))
        usage.failures.push_back(text->substr(0, text->find('\n')));
    } else if (entry.used > 0) {
      ++usage.count;
      usage.bytes += disk_usage(entry.path);
    }
  }
  return usage;
}

std::vector<std::string> superfluous_templates(const HomePaths& paths, const std::string& boot) {
  const auto busy = OfdLock::held(lock_path(paths));
  if (!busy || *busy) return {};
  return nobodys(paths, boot);
}

std::uint64_t collect_templates(const HomePaths& paths, const std::string& boot) {
  const auto lock = OfdLock::try_acquire(lock_path(paths));
  if (!lock || !*lock) return 0;
  for (const Entry& entry : entries(paths)) {
    if (is_failure(entry) || entry.name.ends_with(kDropped)) (void)sys::unlink(entry.path);
  }
  return remove_all(nobodys(paths, boot));
}

}  // namespace boxlite
