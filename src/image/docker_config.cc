#include "image/docker_config.h"

#include "base/file.h"
#include "base/json.h"
#include "base/ofd_lock.h"
#include "image/base64.h"

namespace boxlite::image {
namespace {

constexpr std::size_t kMaxConfigFile = 1024 * 1024;
constexpr std::string_view kHubRegistry = "docker.io";
// What helpers and old files call docker.io.
constexpr std::string_view kDockerHubUrl = "https://index.docker.io/v1/";

// "https://HOST/v1/" names the host; "HOST/repository" stays, it is podman's.
std::string_view plain_key(std::string_view key) {
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (!key.starts_with(scheme)) continue;
    key.remove_prefix(scheme.size());
    key = key.substr(0, key.find('/'));
  }
  const std::string_view host = key.substr(0, key.find('/'));
  return host == "index.docker.io" || host == "registry-1.docker.io" ? kHubRegistry : key;
}

// How many characters of "registry/repository" the key matches; 0: it is another's.
std::size_t match_length(std::string_view key, const CredentialQuery& query) {
  const std::string_view plain = plain_key(key);
  if (plain == query.registry) return plain.size();
  const std::string full = query.registry + "/" + query.repository + "/";
  const bool matches = plain.size() > query.registry.size() && full.starts_with(std::string(plain) + "/");
  return matches ? plain.size() : 0;
}

Result<std::optional<Credentials>> from_entry(const Json& entry, std::string_view what) {
  if (const auto it = entry.find("identitytoken"); it != entry.end() && it->is_string() && !it->get<std::string>().empty())
    return fail(ErrorCode::kUnsupported,
                "{} has an identity token, which is not supported; log in with a password or access token", what);
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

Result<Json> object_member(const Json& json, std::string_view key, std::string_view path) {
  TRY_ASSIGN(Json member, json_get_or(json, key, path, Json::object()));
  if (!member.is_object()) return fail(ErrorCode::kCorrupt, "{}: \"{}\" is not an object", path, key);
  return member;
}

Result<std::optional<Credentials>> ask(const std::string& helper, const CredentialQuery& query, std::string_view path) {
  const std::string server = query.registry == kHubRegistry ? std::string(kDockerHubUrl) : query.registry;
  auto credentials = ask_credential_helper(helper, server, query.environment);
  if (!credentials) return std::unexpected(std::move(credentials).error().context(path));
  return credentials;
}

}  // namespace

// docker's order: the registry's own helper, then an entry with a password in it, then the store for all.
Result<std::optional<Credentials>> find_credentials(std::string_view config, std::string_view path,
                                                    const CredentialQuery& query) {
  TRY_ASSIGN(const Json json, parse_json(config, path));
  if (!json.is_object()) return fail(ErrorCode::kCorrupt, "{} is not a JSON object", path);
  TRY_ASSIGN(const Json helpers, object_member(json, "credHelpers", path));
  for (const auto& item : helpers.items()) {
    if (plain_key(item.key()) == query.registry && item.value().is_string())
      return ask(item.value().get<std::string>(), query, path);
  }
  TRY_ASSIGN(const Json auths, object_member(json, "auths", path));
  std::optional<Credentials> best;
  std::size_t best_length = 0;
  for (const auto& item : auths.items()) {
    const std::size_t length = match_length(item.key(), query);
    if (length <= best_length || !item.value().is_object()) continue;
    TRY_ASSIGN(std::optional<Credentials> found, from_entry(item.value(), fmt::format("{}: {}", path, item.key())));
    if (!found) continue;
    best = std::move(found);
    best_length = length;
  }
  if (best) return best;
  TRY_ASSIGN(const std::string store, json_get_or(json, "credsStore", path, std::string()));
  if (store.empty()) return std::nullopt;
  return ask(store, query, path);
}

Result<std::optional<Credentials>> read_credentials(const std::vector<std::string>& paths, const CredentialQuery& query) {
  for (const std::string& path : paths) {
    auto text = read_file(path, kMaxConfigFile);
    if (!text && text.error().code() == ErrorCode::kNotFound) continue;
    if (!text) return std::unexpected(text.error().context("registry credentials"));
    TRY_ASSIGN(std::optional<Credentials> found, find_credentials(*text, path, query));
    if (found) return found;
  }
  return std::nullopt;
}

Result<bool> store_credentials(const std::string& path, const std::string& registry,
                               const std::optional<Credentials>& credentials) {
  // Two logins at once must not lose one. The lock file stays: removing it would need a second one.
  TRY_ASSIGN(const OfdLock lock, OfdLock::acquire(path + ".lock", std::chrono::seconds(10)));
  Json json = Json::object();
  auto text = read_file(path, kMaxConfigFile);
  if (text) {
    TRY_ASSIGN(json, parse_json(*text, path));
  } else if (text.error().code() != ErrorCode::kNotFound) {
    return std::unexpected(text.error());
  }
  TRY_ASSIGN(Json auths, object_member(json, "auths", path));
  const bool known = auths.contains(registry);
  if (!credentials && !known) return false;
  if (credentials) {
    auths[registry] = {{"auth", base64_encode(credentials->username + ":" + credentials->password)}};
  } else {
    auths.erase(registry);
  }
  json["auths"] = std::move(auths);
  TRY(write_file_atomic(path, dump_json(json, 2) + "\n", 0600));
  return known;
}

}  // namespace boxlite::image
