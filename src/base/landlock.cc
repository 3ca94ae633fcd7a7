#include "base/landlock.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "base/sys.h"
#include "base/unique_fd.h"

namespace boxlite {
namespace {

// The kernel's own header may be older than the kernel: include/uapi/linux/landlock.h.
constexpr std::uint64_t kReparent = 1ULL << 13U;     // version 2
constexpr std::uint64_t kTruncate = 1ULL << 14U;     // version 3
constexpr std::uint64_t kDeviceCalls = 1ULL << 15U;  // version 5
constexpr std::uint64_t kAllTcp = 3;                 // version 4: bind, connect
constexpr std::uint64_t kAbstractSockets = 1;        // version 6
struct Ruleset {
  std::uint64_t files = 0;
  std::uint64_t network = 0;
  std::uint64_t scoped = 0;
};

Ruleset all_that_is_known(int version) {
  Ruleset set = {.files = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1};
  if (version >= 2) set.files |= kReparent;
  if (version >= 3) set.files |= kTruncate;
  if (version >= 4) set.network = kAllTcp;
  if (version >= 5) set.files |= kDeviceCalls;
  if (version >= 6) set.scoped = kAbstractSockets;
  return set;
}

std::uint64_t rights(LandlockRule::Access access) {
  constexpr std::uint64_t rewrite = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncate;
  switch (access) {
    case LandlockRule::kRead:
      return LANDLOCK_ACCESS_FS_READ_FILE;
    case LandlockRule::kChange:
      return rewrite | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE;
    case LandlockRule::kRemove:
      return LANDLOCK_ACCESS_FS_REMOVE_FILE;
    case LandlockRule::kRemoveDirectory:
      return LANDLOCK_ACCESS_FS_REMOVE_DIR;
    case LandlockRule::kRewrite:
      return rewrite;
  }
  return 0;
}

Result<void> add_rule(int ruleset, const Ruleset& handled, const LandlockRule& rule) {
  auto place = sys::open(rule.path, O_PATH);
  if (!place && place.error().error_number() == ENOENT) return {};
  if (!place) return std::unexpected(std::move(place).error());
  landlock_path_beneath_attr attribute = {};
  attribute.allowed_access = rights(rule.access) & handled.files;
  attribute.parent_fd = place->get();
  if (::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &attribute, 0) < 0)
    return fail_errno("landlock_add_rule {}", rule.path);
  return {};
}

}  // namespace

int landlock_version() {
  const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return static_cast<int>(std::max(version, 0L));
}

Result<void> enter_landlock(const std::vector<LandlockRule>& rules) {
  const int version = landlock_version();
  if (version == 0) return {};
  const Ruleset handled = all_that_is_known(version);
  // A kernel takes what is longer than its own structure as long as the rest is 0.
  const UniqueFd ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0)));
  if (!ruleset) return fail_errno("landlock_create_ruleset");
  for (const LandlockRule& rule : rules) TRY(add_rule(ruleset.get(), handled, rule));
  if (::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) < 0) return fail_errno("landlock_restrict_self");
  return {};
}

}  // namespace boxlite
