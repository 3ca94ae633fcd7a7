// Reads one repository of a registry (OCI distribution-spec v1.1, sections "Pulling manifests" and "Pulling blobs").
//
// What is trusted with what:
// - https with verification; plain http only to this machine's own loopback, or a host that is configured as insecure, when the
//   registry there does not speak TLS.
// - Credentials belong to the registry's origin (scheme, host, port), and each mirror has its own. They go there and to the token
//   service it names, if that is on the same host, on a parent domain of it, docker.io's own, or configured; it must be https (or
//   loopback, for a registry on loopback). No Authorization header ever follows a redirect to another origin.
// - A redirect may not go from https to http, nor from elsewhere to this machine. URLs inside descriptors ("foreign layers") are
//   not looked at.
// - Nothing received is believed: bytes go to sinks that are bounded and verify the digest.
//
// What fails for a while is tried again (retry.h); a blob goes on where its connection broke.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/docker_config.h"
#include "image/document.h"
#include "image/manifest.h"
#include "image/reference.h"
#include "image/registry_config.h"
#include "image/registry_transport.h"
#include "image/retry.h"

namespace boxlite::image {

using BlobSink = std::function<Result<void>(std::span<const std::byte>)>;

/// Where a repository is read: the registry of its name, or one of the mirrors that stand in for it.
struct Endpoint {
  std::string name;    // for messages: "docker.io", "mirror.example:5000/hub"
  std::string host;    // HOST or HOST:PORT
  std::string prefix;  // before the repository's name; "" or "hub"
  std::optional<Credentials> credentials;
  bool insecure = false;
  std::string token_service;  // HostConfig
};

/// The mirrors of a registry in their order, then itself. Without credentials.
std::vector<Endpoint> endpoints_of(const std::string& registry, const RegistryConfig& config);

class RegistryClient {
 public:
  RegistryClient(RegistryTransport& transport, RegistryReference reference, Endpoint endpoint);
  /// The same, with what was learnt of the registry so far, over another transport: for another thread.
  RegistryClient(const RegistryClient& other, RegistryTransport& transport) : RegistryClient(other) { transport_ = &transport; }

  /// What the reference names; its digest is verified when the reference has one.
  Result<Document> top();
  /// A manifest named by an index; length and digest are verified.
  Result<Document> manifest(const Descriptor& descriptor);
  /// The sink verifies, and gets each byte once, in order. `what` is "layer sha256:…" for messages.
  Result<void> blob(const Descriptor& descriptor, const std::string& what, const BlobSink& sink);

  /// Does the registry accept the credentials? kPermissionDenied: no. For a reference without a repository.
  Result<void> check_login();

 private:
  struct Reply {
    HttpResponse response;
    std::string error_body;  // bounded, when the status is neither 200 nor 206
  };

  Result<void> connect();
  Result<Document> fetch_manifest(const std::string& selector);

  template <typename Once>
  Result<Reply> persist(RetryPolicy& retry, const Once& once);
  Result<Reply> get(const Url& url, const std::vector<std::string>& headers, const BodySink& sink);
  Result<Reply> get_once(const Url& url, const std::vector<std::string>& headers, const BodySink& sink);
  Result<Url> url_of(const std::string& path) const;
  Result<Url> redirect_target(const Url& from, const HttpResponse& response) const;
  Result<void> authorize(const HttpResponse& challenge);
  Result<Url> judge_realm(const std::string& realm) const;
  Result<void> fetch_token(const std::string& realm, const std::string& service, const std::string& scope);
  std::unexpected<Error> refused(const Reply& reply, const std::string& what) const;

  RegistryTransport* transport_;
  RegistryReference reference_;
  Endpoint endpoint_;
  std::string name_;           // of the image, for messages
  std::optional<Url> base_;    // once connected
  std::string authorization_;  // header line for base_'s origin; "" for none
  bool answered_ = false;
};

}  // namespace boxlite::image
