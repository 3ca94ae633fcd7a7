#include "base/ofd_lock.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <thread>

#include "base/sys.h"

namespace boxlite {
namespace {

struct flock whole_file(short type) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}

}  // namespace

OfdLock& OfdLock::operator=(OfdLock&& other) noexcept {
  if (this != &other) {
    release();
    fd_ = std::move(other.fd_);
  }
  return *this;
}

Result<std::optional<OfdLock>> OfdLock::try_acquire(const std::string& path) {
  TRY_ASSIGN(UniqueFd fd, sys::open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  struct flock lock = whole_file(F_WRLCK);
  if (::fcntl(fd.get(), F_OFD_SETLK, &lock) == 0) return OfdLock(std::move(fd));
  if (errno == EAGAIN || errno == EACCES) return std::nullopt;
  return fail_errno("lock {}", path);
}

Result<OfdLock> OfdLock::acquire(const std::string& path, std::chrono::milliseconds timeout, Mode mode) {
  TRY_ASSIGN(UniqueFd fd, sys::open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  auto lock = acquire(std::move(fd), timeout, mode);
  if (!lock) return std::unexpected(std::move(lock).error().context(path));
  return lock;
}

Result<OfdLock> OfdLock::acquire(UniqueFd fd, std::chrono::milliseconds timeout, Mode mode) {
  // The kernel's waiting form (F_OFD_SETLKW) has no deadline, and interrupting it needs a signal, which a library must not
  // use. Waiting with growing pauses costs nothing where these locks are contended: state changes take milliseconds.
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  auto pause = std::chrono::microseconds(200);
  for (;;) {
    struct flock lock = whole_file(mode == Mode::kExclusive ? F_WRLCK : F_RDLCK);
    if (::fcntl(fd.get(), F_OFD_SETLK, &lock) == 0) return OfdLock(std::move(fd));
    if (errno != EAGAIN && errno != EACCES) return fail_errno("lock");
    if (std::chrono::steady_clock::now() >= deadline) {
      return fail(ErrorCode::kUnavailable, "still locked after {} ms", timeout.count());
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::microseconds(20000));
  }
}

Result<bool> OfdLock::held(const std::string& path) {
  auto fd = sys::open(path, O_RDONLY | O_NOFOLLOW);
  if (!fd) {
    if (fd.error().error_number() == ENOENT) return false;
    return std::unexpected(fd.error());
  }
  struct flock lock = whole_file(F_WRLCK);
  // A write lock is asked about on a read-only descriptor: allowed, since F_OFD_GETLK takes nothing.
  if (::fcntl(fd->get(), F_OFD_GETLK, &lock) < 0) return fail_errno("query lock {}", path);
  return lock.l_type != F_UNLCK;
}

void OfdLock::release() {
  if (!fd_) return;
  struct flock lock = whole_file(F_UNLCK);
  (void)::fcntl(fd_.get(), F_OFD_SETLK, &lock);
  fd_.reset();
}

bool OfdLock::still_linked() const {
  struct stat st = {};
  return ::fstat(fd_.get(), &st) == 0 && st.st_nlink > 0;
}

}  // namespace boxlite
