// Registry credentials from docker's config.json ("auths"). Credential helpers are programs of others and are not run.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace boxlite::image {

struct Credentials {
  std::string username;
  std::string password;
};

/// The entry for a registry ("docker.io", "127.0.0.1:5000") in the file's text; nullopt: there is none. Errors name the file
/// and never quote it.
Result<std::optional<Credentials>> find_credentials(std::string_view config, std::string_view path, std::string_view registry);

/// The same from a file; a missing one has no credentials.
Result<std::optional<Credentials>> read_credentials(const std::string& path, std::string_view registry);

}  // namespace boxlite::image
