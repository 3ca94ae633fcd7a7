#include "image/registry_config.h"

#include <algorithm>

#include "base/file.h"
#include "base/json.h"
#include "image/reference.h"

namespace boxlite::image {
namespace {

constexpr std::size_t kMaxConfig = 1024 * 1024;

std::unexpected<Error> wrong(const std::string& what, std::string_view wanted) {
  return fail(ErrorCode::kInvalidArgument, "{}: {} is wanted", what, wanted);
}

Result<void> only_keys(const Json& object, std::initializer_list<std::string_view> known, const std::string& what) {
  if (!object.is_object()) return wrong(what, "an object");
  for (const auto& item : object.items()) {
    if (std::ranges::find(known, std::string_view(item.key())) != known.end()) continue;
    std::string names;
    for (const std::string_view name : known) names += (names.empty() ? "" : ", ") + std::string(name);
    return fail(ErrorCode::kInvalidArgument, "{}: \"{}\" is not known; there are {}", what, item.key(), names);
  }
  return {};
}

Result<std::string> host_name(const Json& json, const std::string& what) {
  if (!json.is_string() || !is_registry_host(json.get<std::string>())) return wrong(what, "HOST or HOST:PORT");
  return json.get<std::string>();
}

Result<Mirror> mirror_from_json(const Json& json, const std::string& what) {
  if (!json.is_string()) return wrong(what, "HOST[:PORT][/PREFIX]");
  const auto text = json.get<std::string>();
  const std::size_t slash = text.find('/');
  Mirror mirror{.host = text.substr(0, slash), .prefix = slash == std::string::npos ? "" : text.substr(slash + 1)};
  const bool good_prefix = slash == std::string::npos || is_repository_name(mirror.prefix);
  if (!is_registry_host(mirror.host) || !good_prefix) return wrong(what + " \"" + text + "\"", "HOST[:PORT][/PREFIX]");
  return mirror;
}

Result<HostConfig> host_from_json(const Json& json, const std::string& what) {
  TRY(only_keys(json, {"ca", "insecure", "mirrors", "token_service"}, what));
  HostConfig host;
  if (const auto it = json.find("ca"); it != json.end()) {
    if (!it->is_string() || !it->get<std::string>().starts_with('/')) return wrong(what + ".ca", "an absolute path");
    host.ca = it->get<std::string>();
  }
  if (const auto it = json.find("insecure"); it != json.end()) {
    if (!it->is_boolean()) return wrong(what + ".insecure", "true or false");
    host.insecure = it->get<bool>();
  }
  if (const auto it = json.find("token_service"); it != json.end()) {
    if (!it->is_string() || !it->get<std::string>().starts_with("https://"))
      return wrong(what + ".token_service", "https://HOST");
    host.token_service = it->get<std::string>();
  }
  if (const auto it = json.find("mirrors"); it != json.end()) {
    if (!it->is_array()) return wrong(what + ".mirrors", "a list");
    for (const Json& mirror : *it) {
      TRY_ASSIGN(host.mirrors.emplace_back(), mirror_from_json(mirror, what + ".mirrors"));
    }
  }
  return host;
}

}  // namespace

const HostConfig& RegistryConfig::host(const std::string& authority) const {
  static const HostConfig none;
  const auto it = hosts.find(authority);
  return it == hosts.end() ? none : it->second;
}

Result<RegistryConfig> parse_registry_config(std::string_view text, const std::string& path) {
  TRY_ASSIGN(const Json json, parse_json(text, path));
  TRY(only_keys(json, {"registries", "search"}, path));
  RegistryConfig config;
  if (const auto it = json.find("registries"); it != json.end()) {
    if (!it->is_object()) return wrong(path + ": registries", "an object");
    for (const auto& item : it->items()) {
      const std::string what = fmt::format("{}: registries.\"{}\"", path, item.key());
      TRY(host_name(item.key(), what));
      TRY_ASSIGN(config.hosts[item.key()], host_from_json(item.value(), what));
    }
  }
  if (const auto it = json.find("search"); it != json.end()) {
    if (!it->is_array() || it->empty()) return wrong(path + ": search", "a list of at least one HOST");
    config.search.clear();
    for (const Json& host : *it) {
      TRY_ASSIGN(config.search.emplace_back(), host_name(host, path + ": search"));
    }
  }
  return config;
}

Result<RegistryConfig> read_registry_config(const std::string& home) {
  const std::string path = home + "/config.json";
  auto text = read_file(path, kMaxConfig);
  if (!text && text.error().code() == ErrorCode::kNotFound) return RegistryConfig();
  if (!text) return std::unexpected(text.error());
  return parse_registry_config(*text, path);
}

}  // namespace boxlite::image
