#include "agent/device_policy.h"

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/unique_fd.h"

namespace boxlite::agent {
namespace {

constexpr std::uint8_t kLoadWord = BPF_LDX | BPF_MEM | BPF_W;
constexpr std::uint8_t kJumpEqual = BPF_JMP | BPF_JEQ | BPF_K;
constexpr std::uint8_t kJumpNotEqual = BPF_JMP | BPF_JNE | BPF_K;

bpf_insn instruction(std::uint8_t code, int destination, int source, int offset, std::int32_t immediate) {
  bpf_insn insn = {};
  insn.code = code;
  insn.dst_reg = static_cast<std::uint8_t>(destination) & 15U;
  insn.src_reg = static_cast<std::uint8_t>(source) & 15U;
  insn.off = static_cast<std::int16_t>(offset);
  insn.imm = immediate;
  return insn;
}

struct Device {
  int major;
  int minor;  // -1: any
};
// null zero full random urandom tty console ptmx, and the slaves of terminals
constexpr Device kAllowed[] = {{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 1}, {5, 2}, {136, -1}};

// Returns 1 (allow) for making a node without opening it and for the character devices above, else 0.
std::vector<bpf_insn> program() {
  const bpf_insn allow[] = {instruction(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1), instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)};
  const bpf_insn deny[] = {instruction(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0), instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)};
  std::vector<bpf_insn> code = {
      instruction(kLoadWord, 2, 1, offsetof(bpf_cgroup_dev_ctx, access_type), 0),
      instruction(BPF_ALU64 | BPF_MOV | BPF_X, 3, 2, 0, 0),
      instruction(BPF_ALU64 | BPF_RSH | BPF_K, 3, 0, 0, 16),      // r3: access
      instruction(BPF_ALU64 | BPF_AND | BPF_K, 2, 0, 0, 0xffff),  // r2: type
      instruction(kLoadWord, 4, 1, offsetof(bpf_cgroup_dev_ctx, major), 0),
      instruction(kLoadWord, 5, 1, offsetof(bpf_cgroup_dev_ctx, minor), 0),
      instruction(kJumpNotEqual, 3, 0, 2, BPF_DEVCG_ACC_MKNOD),
  };
  code.insert(code.end(), std::begin(allow), std::end(allow));
  code.push_back(instruction(kJumpEqual, 2, 0, 2, BPF_DEVCG_DEV_CHAR));
  code.insert(code.end(), std::begin(deny), std::end(deny));
  for (const Device& device : kAllowed) {
    const bool any = device.minor < 0;
    code.push_back(instruction(kJumpNotEqual, 4, 0, any ? 2 : 3, device.major));
    if (!any) code.push_back(instruction(kJumpNotEqual, 5, 0, 2, device.minor));
    code.insert(code.end(), std::begin(allow), std::end(allow));
  }
  code.insert(code.end(), std::begin(deny), std::end(deny));
  return code;
}

template <typename Pointer>
std::uint64_t address(const Pointer* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

}  // namespace

Result<void> restrict_devices(int cgroup) {
  const std::vector<bpf_insn> code = program();
  bpf_attr load = {};
  load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  load.insn_cnt = static_cast<std::uint32_t>(code.size());
  load.insns = address(code.data());
  load.license = address("Apache-2.0");
  const UniqueFd loaded(static_cast<int>(::syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load)));
  if (!loaded) return fail_errno("load the device policy");
  bpf_attr attach = {};
  attach.target_fd = static_cast<std::uint32_t>(cgroup);
  attach.attach_bpf_fd = static_cast<std::uint32_t>(loaded.get());
  attach.attach_type = BPF_CGROUP_DEVICE;
  attach.attach_flags = BPF_F_ALLOW_MULTI;
  if (::syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach) < 0) return fail_errno("attach the device policy");
  return {};
}

}  // namespace boxlite::agent
