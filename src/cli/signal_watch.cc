#include "cli/signal_watch.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <span>

#include "base/sys.h"

namespace boxlite::cli {

Result<SignalWatch> SignalWatch::create(std::initializer_list<int> signals) {
  sigset_t mask;
  sigset_t old_mask;
  ::sigemptyset(&mask);
  for (const int signal : signals) ::sigaddset(&mask, signal);
  UniqueFd fd(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return fail_errno("make a signal descriptor");
  if (const int error = ::pthread_sigmask(SIG_BLOCK, &mask, &old_mask); error != 0) {
    return std::unexpected(Error::from_errno(error, "block signals"));
  }
  return SignalWatch(std::move(fd), old_mask);
}

SignalWatch::~SignalWatch() {
  if (fd_) ::pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
}

std::optional<int> SignalWatch::next() {
  signalfd_siginfo info{};
  const Result<std::size_t> count = sys::read(fd_.get(), std::as_writable_bytes(std::span(&info, 1)));
  if (!count || *count != sizeof info) return std::nullopt;
  return static_cast<int>(info.ssi_signo);
}

}  // namespace boxlite::cli
