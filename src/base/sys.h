// System calls as Results: the failing call and its subject are in the message. EINTR is retried, every descriptor is
// close-on-exec.
#pragma once

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite::sys {

Result<UniqueFd> open(const std::string& path, int flags, mode_t mode = 0);
/// `what` is what messages call the file when `dirfd` is not AT_FDCWD.
Result<UniqueFd> openat(int dirfd, const std::string& path, int flags, mode_t mode = 0);

/// Reads up to the buffer's size; 0 is end of file.
Result<std::size_t> read(int fd, std::span<std::byte> buffer);
/// Reads until the buffer is full or end of file; returns the number read.
Result<std::size_t> read_full(int fd, std::span<std::byte> buffer);
Result<void> write_all(int fd, std::span<const std::byte> data);
Result<void> write_all(int fd, std::string_view text);

Result<struct stat> stat(const std::string& path);
Result<struct stat> fstat(int fd);
Result<void> fsync(int fd, std::string_view what);
Result<void> mkdir(const std::string& path, mode_t mode);
Result<void> rename(const std::string& from, const std::string& to);
/// A file that is not there is no error.
Result<void> unlink(const std::string& path);

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};
Result<Pipe> pipe();

struct SocketPair {
  UniqueFd a;
  UniqueFd b;
};
/// AF_UNIX; `type`: SOCK_STREAM, SOCK_DGRAM.
Result<SocketPair> socket_pair(int type = SOCK_STREAM);

/// Closes every descriptor of this process but 0, 1, 2 and `keep`. For a forked child, whose parent's they are.
void close_all_but(std::span<const int> keep);

Result<void> set_nonblocking(int fd, bool on);

/// Waits for `events` (POLLIN, …) on one descriptor. Returns the events seen, 0 when the deadline passed. No timeout: waits for
/// ever.
Result<short> poll_one(int fd, short events, std::optional<std::chrono::milliseconds> timeout);

/// Fills the buffer from the kernel's generator; never fails (the process cannot go on without).
void random_bytes(std::span<std::byte> buffer);
/// `count` random bytes as 2×count lower-case hex digits.
std::string random_hex(std::size_t count);

/// Seconds and nanoseconds of the wall clock as RFC 3339 in UTC with nanoseconds: "2026-11-24T05:46:33.123456789Z".
std::string utc_now();

}  // namespace boxlite::sys
