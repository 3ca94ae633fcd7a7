#include "base/bounded_log.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/sys.h"

namespace boxlite {
namespace {

// A fifo in its place would keep whoever opens it waiting for a reader.
Result<UniqueFd> open_for_append(const std::string& path) {
  if (const auto st = sys::stat(path); st && !S_ISREG(st->st_mode))
    return fail(ErrorCode::kCorrupt, "{} is not a regular file; move it away", path);
  return sys::open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK, 0600);
}

}  // namespace

Result<BoundedLog> BoundedLog::open(const std::string& path, std::uint64_t limit) {
  TRY_ASSIGN(UniqueFd fd, open_for_append(path));
  TRY_ASSIGN(const struct stat st, sys::fstat(fd.get()));
  return BoundedLog(path, limit, std::move(fd), static_cast<std::uint64_t>(st.st_size));
}

Result<BoundedLog> BoundedLog::begin(const std::string& path, std::uint64_t limit) {
  if (auto kept = sys::rename(path, path + ".1"); !kept && kept.error().error_number() != ENOENT)
    return std::unexpected(std::move(kept).error());
  return open(path, limit);
}

Result<void> BoundedLog::append(std::span<const std::byte> data) {
  if (size_ > 0 && size_ + data.size() > limit_) {
    TRY(sys::rename(path_, path_ + ".1"));
    TRY_ASSIGN(fd_, open_for_append(path_));
    size_ = 0;
  }
  TRY(sys::write_all(fd_.get(), data));
  size_ += data.size();
  return {};
}

}  // namespace boxlite
