#include "runtime/checkpoint.h"

#include <endian.h>
#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "base/file.h"
#include "base/sys.h"
#include "portal/epoch.h"
#include "runtime/byte_text.h"
#include "runtime/printable.h"
#include "vmm/qemu_command.h"

namespace boxlite {
namespace {

constexpr int kCheckpointVersion = 1;
constexpr std::size_t kMaxValue = 200;  // of what an archive may have brought
constexpr std::size_t kMaxManifest = std::size_t{64} << 10U;
constexpr std::size_t kMaxDeviceState = std::size_t{16} << 20U;
// The guest's clock counts with the frequency that it was told at its boot. Measurements of one host differ by less.
constexpr double kClockTolerance = 0.001;

Result<std::uint32_t> checksum_of(int file) {
  std::vector<std::byte> part(std::size_t{1} << 20U);
  uLong sum = 0;
  for (;;) {
    TRY_ASSIGN(const std::size_t count, sys::read(file, part));
    if (count == 0) return static_cast<std::uint32_t>(sum);
    sum = ::crc32(sum, reinterpret_cast<const Bytef*>(part.data()), static_cast<uInt>(count));
  }
}

// Under KVM the guest has seen the host's CPU.
std::string host_cpu() {
  const auto text = read_file("/proc/cpuinfo", std::size_t{4} << 20U);
  if (!text) return {};
  std::string model;
  for (const std::string_view key : {"model name", "flags"}) {
    const std::size_t at = text->find(std::string("\n") + std::string(key));
    if (at == std::string::npos) continue;
    const std::size_t end = std::min(text->find('\n', at + 1), text->size());
    model += text->substr(at + 1, end - at - 1) + "; ";
  }
  return model;
}

}  // namespace

Json to_json(const CheckpointRecord& record) {
  Json json = {{"version", kCheckpointVersion},
               {"machine", record.machine},
               {"memory_bytes", record.memory_bytes},
               {"device_state_crc32", record.device_state_crc32},
               {"stdout_offset", record.stdout_offset},
               {"stderr_offset", record.stderr_offset},
               {"boot_id", record.boot_id},
               {"box_id", record.box_id},
               {"created_at", record.created_at}};
  if (record.memory_crc32) json["memory_crc32"] = *record.memory_crc32;
  if (record.layers != 0) json["layers"] = record.layers;
  return json;
}

Result<std::optional<CheckpointRecord>> read_checkpoint(const std::string& directory) {
  const std::string path = directory + "/checkpoint.json";
  const auto text = read_file(path, kMaxManifest);
  if (!text && text.error().error_number() == ENOENT) return std::nullopt;
  if (!text) return std::unexpected(text.error());
  TRY_ASSIGN(const Json json, parse_json(*text, path));
  TRY_ASSIGN(const int version, json_get<int>(json, "version", path));
  if (version != kCheckpointVersion)
    return fail(ErrorCode::kUnsupported, "{} has version {}; this boxlite knows version {}", path, version, kCheckpointVersion);
  CheckpointRecord record;
  TRY_ASSIGN(record.machine, json_get<Json>(json, "machine", path));
  TRY_ASSIGN(record.memory_bytes, json_get<std::uint64_t>(json, "memory_bytes", path));
  TRY_ASSIGN(record.device_state_crc32, json_get<std::uint32_t>(json, "device_state_crc32", path));
  if (json.contains("memory_crc32")) {
    TRY_ASSIGN(record.memory_crc32, json_get<std::uint32_t>(json, "memory_crc32", path));
  }
  TRY_ASSIGN(record.layers, json_get_or<std::size_t>(json, "layers", path, 0));
  TRY_ASSIGN(record.stdout_offset, json_get<std::uint64_t>(json, "stdout_offset", path));
  TRY_ASSIGN(record.stderr_offset, json_get<std::uint64_t>(json, "stderr_offset", path));
  TRY_ASSIGN(record.boot_id, json_get<std::string>(json, "boot_id", path));
  TRY_ASSIGN(record.box_id, json_get<std::string>(json, "box_id", path));
  TRY_ASSIGN(record.created_at, json_get<std::string>(json, "created_at", path));
  return record;
}

bool has_checkpoint(const std::string& directory) { return ::access((directory + "/checkpoint.json").c_str(), F_OK) == 0; }

Result<std::uint32_t> device_state_checksum(const std::string& path) {
  TRY_ASSIGN(const std::string state, read_file(path, kMaxDeviceState));
  return static_cast<std::uint32_t>(::crc32(0, reinterpret_cast<const Bytef*>(state.data()), static_cast<uInt>(state.size())));
}

Result<std::uint32_t> memory_checksum(const std::string& path) {
  constexpr std::size_t kPage = 4096;
  constexpr off_t kPart = 256 * kPage;
  TRY_ASSIGN(const UniqueFd file, sys::open(path, O_RDONLY | O_NOFOLLOW));
  std::vector<std::byte> part(kPart);
  const std::vector<std::byte> zeros(kPage);
  uLong sum = 0;
  for (off_t at = 0;; at += kPart) {
    const off_t data = ::lseek(file.get(), at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return static_cast<std::uint32_t>(sum);
    if (data < 0) return fail_errno("look for data in {}", path);
    at = data / kPart * kPart;
    std::ranges::fill(part, std::byte{});
    std::size_t read = 0;
    while (read < part.size()) {
      const ssize_t count = ::pread(file.get(), part.data() + read, part.size() - read, at + static_cast<off_t>(read));
      if (count < 0) return fail_errno("read {}", path);
      if (count == 0) break;
      read += static_cast<std::size_t>(count);
    }
    for (std::size_t page = 0; page < part.size(); page += kPage) {
      if (std::memcmp(part.data() + page, zeros.data(), kPage) == 0) continue;
      std::uint64_t offset = htole64(static_cast<std::uint64_t>(at) + page);
      sum = ::crc32(sum, reinterpret_cast<const Bytef*>(&offset), sizeof offset);
      sum = ::crc32(sum, reinterpret_cast<const Bytef*>(part.data() + page), kPage);
    }
  }
}

Result<void> check_files(const std::string& directory, const CheckpointRecord& record) {
  if (record.memory_bytes == 0) return {};
  const std::string state = directory + "/device-state";
  TRY_ASSIGN(const std::uint32_t sum, device_state_checksum(state));
  if (sum != record.device_state_crc32) return fail(ErrorCode::kCorrupt, "{} does not have its checksum", state);
  const std::string memory = directory + "/memory";
  TRY_ASSIGN(const struct stat st, sys::stat(memory));
  if (st.st_size != static_cast<off_t>(record.memory_bytes))
    return fail(ErrorCode::kCorrupt, "{} does not have its size", memory);
  return {};
}

Result<Json> describe_machine(const MachineFacts& facts) {
  TRY_ASSIGN(const UniqueFd qemu, sys::open(facts.qemu, O_RDONLY));
  TRY_ASSIGN(const struct stat st, sys::fstat(qemu.get()));
  TRY_ASSIGN(const std::uint32_t sum, checksum_of(qemu.get()));
  Json machine = {{"qemu", fmt::format("{} bytes, CRC-32 {:08x}", st.st_size, sum)},
                  {"accelerator", facts.accelerator},
                  {"cpus", facts.cpus},
                  {"memory_mib", facts.memory_mib},
                  {"nic", facts.nic},
                  {"portal", portal::kProtocolVersion}};
  if (facts.accelerator == "kvm") {
    machine["cpu"] = host_cpu();
  } else {
    machine["cpu"] = vmm::cpu_model(vmm::Accelerator::kTcg);
    machine["tsc_khz"] = facts.tsc_khz;
  }
  return machine;
}

Result<void> check_machine(const Json& then, const Json& now) {
  static constexpr std::array kWords = {std::pair("qemu", "its QEMU is another by now"),
                                        std::pair("accelerator", "it ran with another accelerator"),
                                        std::pair("cpu", "its CPU was another than it has here"),
                                        std::pair("cpus", "it had another number of CPUs"),
                                        std::pair("memory_mib", "it had another size of memory"),
                                        std::pair("nic", "it had another network device"),
                                        std::pair("portal", "its agent speaks another version of the portal")};
  if (!then.is_object()) return fail(ErrorCode::kCorrupt, "what it ran on is not recorded");
  for (const auto& [key, words] : kWords) {
    const Json a = then.value(key, Json());
    const Json b = now.value(key, Json());
    if (a != b)
      return fail(ErrorCode::kUnsupported, "{} ({} then, {} now)", words, printable(dump_json(a), kMaxValue),
                  printable(dump_json(b), kMaxValue));
  }
  const auto clock_of = [](const Json& machine) {
    const auto clock = machine.find("tsc_khz");
    return clock != machine.end() && clock->is_number() ? clock->get<double>() : 0.0;
  };
  const double before = clock_of(then);
  const double here = clock_of(now);
  if (std::abs(before - here) > kClockTolerance * std::max(before, here))
    return fail(ErrorCode::kUnsupported, "this host's clock has another frequency ({:.0f} kHz then, {:.0f} kHz now)", before,
                here);
  return {};
}

Result<void> link_frozen(const std::string& from, const std::string& to) {
  if (::link(from.c_str(), to.c_str()) < 0) return fail_errno("link {} as {}", from, to);
  return {};
}

std::string layer_name(std::size_t index) { return fmt::format("layer-{}.qcow2", index); }

std::vector<std::string> layers_in(const std::string& directory) {
  std::vector<std::string> layers;
  for (std::string path = directory + "/" + layer_name(0); ::access(path.c_str(), F_OK) == 0;
       path = directory + "/" + layer_name(layers.size())) {
    layers.push_back(path);
  }
  return layers;
}

}  // namespace boxlite
