#include "vmm/accelerator.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/kvm.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/sys.h"
#include "portal/epoch.h"

namespace boxlite::vmm {
namespace {

using std::chrono::steady_clock;
constexpr auto kProofLimit = std::chrono::seconds(10);
// A test VM of root's runs as nobody: it owns no file, and there are none in its jail to own.
constexpr std::uint32_t kNobody = 65534;

// What the remembered answer depends on: it is dropped when any of it has changed.
Result<Json> fingerprint(const VmConfig& probe, const VmPrograms& programs) {
  TRY_ASSIGN(const std::string boot, boot_id());
  Json json = {{"version", 1}, {"boot_id", boot}, {"uid", ::geteuid()}};
  for (const auto& [key, path] :
       {std::pair("kernel", probe.kernel), std::pair("initramfs", probe.initramfs), std::pair("qemu", programs.qemu)}) {
    TRY_ASSIGN(const struct stat st, sys::stat(path));
    json[key] = {{"path", path}, {"size", st.st_size}, {"mtime_ns", st.st_mtim.tv_sec * 1'000'000'000 + st.st_mtim.tv_nsec}};
  }
  return json;
}

std::optional<AcceleratorChoice> recall(const std::string& memo_path, const Json& fingerprint) {
  const auto text = read_file(memo_path, 64 * 1024);
  if (!text) return std::nullopt;
  const auto memo = parse_json(*text, memo_path);
  if (!memo || !memo->is_object() || memo->value("made_with", Json()) != fingerprint) return std::nullopt;
  const auto accelerator = json_get<std::string>(*memo, "accelerator", memo_path);
  const auto reason = json_get<std::string>(*memo, "reason", memo_path);
  if (!accelerator || !reason) return std::nullopt;
  return AcceleratorChoice{*accelerator == "kvm" ? Accelerator::kKvm : Accelerator::kTcg, *reason};
}

// How a user gets at the device: by its group where it has one of its own.
std::string access_advice() {
  struct stat st = {};
  constexpr mode_t kGroup = S_IRGRP | S_IWGRP;
  if (::stat("/dev/kvm", &st) < 0 || st.st_gid == 0 || (st.st_mode & kGroup) != kGroup) return "as root: chmod 666 /dev/kvm";
  struct group entry = {};
  struct group* found = nullptr;
  std::array<char, 4096> buffer{};
  const bool named = ::getgrgid_r(st.st_gid, &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr;
  return fmt::format("add the user to the group {}", named ? std::string(found->gr_name) : std::to_string(st.st_gid));
}

// Why KVM cannot even be tried; "" when it can.
std::string kvm_obstacle() {
  const auto device = sys::open("/dev/kvm", O_RDWR);
  if (!device) {
    if (device.error().error_number() == ENOENT)
      return "/dev/kvm is missing (no hardware virtualisation, or its module is not loaded)";
    if (device.error().code() == ErrorCode::kPermissionDenied) return "no permission to open /dev/kvm: " + access_advice();
    return device.error().message();
  }
  if (::ioctl(device->get(), KVM_GET_API_VERSION, 0) != KVM_API_VERSION) return "/dev/kvm does not speak KVM's API version 12";
  return "";
}

// Root may open the device, but root's boxes run under uids of their own.
std::string permission_hint() {
  struct stat st = {};
  constexpr mode_t kGroup = S_IRGRP | S_IWGRP;
  constexpr mode_t kOthers = S_IROTH | S_IWOTH;
  if (::geteuid() != 0 || ::stat("/dev/kvm", &st) < 0 || (st.st_mode & kOthers) == kOthers) return "";
  if (st.st_gid != 0 && (st.st_mode & kGroup) == kGroup) return "";
  return "; /dev/kvm is open to root only, and boxes run under uids of their own: " + access_advice();
}

std::string first_line(std::string_view text) {
  const std::size_t begin = text.find_first_not_of("\r\n\t ");
  if (begin == std::string_view::npos) return "";
  text.remove_prefix(begin);
  return std::string(text.substr(0, std::min<std::size_t>(text.find_first_of("\r\n"), 200)));
}

// Reads what is there; keeps the first bytes if `keep` is given. The guest writes here: it must never wait for us.
void drain(int fd, std::string* keep) {
  constexpr std::size_t kKept = 4096;
  std::array<std::byte, 4096> buffer;
  for (auto count = sys::read(fd, buffer); count && *count > 0; count = sys::read(fd, buffer)) {
    if (keep != nullptr && keep->size() < kKept) keep->append(reinterpret_cast<const char*>(buffer.data()), *count);
  }
}

// Boots the probe until the agent answers the epoch. "" when it did; else why not.
std::string prove_by_booting(const VmConfig& probe, const VmPrograms& programs) {
  const auto deadline = steady_clock::now() + kProofLimit;
  auto vm = Vm::launch(probe, programs, -1);
  if (!vm) return vm.error().message();
  portal::EpochHeader header;
  sys::random_bytes(header.nonce);
  if (const auto sent = sys::write_all(vm->portal_fd(), portal::encode(header)); !sent) return sent.error().message();
  portal::EpochScanner scanner(portal::Sender::kAgent, header.nonce);
  std::string complaints;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - steady_clock::now()).count();
    if (left <= 0) return fmt::format("the test VM did not boot within {} s", kProofLimit.count());
    std::array<pollfd, 4> waiting = {
        {{vm->portal_fd(), POLLIN, 0}, {vm->console_fd(), POLLIN, 0}, {vm->stderr_fd(), POLLIN, 0}, {vm->pidfd(), POLLIN, 0}}};
    if (::poll(waiting.data(), waiting.size(), static_cast<int>(left)) < 0 && errno != EINTR) return "poll failed";
    drain(vm->console_fd(), nullptr);
    drain(vm->stderr_fd(), &complaints);
    std::array<std::byte, 4096> buffer;
    const auto count = sys::read(vm->portal_fd(), buffer);
    if (count && *count > 0 && scanner.feed(std::span(buffer).first(*count))) return "";
    if (waiting[3].revents == 0) continue;
    drain(vm->stderr_fd(), &complaints);
    const auto status = vm->wait();
    const std::string line = first_line(complaints);
    return fmt::format("the test VM ended at once ({}){}{}",
                       !status              ? std::string("status unknown")
                       : status->signal > 0 ? fmt::format("signal {}", status->signal)
                                            : fmt::format("exit status {}", status->code),
                       line.empty() ? "" : ": ", line);
  }
}

}  // namespace

Result<AcceleratorChoice> choose_accelerator(const VmConfig& probe, const VmPrograms& programs, const std::string& memo_path) {
  if (const std::string obstacle = kvm_obstacle(); !obstacle.empty()) return AcceleratorChoice{Accelerator::kTcg, obstacle};
  TRY_ASSIGN(Json made_with, fingerprint(probe, programs));
  if (auto known = recall(memo_path, made_with)) return *known;

  VmConfig config = probe;
  config.accelerator = Accelerator::kKvm;
  config.base_image.clear();
  config.overlay.clear();
  if (!config.uid && ::geteuid() == 0) config.uid = kNobody;
  std::string failure = prove_by_booting(config, programs);
  if (!failure.empty()) failure += permission_hint();
  const AcceleratorChoice choice = failure.empty() ? AcceleratorChoice{Accelerator::kKvm, "KVM works: a test VM booted with it"}
                                                   : AcceleratorChoice{Accelerator::kTcg, "KVM does not work: " + failure};
  const Json memo = {{"made_with", made_with}, {"accelerator", to_string(choice.accelerator)}, {"reason", choice.reason}};
  (void)write_file_volatile(memo_path, dump_json(memo, 1), 0600);
  return choice;
}

}  // namespace boxlite::vmm
