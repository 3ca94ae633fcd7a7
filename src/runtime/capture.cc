// Theory of operation.
//
//   this command                                    shim (shim/capture.h)
//   ────────────                                    ────
//   capture.lock; empty files *.new in the box's directory; a copy of what the VM's memory lies on
//   "checkpoint 1", what is wished            ───▶  brings the box to rest, saves the devices, begins to copy the disk
//                                             ◀───  where QEMU has the guest's memory
//   copies QEMU's private pages over the copy
//   "go on"                                   ───▶  the box goes on
//                                             ◀───  the disk is copied
//   or: syncs all, "end"                      ───▶  renames *.new, the record last: the box is on the disk; ends its VM
//
// The shim is confined: it can read no other process's memory, and can make nothing of this command do it for it. QEMU is found
// by the kernel's word for who listens at the socket, and as a process below that one, never by what the shim says.
//
// Whoever dies: this command, and the shim sees its end and lets the box go on, what it has left has the names *.new, and is
// removed by the next who has the lock. The shim, and with it the VM: then there is a checkpoint if the record had been renamed,
// which is of the moment in which the disk has stood still ever since.
#include "runtime/capture.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/defer.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/unix_socket.h"
#include "disk/qcow2.h"
#include "image/image_job.h"
#include "runtime/box_config.h"
#include "runtime/box_error.h"
#include "runtime/control.h"
#include "runtime/create.h"
#include "runtime/disk_usage.h"
#include "runtime/listing.h"
#include "runtime/observe.h"
#include "runtime/private_memory.h"
#include "runtime/process_tree.h"
#include "runtime/silence.h"
#include "vmm/host_clock.h"

