// Registry credentials from files in the format of docker's config.json, which podman's auth.json and our own have, too: "auths",
// "credHelpers" and "credsStore".
//
// A key names a registry by HOST or HOST:PORT, as a URL ("https://index.docker.io/v1/", older docker), or, podman's way, with the
// beginning of a repository's name behind it ("quay.io/team"); the longest wins. A host with another port is another registry.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/credential_helper.h"

namespace boxlite::image {

struct CredentialQuery {
  std::string registry;                  // "docker.io", "127.0.0.1:5000"
  std::string repository;                // "library/alpine"; may be ""
  std::vector<std::string> environment;  // for helpers
};

/// From a file's text; nullopt: it has none. Errors name the file and never quote it.
Result<std::optional<Credentials>> find_credentials(std::string_view config, std::string_view path, const CredentialQuery& query);

/// From the first of the files that has some; a missing file has none.
Result<std::optional<Credentials>> read_credentials(const std::vector<std::string>& paths, const CredentialQuery& query);

/// Replaces (or with nullopt removes) the entry of a registry in a file of ours, which is 0600 and may be missing.
/// Removing tells whether there was one.
Result<bool> store_credentials(const std::string& path, const std::string& registry,
                               const std::optional<Credentials>& credentials);

}  // namespace boxlite::image
