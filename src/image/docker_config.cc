#include "image/docker_config.h"

#include "base/file.h"
#include "base/json.h"
#include "image/base64.h"

namespace boxlite::image {
namespace {

constexpr std::size_t kMaxConfigFile = 1024 * 1024;

// Keys are hosts or, from older docker versions, URLs: "https://index.docker.io/v1/".
std::string_view host_of_key(std::string_view key) {
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (key.starts_with(scheme)) key.remove_prefix(scheme.size());
  }
  key = key.substr(0, key.find('/'));
  return key == "index.docker.io" || key == "registry-1.docker.io" ? "docker.io" : key;
}

Result<std::optional<Credentials>> from_entry(const Json& entry, std::string_view what) {
  TRY_ASSIGN(const std::string auth, json_get_or(entry, "auth", what, std::string()));
  if (!auth.empty()) {
    const std::optional<std::string> decoded = base64_decode(auth);
    const std::size_t colon = decoded ? decoded->find(':') : std::string::npos;
    if (colon == std::string::npos) return fail(ErrorCode::kCorrupt, "{}: \"auth\" is not base64 of user:password", what);
    return Credentials{.username = decoded->substr(0, colon), .password = decoded->substr(colon + 1)};
  }
  TRY_ASSIGN(std::string username, json_get_or(entry, "username", what, std::string()));
  TRY_ASSIGN(std::string password, json_get_or(entry, "password", what, std::string()));
  if (username.empty()) return std::nullopt;
  return Credentials{.username = std::move(username), .password = std::move(password)};
}

}  // namespace

Result<std::optional<Credentials>> find_credentials(std::string_view config, std::string_view path, std::string_view registry) {
  TRY_ASSIGN(const Json json, parse_json(config, path));
  TRY_ASSIGN(const Json auths, json_get_or(json, "auths", path, Json::object()));
  if (!auths.is_object()) return fail(ErrorCode::kCorrupt, "{}: \"auths\" is not an object", path);
  for (const auto& item : auths.items()) {
    if (host_of_key(item.key()) != registry || !item.value().is_object()) continue;
    TRY_ASSIGN(std::optional<Credentials> credentials, from_entry(item.value(), fmt::format("{}: {}", path, item.key())));
    if (credentials) return credentials;
  }
  return std::nullopt;
}

Result<std::optional<Credentials>> read_credentials(const std::string& path, std::string_view registry) {
  if (path.empty()) return std::nullopt;
  auto text = read_file(path, kMaxConfigFile);
  if (!text && text.error().code() == ErrorCode::kNotFound) return std::nullopt;
  if (!text) return std::unexpected(text.error().context("registry credentials"));
  return find_credentials(*text, path, registry);
}

}  // namespace boxlite::image
