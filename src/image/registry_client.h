// Reads one repository of a registry (OCI distribution-spec v1.1, sections "Pulling manifests" and "Pulling blobs").
//
// What is trusted with what:
// - https with verification; plain http only to this machine's own loopback, when the registry there does not speak TLS.
// - Credentials belong to the registry's origin (scheme, host, port). They go there and to the token service it names, which
//   must be https (or loopback, for a registry on loopback). No Authorization header ever follows a redirect to another origin.
// - A redirect may not go from https to http, nor from elsewhere to this machine.
// - Nothing received is believed: bytes go to sinks that are bounded and verify the digest.
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
#include "image/registry_transport.h"

namespace boxlite::image {

using BlobSink = std::function<Result<void>(std::span<const std::byte>)>;

class RegistryClient {
 public:
  RegistryClient(RegistryTransport& transport, RegistryReference reference, std::optional<Credentials> credentials);

  /// What the reference names; its digest is verified when the reference has one.
  Result<Document> top();
  /// A manifest named by an index; length and digest are verified.
  Result<Document> manifest(const Descriptor& descriptor);
  /// The sink verifies. `what` is "layer sha256:…" for messages.
  Result<void> blob(const Descriptor& descriptor, const std::string& what, const BlobSink& sink);

 private:
  struct Reply {
    HttpResponse response;
    std::string error_body;  // bounded, when the status is not 200
  };

  Result<void> connect();
  Result<Document> fetch_manifest(const std::string& selector);
  Result<Reply> get(const std::string& path, const std::vector<std::string>& headers, const BlobSink& sink);
  Result<Reply> get_once(const Url& url, const std::vector<std::string>& headers, const BlobSink& sink);
  Result<Url> redirect_target(const Url& from, const HttpResponse& response) const;
  Result<void> authorize(const HttpResponse& challenge);
  Result<void> fetch_token(const std::string& realm, const std::string& service, const std::string& scope);
  std::unexpected<Error> refused(const Reply& reply, const std::string& what) const;

  RegistryTransport& transport_;
  RegistryReference reference_;
  std::optional<Credentials> credentials_;
  std::string name_;           // of the image, for messages
  std::optional<Url> base_;    // once connected
  std::string authorization_;  // header line for base_'s origin; "" for none
};

}  // namespace boxlite::image