namespace boxlite {
namespace {

using std::chrono::seconds;

// The box has a minute to come to rest (shim/capture.cc), and QEMU to write out what it holds of the disk.
constexpr seconds kRestPatience{180};
// A disk on so many frozen ones is copied with all of them, so that chains end.
constexpr std::size_t kMostLayers = 8;
constexpr std::string_view kNew = ".new";

Result<pid_t> find_qemu(int socket) {
  TRY_ASSIGN(const PeerCredentials shim, peer_credentials(socket));
  if (shim.pid <= 0) return fail(ErrorCode::kUnsupported, "its processes are in another PID namespace");
  for (const pid_t pid : process_tree(shim.pid)) {
    if (process_name(pid).starts_with("qemu-system")) return pid;
  }
  return fail(ErrorCode::kUnavailable, "its VM is not there");
}

// The program that a QEMU runs. One of an image (vmm/process_image.h) was started as another, and has it mapped.
Result<std::string> running_qemu(pid_t pid) {
  const std::string started = fmt::format("/proc/{}/exe", pid);
  std::error_code error;
  const std::string target = std::filesystem::read_symlink(started, error).filename().string();
  if (!error && target.starts_with("qemu-system")) return started;
  if (const auto mapped = mapped_program(pid, "qemu-system")) return *mapped;
  return fail(ErrorCode::kUnsupported,
              "its QEMU has been replaced on this host since it was started, and nothing could go on from "
              "a checkpoint of it: restart the box first");
}

Result<void> sync_file(const std::string& path) {
  TRY_ASSIGN(const UniqueFd fd, sys::open(path, O_RDONLY | O_NOFOLLOW));
  return sys::fsync(fd.get(), path);
}

}  // namespace

Result<std::optional<OfdLock>> try_lock_checkpoints(const std::string& box_directory) {
  return OfdLock::try_acquire(box_directory + "/capture.lock");
}

bool checkpoints_are_locked(const std::string& box_directory) {
  return OfdLock::held(box_directory + "/capture.lock").value_or(true);
}

std::vector<std::string> capture_leftovers(const std::string& box_directory) {
  std::vector<std::string> found;
  for (const std::string& name : names_in(box_directory)) {
    if (name.ends_with(kNew)) found.push_back(box_directory + "/" + name);
  }
  const std::string snapshots = box_directory + "/snapshots";
  for (const std::string& name : names_in(snapshots)) {
    if (name.starts_with('.')) found.push_back(snapshots + "/" + name);
  }
  return found;
}

Result<void> remove_capture_leftovers(const std::string& box_directory) {
  for (const std::string& path : capture_leftovers(box_directory)) TRY(remove_tree(path));
  return {};
}

Capture::Capture(OfdLock lock, std::string directory, std::string name, Wish wish)
    : lock_(std::move(lock)), directory_(std::move(directory)), name_(std::move(name)), wish_(wish), lock_guard_(lock_.fd()) {}

Result<void> Capture::named(Result<void> done) const {
  if (done) return done;
  return std::unexpected(std::move(done).error().context("box " + name_));
}

Capture::Capture(Capture&& other) noexcept
    : lock_(std::move(other.lock_)),
      directory_(std::exchange(other.directory_, {})),
      name_(std::move(other.name_)),
      wish_(other.wish_),
      flat_(other.flat_),
      disk_room_(other.disk_room_),
      lock_guard_(std::move(other.lock_guard_)),
      below_(std::move(other.below_)),
      memory_(std::move(other.memory_)),
      socket_(std::move(other.socket_)),
      socket_guard_(std::move(other.socket_guard_)),
      lines_(std::exchange(other.lines_, std::nullopt)),
      qemu_(other.qemu_),
      record_(std::move(other.record_)) {}

Capture::~Capture() {
  if (directory_.empty()) return;  // moved from
  if (socket_) ::shutdown(socket_.get(), SHUT_RDWR);
  (void)remove_capture_leftovers(directory_);
}

std::string Capture::file(std::string_view name) const { return fmt::format("{}/{}{}", directory_, name, kNew); }

Result<Capture> Capture::take(const Context& context, const BoxRow& row, Wish wish) {
  TRY(refuse_silent(context, row));
  const std::string directory = context.paths.box(row.id);
  auto lock = try_lock_checkpoints(directory);
  if (!lock) return std::unexpected(explain_failure(context, row, lock.error()));
  if (!*lock)
    return fail(ErrorCode::kInvalidState, "box {}: another checkpoint of it is being taken; wait for its end", row.name);
  Capture capture(std::move(**lock), directory, row.name, wish);
  TRY(capture.named(capture.prepare(row, context.paths)));
  auto asked = capture.ask(context, row);
  if (!asked && asked.error().code() == ErrorCode::kUnavailable)
    return std::unexpected(explain_failure(context, row, asked.error()));
  TRY(capture.named(std::move(asked)));
  return capture;
}

Result<void> Capture::prepare(const BoxRow& row, const HomePaths& paths) {
  TRY(remove_capture_leftovers(directory_));
  TRY_ASSIGN(const BoxConfig config, box_config_from_json(row.config));
  record_.box_id = row.id;
  record_.created_at = sys::utc_now();
  const std::vector<std::string> layers = layers_in(directory_);
  flat_ = layers.size() >= kMostLayers;
  disk_room_ = disk_room(paths, row);
  TRY(require_checkpoint_room(directory_, disk_room_ + (wish_.memory ? disk_usage(directory_ + "/memory") : 0)));
  if (wish_.memory) {
    record_.memory_bytes = config.options.memory_mib * kMiB;
    TRY_ASSIGN(memory_, sys::open(file("memory"), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    if (::ftruncate(memory_.get(), static_cast<off_t>(record_.memory_bytes)) < 0) return fail_errno("make {}", file("memory"));
    auto below = sys::open(directory_ + "/memory", O_RDONLY | O_NOFOLLOW);
    if (!below && below.error().error_number() != ENOENT) return std::unexpected(below.error());
    if (below) below_ = std::move(*below);
    if (below_) TRY(copy_sparse(below_.get(), memory_.get(), record_.memory_bytes));
    TRY(sys::open(file("device-state"), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  }
  if (wish_.disk) {
    TRY_ASSIGN(const std::uint64_t bytes, disk_size(paths, config.options, row.image_id));
    const bool on_base = flat_ || layers.empty();
    TRY(disk::create_overlay(file("layer"), bytes,
                             on_base ? "../../bases/" + image::base_file_name(row.image_id) : layer_name(layers.size() - 1),
                             on_base ? "raw" : "qcow2"));
  }
  FAILPOINT("capture.prepared");
  return {};
}

Result<Json> Capture::answer(std::optional<seconds> patience) {
  const auto deadline = patience ? std::optional(std::chrono::steady_clock::now() + *patience) : std::nullopt;
  TRY_ASSIGN(const std::optional<std::string> line, lines_->next(deadline));
  if (!line) return fail(ErrorCode::kUnavailable, "it has ended while a checkpoint of it was taken");
  TRY_ASSIGN(Json json, parse_json(*line, "its shim's answer"));
  if (!json.is_object() || !json.contains("error")) return json;
  TRY_ASSIGN(const auto code, json_get<std::string>(json.at("error"), "code", "the shim's error"));
  TRY_ASSIGN(auto message, json_get<std::string>(json.at("error"), "message", "the shim's error"));
  return std::unexpected(Error(error_code_from_name(code), std::move(message)));
}

// Of the QEMU that runs: the program may have been replaced since.
Result<void> Capture::describe_vm(const Context& context, const BoxRow& row) {
  TRY_ASSIGN(const BoxConfig config, box_config_from_json(row.config));
  TRY_ASSIGN(qemu_, find_qemu(socket_.get()));
  const auto state = read_state(context.paths.state(row.id));
  TRY_ASSIGN(const std::string program, running_qemu(qemu_));
  MachineFacts facts = {.qemu = program,
                        .accelerator = state ? state->accelerator : "",
                        .cpus = config.options.cpus,
                        .memory_mib = config.options.memory_mib,
                        .nic = config.options.network != "none"};
  if (facts.accelerator == "tcg") {
    TRY_ASSIGN(facts.tsc_khz, vmm::cached_tsc_khz(context.paths.tsc_memo()));
  }
  TRY_ASSIGN(record_.machine, describe_machine(facts));
  return {};
}

// What was copied is what the memory of this VM lies on: a start gives the box another before there is a shim to be connected to.
Result<void> Capture::check_run() const {
  const auto now = sys::stat(directory_ + "/memory");
  if (!now && now.error().error_number() != ENOENT) return std::unexpected(now.error());
  bool same = !now && !below_;
  if (now && below_) {
    TRY_ASSIGN(const struct stat copied, sys::fstat(below_.get()));
    same = copied.st_ino == now->st_ino && copied.st_dev == now->st_dev;
  }
  if (same) return {};
  return fail(ErrorCode::kInvalidState, "it was restarted while a checkpoint of it was taken; try again");
}

// So that it does not fill the disk that it and others live on.
Result<void> require_checkpoint_room(const std::string& box_directory, std::uint64_t bytes) {
  constexpr std::uint64_t kSpare = 64 * kMiB;
  struct statvfs fs = {};
  if (::statvfs(box_directory.c_str(), &fs) < 0) return fail_errno("statvfs {}", box_directory);
  if (std::uint64_t{fs.f_bavail} * fs.f_frsize >= bytes + kSpare) return {};
  return fail(
      ErrorCode::kResourceExhausted,
      "a checkpoint of it needs up to {} MiB more on the disk of {}, which has less free; boxlite gc frees what is nobody's",
      (bytes + kSpare) / kMiB, box_directory);
}

// What the copy of its disk takes at most.
std::uint64_t Capture::disk_room(const HomePaths& paths, const BoxRow& row) const {
  if (!wish_.disk) return 0;
  std::uint64_t bytes = disk_usage(paths.disk(row.id));
  if (!flat_) return bytes;
  for (const std::string& layer : layers_in(directory_)) bytes += disk_usage(layer);
  return bytes + disk_usage(paths.base(row.image_id));
}

// What QEMU has of its own, in memory or swapped out.
Result<std::uint64_t> Capture::memory_room() const {
  if (!wish_.memory) return 0;
  TRY_ASSIGN(const std::string status, read_file(fmt::format("/proc/{}/status", qemu_), 64U << 10U));
  std::uint64_t kib = 0;
  for (const std::string_view field : {"RssAnon:", "VmSwap:"}) {
    const std::size_t at = status.find(field);
    if (at == std::string::npos) continue;
    const std::size_t begin = std::min(status.find_first_of("0123456789", at), status.size());
    std::uint64_t more = 0;
    std::from_chars(status.data() + begin, status.data() + status.size(), more);
    kib += more;
  }
  return std::min(kib << 10U, record_.memory_bytes);
}

Result<void> Capture::ask(const Context& context, const BoxRow& row) {
  TRY_ASSIGN(socket_, open_checkpoint(directory_));
  socket_guard_ = ForkGuard(socket_.get());
  lines_.emplace(socket_.get());
  if (wish_.memory) {
    TRY(check_run());
    TRY(describe_vm(context, row));
  }
  TRY_ASSIGN(const std::uint64_t memory, memory_room());
  TRY(require_checkpoint_room(directory_, memory + disk_room_));
  const std::string disk = !wish_.disk ? "none" : flat_ ? "all" : "top";
  TRY(send_line(socket_.get(), dump_json({{"memory", wish_.memory}, {"disk", disk}, {"write_out", wish_.write_out}})));
  TRY_ASSIGN(const Json told, answer(wish_.memory ? std::optional(kRestPatience) : std::nullopt));
  if (!wish_.memory) return {};
  constexpr std::string_view what = "the shim's answer";
  TRY_ASSIGN(record_.stdout_offset, json_get<std::uint64_t>(told, "stdout", what));
  TRY_ASSIGN(record_.stderr_offset, json_get<std::uint64_t>(told, "stderr", what));
  TRY_ASSIGN(const auto address, json_get<std::string>(told, "memory_at", what));
  FAILPOINT("capture.stopped");
  TRY(copy_memory(address));
  TRY_ASSIGN(record_.device_state_crc32, device_state_checksum(file("device-state")));
  FAILPOINT("capture.copied");
  return {};
}

Result<void> Capture::copy_memory(const std::string& address) {
  std::uint64_t at = 0;
  const auto parsed = std::from_chars(address.data(), address.data() + address.size(), at, 16);
  if (parsed.ec != std::errc() || parsed.ptr != address.data() + address.size())
    return fail(ErrorCode::kCorrupt, "QEMU says that its memory is at \"{}\"", address);
  return copy_private_pages(qemu_, at, record_.memory_bytes, memory_.get());
}

Result<void> Capture::go_on() {
  TRY(named(send_line(socket_.get(), "go on")));
  auto copied = answer(std::nullopt);
  if (!copied) return named(std::unexpected(std::move(copied).error()));
  FAILPOINT("capture.done");
  return {};
}

Result<void> Capture::end() { return named(sync_and_end()); }

Result<void> Capture::move_into(const std::string& directory) { return named(move_files(directory)); }

Result<void> Capture::sync_and_end() {
  for (const char* name : {"memory", "device-state"}) {
    if (::chmod(file(name).c_str(), 0444) < 0) return fail_errno("chmod {}", file(name));
    TRY(sync_file(file(name)));
  }
  TRY_ASSIGN(record_.memory_crc32, memory_checksum(file("memory")));
  TRY(write_file_atomic(file("checkpoint.json"), dump_json(to_json(record_), 1) + "\n", 0600));
  FAILPOINT("capture.recorded");
  TRY(send_line(socket_.get(), "end"));
  TRY(answer(std::nullopt));
  return {};
}

Result<void> Capture::move_files(const std::string& directory) {
  if (wish_.memory) {
    for (const char* name : {"memory", "device-state"}) {
      if (::chmod(file(name).c_str(), 0444) < 0) return fail_errno("chmod {}", file(name));
      TRY(sys::rename(file(name), directory + "/" + name));
    }
  }
  const std::vector<std::string> below = flat_ ? std::vector<std::string>() : layers_in(directory_);
  for (std::size_t i = 0; i < below.size(); ++i) TRY(link_frozen(below[i], directory + "/" + layer_name(i)));
  if (!wish_.disk) return {};
  const std::string top = directory + "/" + layer_name(below.size());
  if (::chmod(file("layer").c_str(), 0444) < 0) return fail_errno("chmod {}", file("layer"));
  return sys::rename(file("layer"), top);
}

}  // namespace boxlite
