#include "image/login_job.h"

#include "image/curl_transport.h"
#include "image/docker_config.h"
#include "image/registry_client.h"

namespace boxlite::image {
namespace {

Result<std::string> registry_of(const JobRequest& request) {
  if (const std::size_t scheme = request.reference.find("://"); scheme != std::string::npos)
    return fail(ErrorCode::kInvalidArgument,
                "\"{}\" is not a registry; name it without {}, and one without TLS as insecure in config.json of the home",
                request.reference, request.reference.substr(0, scheme + 3));
  if (!is_registry_host(request.reference))
    return fail(ErrorCode::kInvalidArgument, "\"{}\" is not a registry (HOST or HOST:PORT)", request.reference);
  return request.reference == "index.docker.io" ? "docker.io" : request.reference;
}

}  // namespace

std::string auth_file(const std::string& home) { return home + "/auth.json"; }

Result<void> run_login(const JobRequest& request, JobMonitor& monitor) {
  TRY_ASSIGN(const std::string registry, registry_of(request));
  const Credentials credentials{.username = request.username.value_or(""), .password = request.password.value_or("")};
  if (credentials.username.empty() || credentials.password.empty())
    return fail(ErrorCode::kInvalidArgument, "login {}: user name and password must not be empty", registry);
  if (credentials.username.find(':') != std::string::npos)
    return fail(ErrorCode::kInvalidArgument, "login {}: a user name cannot have a ':' in it", registry);
  TRY_ASSIGN(const RegistryConfig config, read_registry_config(request.home));
  TRY_ASSIGN(const auto transport, CurlTransport::create(monitor, config));
  Endpoint endpoint = endpoints_of(registry, config).back();
  endpoint.credentials = credentials;
  RegistryReference reference{.registry = registry, .repository = {}, .tag = {}, .digest = {}};
  RegistryClient client(*transport, std::move(reference), std::move(endpoint));
  TRY(client.check_login());
  TRY(store_credentials(auth_file(request.home), registry, credentials));
  return {};
}

Result<void> run_logout(const JobRequest& request) {
  TRY_ASSIGN(const std::string registry, registry_of(request));
  TRY_ASSIGN(const bool known, store_credentials(auth_file(request.home), registry, std::nullopt));
  if (!known) return fail(ErrorCode::kNotFound, "not logged in to {}; `boxlite login {}` does that", registry, registry);
  return {};
}

}  // namespace boxlite::image
