#include "image/retry.h"

#include <curl/curl.h>

#include <charconv>
#include <ctime>

#include "base/sys.h"

namespace boxlite::image {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kFirstPause(200);
// Longer than this without a byte, or told to wait longer: the user hears of it instead of waiting.
constexpr seconds kPatience(60);

}  // namespace

bool RetryPolicy::is_transient(long status) { return status == 408 || status == 429 || (status >= 500 && status <= 599); }

std::optional<milliseconds> RetryPolicy::next(const HttpResponse* response) {
  if (failures_ == limit_) return std::nullopt;
  milliseconds pause = kFirstPause * (1 << failures_++);
  // Between half of it and all of it: clients that failed together shall not come back together.
  std::byte random = {};
  sys::random_bytes(std::span(&random, 1));
  pause = pause / 2 + pause * std::to_integer<int>(random) / 512;
  if (response != nullptr) {
    if (const auto told = retry_after(*response)) pause = *told;
  }
  if (Clock::now() + pause - last_progress_ >= kPatience) return std::nullopt;
  return pause;
}

void RetryPolicy::progress() {
  limit_ = kRetries;
  failures_ = 0;
  last_progress_ = Clock::now();
}

std::optional<seconds> retry_after(const HttpResponse& response) {
  const auto it = response.headers.find("retry-after");
  if (it == response.headers.end()) return std::nullopt;
  const std::string& text = it->second;
  int number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() && number >= 0) return seconds(number);
  const std::time_t date = curl_getdate(text.c_str(), nullptr);
  if (date < 0) return std::nullopt;
  return seconds(std::max<std::time_t>(date - std::time(nullptr), 0));
}

}  // namespace boxlite::image
