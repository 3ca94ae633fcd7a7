// RegistryTransport over libcurl. https with verification; only the URL's own scheme; connect 15 s; no data for 60 s is the end.
#pragma once

#include <memory>

#include "image/job_monitor.h"
#include "image/registry_transport.h"

namespace boxlite::image {

class CurlTransport : public RegistryTransport {
 public:
  /// Asks `monitor` about once a second at least whether to go on.
  static Result<std::unique_ptr<CurlTransport>> create(JobMonitor& monitor);
  ~CurlTransport() override;

  Result<HttpResponse> get(const Url& url, const std::vector<std::string>& headers, const BodySink& sink) override;

 private:
  explicit CurlTransport(JobMonitor& monitor, void* curl) : monitor_(monitor), curl_(curl) {}
  JobMonitor& monitor_;
  void* curl_;  // keeps connections open between calls
};

}  // namespace boxlite::image
