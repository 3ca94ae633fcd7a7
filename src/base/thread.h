// std::thread throws where a user may have no more of them; here that is an error like any other.
#pragma once

#include <system_error>
#include <thread>
#include <utility>

#include "base/result.h"

namespace boxlite {

/// What to do where the kernel refuses a process or a thread with EAGAIN.
inline constexpr const char* kNoProcessAdvice = "this user or the host has too many processes: see `ulimit -u`";

template <typename Body>
Result<std::jthread> start_thread(Body&& body) {
  try {
    return std::jthread(std::forward<Body>(body));
  } catch (const std::system_error& error) {
    return std::unexpected(Error::from_errno(error.code().value(), "start a thread").advice(kNoProcessAdvice));
  }
}

}  // namespace boxlite
