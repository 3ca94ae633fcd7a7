// Signals as something to poll: while it lives they are blocked in this thread and read from a descriptor. Made before other
// threads are, which inherit the mask. The old mask comes back with the end of the object; a signal that is pending then has its
// usual effect.
#pragma once

#include <csignal>
#include <initializer_list>
#include <optional>

#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite::cli {

class SignalWatch {
 public:
  static Result<SignalWatch> create(std::initializer_list<int> signals);
  SignalWatch(SignalWatch&&) = default;
  SignalWatch& operator=(SignalWatch&&) = delete;
  ~SignalWatch();

  /// POLLIN when next() has one.
  int poll_fd() const { return fd_.get(); }
  /// The next signal that arrived, without waiting.
  std::optional<int> next();

 private:
  SignalWatch(UniqueFd fd, const sigset_t& old_mask) : fd_(std::move(fd)), old_mask_(old_mask) {}
  UniqueFd fd_;
  sigset_t old_mask_;
};

}  // namespace boxlite::cli
