#include "image/image_config.h"

#include "base/json.h"

namespace boxlite::image {
namespace {

using Strings = std::vector<std::string>;

// Sets are JSON objects there: {"80/tcp": {}}.
Result<Strings> keys_of(const Json& object, std::string_view key, std::string_view what) {
  TRY_ASSIGN(const Json set, json_get_or(object, key, what, Json::object()));
  if (!set.is_object()) return fail(ErrorCode::kCorrupt, "{}: \"{}\" is not an object", what, key);
  Strings keys;
  for (const auto& item : set.items()) keys.push_back(item.key());
  return keys;
}

Result<ImageConfig> run_config(const Json& json, std::string_view what) {
  ImageConfig config;
  TRY_ASSIGN(config.env, json_get_or(json, "Env", what, Strings()));
  TRY_ASSIGN(config.entrypoint, json_get_or(json, "Entrypoint", what, Strings()));
  TRY_ASSIGN(config.cmd, json_get_or(json, "Cmd", what, Strings()));
  TRY_ASSIGN(config.user, json_get_or(json, "User", what, std::string()));
  TRY_ASSIGN(config.working_dir, json_get_or(json, "WorkingDir", what, std::string()));
  TRY_ASSIGN(config.stop_signal, json_get_or(json, "StopSignal", what, std::string()));
  TRY_ASSIGN(config.exposed_ports, keys_of(json, "ExposedPorts", what));
  TRY_ASSIGN(config.volumes, keys_of(json, "Volumes", what));
  TRY_ASSIGN(config.labels, json_get_or(json, "Labels", what, std::map<std::string, std::string>()));
  // An argument or a variable with a NUL byte would be cut off silently by execve.
  for (const Strings* list : {&config.env, &config.entrypoint, &config.cmd}) {
    for (const std::string& text : *list) {
      if (text.find('\0') != std::string::npos)
        return fail(ErrorCode::kCorrupt, "{}: a NUL byte in Env, Entrypoint or Cmd", what);
    }
  }
  return config;
}

}  // namespace

Result<ConfigDocument> parse_image_config(std::string_view bytes, std::string_view what) {
  if (bytes.size() > kMaxConfigBytes)
    return fail(ErrorCode::kCorrupt, "{}: the configuration is larger than {} bytes", what, kMaxConfigBytes);
  const std::string place = fmt::format("configuration of {}", what);
  TRY_ASSIGN(const Json json, parse_json(bytes, place));
  ConfigDocument document;
  TRY_ASSIGN(document.platform.os, json_get<std::string>(json, "os", place));
  TRY_ASSIGN(document.platform.architecture, json_get<std::string>(json, "architecture", place));
  TRY_ASSIGN(document.platform.variant, json_get_or(json, "variant", place, std::string()));
  TRY_ASSIGN(document.created, json_get_or(json, "created", place, std::string()));
  TRY_ASSIGN(const Json rootfs, json_get<Json>(json, "rootfs", place));
  TRY_ASSIGN(const Strings diff_ids, json_get_or(rootfs, "diff_ids", place, Strings()));
  for (const std::string& text : diff_ids) {
    TRY_ASSIGN(Digest digest, Digest::parse(text, place));
    document.diff_ids.push_back(std::move(digest));
  }
  TRY_ASSIGN(const Json config, json_get_or(json, "config", place, Json::object()));
  TRY_ASSIGN(document.config, run_config(config, place));
  return document;
}

}  // namespace boxlite::image
