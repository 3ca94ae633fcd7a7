// Docker's credential helpers: docker-credential-NAME from PATH, asked "get" (github.com/docker/docker-credential-helpers).
//
// They are the user's own programs and get his environment; what they say is bounded in size and time.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace boxlite::image {

struct Credentials {
  std::string username;
  std::string password;
};

/// `environment` is "NAME=value" lines, PATH among them. nullopt: the helper has none for this server. A helper that is not
/// there, fails, says something else or takes longer than `timeout` is an error that names it and quotes nothing of what it said.
Result<std::optional<Credentials>> ask_credential_helper(const std::string& name, const std::string& server,
                                                         const std::vector<std::string>& environment,
                                                         std::chrono::milliseconds timeout = std::chrono::seconds(60));

}  // namespace boxlite::image
