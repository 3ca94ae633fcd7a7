// One HTTP GET, and waiting: all of the network that the registry client sees, so that its rules are tested without one.
//
// Redirects are never followed here and nothing is remembered between calls: which header may go where is decided in one place,
// the client.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/url.h"

namespace boxlite::image {

struct HttpResponse {
  long status = 0;
  std::multimap<std::string, std::string> headers;  // names in lower case
  bool complete = true;                             // false: the connection ended before the body did
};

/// Gets the body piece by piece, with the status and headers before it. An error ends the transfer and is what get() returns.
using BodySink = std::function<Result<void>(const HttpResponse&, std::span<const std::byte>)>;

class RegistryTransport {
 public:
  virtual ~RegistryTransport() = default;

  /// `headers` are whole lines, "Accept: x". kUnsupported: the peer of an https URL does not speak TLS. kUnavailable: no
  /// connection, no data for 30 s, or interrupted.
  virtual Result<HttpResponse> get(const Url& url, const std::vector<std::string>& headers, const BodySink& sink) = 0;

  /// Waits before another try. kUnavailable when interrupted.
  virtual Result<void> pause(std::chrono::milliseconds time) = 0;
};

}  // namespace boxlite::image
