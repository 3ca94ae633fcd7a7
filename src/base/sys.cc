#include "base/sys.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <vector>

namespace boxlite::sys {
namespace {

template <typename Call>
auto retry(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

}  // namespace

Result<UniqueFd> open(const std::string& path, int flags, mode_t mode) { return openat(AT_FDCWD, path, flags, mode); }

Result<UniqueFd> openat(int dirfd, const std::string& path, int flags, mode_t mode) {
  const int fd = retry([&] { return ::openat(dirfd, path.c_str(), flags | O_CLOEXEC, mode); });
  if (fd < 0) return fail_errno("open {}", path);
  return UniqueFd(fd);
}

Result<std::size_t> read(int fd, std::span<std::byte> buffer) {
  const ssize_t count = retry([&] { return ::read(fd, buffer.data(), buffer.size()); });
  if (count < 0) return fail_errno("read");
  return static_cast<std::size_t>(count);
}

Result<std::size_t> read_full(int fd, std::span<std::byte> buffer) {
  std::size_t done = 0;
  while (done < buffer.size()) {
    TRY_ASSIGN(const std::size_t count, read(fd, buffer.subspan(done)));
    if (count == 0) break;
    done += count;
  }
  return done;
}

Result<void> write_all(int fd, std::span<const std::byte> data) {
  while (!data.empty()) {
    const ssize_t count = retry([&] { return ::write(fd, data.data(), data.size()); });
    if (count < 0) return fail_errno("write");
    data = data.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

Result<void> write_all(int fd, std::string_view text) { return write_all(fd, std::as_bytes(std::span(text))); }

Result<struct stat> stat(const std::string& path) {
  struct stat st = {};
  if (::stat(path.c_str(), &st) < 0) return fail_errno("stat {}", path);
  return st;
}

Result<struct stat> fstat(int fd) {
  struct stat st = {};
  if (::fstat(fd, &st) < 0) return fail_errno("fstat");
  return st;
}

Result<void> fsync(int fd, std::string_view what) {
  if (retry([&] { return ::fsync(fd); }) < 0) return fail_errno("fsync {}", what);
  return {};
}

Result<void> mkdir(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) < 0) return fail_errno("mkdir {}", path);
  return {};
}

Result<void> rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) < 0) return fail_errno("rename {} to {}", from, to);
  return {};
}

Result<void> unlink(const std::string& path) {
  if (::unlink(path.c_str()) < 0 && errno != ENOENT) return fail_errno("unlink {}", path);
  return {};
}

Result<Pipe> pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) < 0) return fail_errno("pipe");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

Result<SocketPair> socket_pair(int type) {
  int fds[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) < 0) return fail_errno("socketpair");
  return SocketPair{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

void close_all_but(std::span<const int> keep) {
  std::vector<int> kept(keep.begin(), keep.end());
  std::ranges::sort(kept);
  unsigned first = STDERR_FILENO + 1;
  for (const int fd : kept) {
    const auto number = static_cast<unsigned>(fd);
    if (number < first) continue;
    if (number > first) ::syscall(SYS_close_range, first, number - 1, 0);
    first = number + 1;
  }
  ::syscall(SYS_close_range, first, ~0U, 0);
}

Result<void> set_nonblocking(int fd, bool on) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return fail_errno("fcntl F_GETFL");
  if (::fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) < 0) return fail_errno("fcntl F_SETFL");
  return {};
}

Result<short> poll_one(int fd, short events, std::optional<std::chrono::milliseconds> timeout) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = timeout ? std::optional(Clock::now() + *timeout) : std::nullopt;
  for (;;) {
    int wait_ms = -1;
    if (deadline) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now());
      wait_ms = left.count() > 0 ? static_cast<int>(left.count()) : 0;
    }
    pollfd entry{fd, events, 0};
    const int count = ::poll(&entry, 1, wait_ms);
    if (count > 0) return entry.revents;
    if (count == 0) return short{0};
    if (errno != EINTR) return fail_errno("poll");
  }
}

void random_bytes(std::span<std::byte> buffer) {
  while (!buffer.empty()) {
    const ssize_t count = retry([&] { return ::getrandom(buffer.data(), buffer.size(), 0); });
    if (count < 0) std::abort();
    buffer = buffer.subspan(static_cast<std::size_t>(count));
  }
}

std::string random_hex(std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    std::byte value{};
    random_bytes(std::span(&value, 1));
    text += fmt::format("{:02x}", std::to_integer<unsigned>(value));
  }
  return text;
}

std::string utc_now() {
  timespec now = {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm parts = {};
  ::gmtime_r(&now.tv_sec, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  return fmt::format("{}.{:09}Z", text, now.tv_nsec);
}

}  // namespace boxlite::sys
