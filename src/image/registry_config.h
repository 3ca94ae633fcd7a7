// The registry part of <home>/config.json (docs/formats/config.md): how hosts are reached, what stands in for them, and where
// names without a host are looked for.
//
// Strict: a key that is not known is refused by its name, since a misspelt "insecure" or "mirrors" would silently do something
// else. In the small library that the runtime links: the search list decides which image a name means.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace boxlite::image {

/// HOST[:PORT][/PREFIX]
struct Mirror {
  std::string host;
  std::string prefix;  // "": none. Stands before the repository's name
};

struct HostConfig {
  std::string ca;               // path of a PEM file: only these authorities are believed; "": the system's
  bool insecure = false;        // TLS without verification, and plain http where there is no TLS
  std::string token_service;    // origin ("https://auth.example") that may see this host's credentials; "": see registry_client.h
  std::vector<Mirror> mirrors;  // asked before the host itself, in this order
};

struct RegistryConfig {
  std::map<std::string, HostConfig> hosts;          // by HOST or HOST:PORT, as in an image's name
  std::vector<std::string> search = {"docker.io"};  // for names without a host

  /// The default for a host that is not mentioned.
  const HostConfig& host(const std::string& authority) const;
};

/// kInvalidArgument names file and key.
Result<RegistryConfig> parse_registry_config(std::string_view text, const std::string& path);

/// The file of a home; the defaults when there is none.
Result<RegistryConfig> read_registry_config(const std::string& home);

}  // namespace boxlite::image
