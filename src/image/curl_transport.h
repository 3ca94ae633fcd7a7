// RegistryTransport over libcurl. https with verification; only the URL's own scheme; connect 15 s; no data for 30 s is the end.
#pragma once

#include <memory>

#include "image/job_monitor.h"
#include "image/registry_config.h"
#include "image/registry_transport.h"

namespace boxlite::image {

class CurlTransport : public RegistryTransport {
 public:
  /// Once per program, before the first create().
  static Result<void> initialise_library();

  /// Asks `monitor` about once a second at least whether to go on. `config` says which hosts have a CA of their own or are
  /// insecure.
  static Result<std::unique_ptr<CurlTransport>> create(JobMonitor& monitor, const RegistryConfig& config);
  ~CurlTransport() override;

  Result<HttpResponse> get(const Url& url, const std::vector<std::string>& headers, const BodySink& sink) override;
  Result<void> pause(std::chrono::milliseconds time) override { return monitor_.pause(time); }

 private:
  CurlTransport(JobMonitor& monitor, const RegistryConfig& config, void* curl)
      : monitor_(monitor), config_(config), curl_(curl) {}
  JobMonitor& monitor_;
  const RegistryConfig& config_;
  void* curl_;  // keeps connections open between calls
};

}  // namespace boxlite::image
