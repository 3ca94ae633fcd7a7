// When a request to a registry that failed is made again, and how long to wait before.
//
// Worth another try are connections that failed or broke, 408, 429 and 5xx. Each new try without progress waits twice as long as
// the one before it; a server's Retry-After counts instead. Progress begins the count anew, so a large layer survives any number
// of broken connections as long as each brings something.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "image/registry_transport.h"

namespace boxlite::image {

class RetryPolicy {
 public:
  using Clock = std::chrono::steady_clock;

  /// A host that has never answered is given up sooner: most likely its name is wrong.
  explicit RetryPolicy(bool has_answered) : limit_(has_answered ? kRetries : kRetriesBeforeAnswer) {}

  /// How long to wait before the next try; nullopt: no more.
  std::optional<std::chrono::milliseconds> next(const HttpResponse* response);

  void progress();

  static bool is_transient(long status);

 private:
  static constexpr int kRetries = 5;
  static constexpr int kRetriesBeforeAnswer = 2;
  int limit_;
  int failures_ = 0;
  Clock::time_point last_progress_ = Clock::now();
};

/// Of a Retry-After header (RFC 9110, 10.2.3: seconds or a date); nullopt when there is none that can be read.
std::optional<std::chrono::seconds> retry_after(const HttpResponse& response);

}  // namespace boxlite::image
