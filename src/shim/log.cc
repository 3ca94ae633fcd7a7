#include "shim/log.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/sys.h"

namespace boxlite::shim {
namespace {

constexpr off_t kMaxOld = 256 * 1024;

}  // namespace

void log_line(std::string_view text) { (void)sys::write_all(STDERR_FILENO, fmt::format("{} {}\n", sys::utc_now(), text)); }

Result<void> log_to(const std::string& path) {
  if (const auto old = sys::stat(path); old && old->st_size > kMaxOld) TRY(sys::rename(path, path + ".1"));
  TRY_ASSIGN(const UniqueFd file, sys::open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600));
  for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
    if (::dup2(file.get(), fd) < 0) return fail_errno("dup2 {}", path);
  }
  return {};
}

}  // namespace boxlite::shim
