#include "runtime/box_config.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <concepts>
#include <map>
#include <string_view>

#include "base/file.h"
#include "runtime/byte_text.h"
#include "runtime/option_fields.h"
#include "runtime/option_values.h"

namespace boxlite {
namespace {

constexpr int kConfigVersion = 1;
constexpr std::size_t kMaxBoxName = 63;
constexpr unsigned kMaxCpus = 64;
constexpr std::uint64_t kMaxDiskBytes = 16 * 1024 * kGiB;  // ext4 with 4 KiB blocks
// What the agent can take at all: execve's own limit for one string, and one message of the protocol for all.
constexpr std::size_t kMaxString = 131071;
constexpr std::size_t kMaxArguments = 1024 * 1024;
constexpr std::size_t kMaxSecrets = 16 * 1024 * 1024;

bool is_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

Result<void> validate_strings(const std::vector<std::string>& list, std::string_view what) {
  std::size_t total = 0;
  for (const std::string& text : list) {
    if (text.find('\0') != std::string::npos)
      return fail(ErrorCode::kInvalidArgument, "{}: a NUL byte cannot be passed on", what);
    if (text.size() > kMaxString) {
      return fail(ErrorCode::kInvalidArgument, "{}: one of them has {} bytes, and {} is the most", what, text.size(), kMaxString);
    }
    total += text.size() + 1;
  }
  if (total > kMaxArguments)
    return fail(ErrorCode::kInvalidArgument, "{}: {} bytes, and {} is the most", what, total, kMaxArguments);
  return {};
}

Result<void> validate_env(const std::vector<std::string>& env) {
  TRY(validate_strings(env, "environment"));
  for (const std::string& entry : env) {
    // The value stays out of the message: it may be a secret.
    const std::size_t equals = entry.find('=');
    if (equals == std::string::npos)
      return fail(ErrorCode::kInvalidArgument, "environment: an entry has no \"=\"; write NAME=value");
    if (equals == 0) return fail(ErrorCode::kInvalidArgument, "environment: an entry has no name before \"=\"; write NAME=value");
  }
  return {};
}

constexpr std::string_view kBoxConfiguration = "box configuration";

// What an option came to with the image's say is kept under its own name, and what was asked for beside it.
std::string stored_key(std::string_view option) {
  constexpr std::array<std::string_view, 4> kEffective = {"working_dir", "user", "stop_signal", "labels"};
  const bool has_effective = std::ranges::find(kEffective, option) != kEffective.end();
  return std::string(option) + (has_effective ? "_option" : "");
}

template <typename Number>
  requires std::integral<Number>
Json stored(Number value) {
  return value;
}
Json stored(const std::string& value) { return bytes_to_text(value); }
Json stored(const std::vector<std::string>& value) { return byte_list_to_json(value); }
Json stored(const std::map<std::string, std::string>& value) {
  Json object = Json::object();
  for (const auto& [key, text] : value) object[bytes_to_text(key)] = bytes_to_text(text);
  return object;
}
template <typename T>
Json stored(const std::optional<T>& value) {
  return value ? stored(*value) : Json(nullptr);
}

template <typename Number>
  requires std::integral<Number>
Result<void> restore(const Json& json, std::string_view key, Number& value) {
  TRY_ASSIGN(value, json_get<Number>(json, key, kBoxConfiguration));
  return {};
}
Result<void> restore(const Json& json, std::string_view key, std::string& value) {
  TRY_ASSIGN(const std::string text, json_get<std::string>(json, key, kBoxConfiguration));
  TRY_ASSIGN(value, text_to_bytes(text, kBoxConfiguration));
  return {};
}
Result<void> restore(const Json& json, std::string_view key, std::vector<std::string>& value) {
  TRY_ASSIGN(value, byte_list_from_json(json, key, kBoxConfiguration));
  return {};
}
Result<void> restore(const Json& json, std::string_view key, std::map<std::string, std::string>& value) {
  using Texts = std::map<std::string, std::string>;
  TRY_ASSIGN(const Texts texts, json_get<Texts>(json, key, kBoxConfiguration));
  for (const auto& [name_text, value_text] : texts) {
    TRY_ASSIGN(std::string name, text_to_bytes(name_text, kBoxConfiguration));
    TRY_ASSIGN(value[std::move(name)], text_to_bytes(value_text, kBoxConfiguration));
  }
  return {};
}
template <typename T>
Result<void> restore(const Json& json, std::string_view key, std::optional<T>& value) {
  if (json.at(std::string(key)).is_null()) return {};
  return restore(json, key, value.emplace());
}

unsigned host_cpus() { return static_cast<unsigned>(std::max(::sysconf(_SC_NPROCESSORS_ONLN), 1L)); }

std::uint64_t host_memory_mib() {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page_size = ::sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page_size <= 0) return 0;
  return static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page_size) / kMiB;
}

// As one would write it.
std::string size_text(std::uint64_t mib) {
  return mib % 1024 == 0 && mib != 0 ? fmt::format("{}g", mib / 1024) : fmt::format("{}m", mib);
}

}  // namespace

Result<void> validate_name(std::string_view name) {
  const bool fits = !name.empty() && name.size() <= kMaxBoxName && is_alnum(name.front()) &&
                    std::ranges::all_of(name, [](char c) { return is_alnum(c) || c == '_' || c == '.' || c == '-'; });
  if (fits) return {};
  return fail(ErrorCode::kInvalidArgument,
              "\"{}\" cannot be a box name: letters, digits, \"_\", \".\" and \"-\", the first a letter or digit, at most {}",
              name, kMaxBoxName);
}

Result<void> validate_options(const BoxOptions& options) {
  if (options.image.empty()) return fail(ErrorCode::kInvalidArgument, "no image was given; name one, like alpine");
  if (!options.name.empty()) TRY(validate_name(options.name));
  if (!options.security.empty() && options.security != "strict")
    return fail(ErrorCode::kInvalidArgument, "--security {}: there are strict and default", options.security);
  if (const unsigned most = std::min(kMaxCpus, host_cpus()); options.cpus < 1 || options.cpus > most) {
    return fail(ErrorCode::kInvalidArgument, "--cpus {}: a box has 1 to {} CPUs here, as this host has {}", options.cpus, most,
                host_cpus());
  }
  if (options.memory_mib < kMinMemoryMib) {
    return fail(ErrorCode::kInvalidArgument, "--memory {}: a box needs at least {}m", size_text(options.memory_mib),
                kMinMemoryMib);
  }
  if (const std::uint64_t host = host_memory_mib(); host != 0 && options.memory_mib > host) {
    return fail(ErrorCode::kInvalidArgument, "--memory {}: more than this host has; use at most {}m",
                size_text(options.memory_mib), host);
  }
  if (options.disk_bytes < kDefaultDiskBytes) {
    return fail(ErrorCode::kInvalidArgument,
                "--disk-size {}m: too small; images are made for {}g, of which they take only what is written",
                options.disk_bytes / kMiB, kDefaultDiskBytes / kGiB);
  }
  if (options.disk_bytes > kMaxDiskBytes || options.disk_bytes % kMiB != 0) {
    return fail(ErrorCode::kInvalidArgument, "--disk-size {}: a disk has whole MiB, at most {}g", options.disk_bytes,
                kMaxDiskBytes / kGiB);
  }
  TRY(validate_strings(options.command, "command"));
  if (options.entrypoint) TRY(validate_strings(*options.entrypoint, "entrypoint"));
  TRY(validate_strings({options.working_dir, options.user, options.image}, "options"));
  if (!options.working_dir.empty() && options.working_dir.front() != '/') {
    return fail(ErrorCode::kInvalidArgument, "--workdir {}: not an absolute path; begin it with /", options.working_dir);
  }
  TRY(validate_env(options.env));
  return validate_container_options(options);
}

Result<std::vector<std::string>> main_command(const BoxOptions& options, const ImageConfig& image) {
  std::vector<std::string> args = options.entrypoint.value_or(image.entrypoint);
  if (options.entrypoint && options.entrypoint->size() == 1 && options.entrypoint->front().empty())
    args.clear();  // --entrypoint ""
  const bool keeps_cmd = options.command.empty() && !options.entrypoint;
  const std::vector<std::string>& rest = keeps_cmd ? image.cmd : options.command;
  args.insert(args.end(), rest.begin(), rest.end());
  if (args.empty() && options.entrypoint && !(image.entrypoint.empty() && image.cmd.empty())) {
    return fail(ErrorCode::kInvalidArgument,
                "no command is left: an empty --entrypoint drops the image's, so give one after it, as in: boxlite run "
                "--entrypoint= {} /bin/sh",
                options.image);
  }
  if (args.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "no command specified: image {} names none, so give one after it, as in: boxlite run {} /bin/sh", options.image,
                options.image);
  }
  return args;
}

std::vector<std::string> merge_env(const std::vector<std::string>& image_env, const std::vector<std::string>& env) {
  std::vector<std::string> merged;
  std::map<std::string, std::size_t, std::less<>> position;
  for (const auto* list : {&image_env, &env}) {
    for (const std::string& entry : *list) {
      const auto [it, is_new] = position.try_emplace(entry.substr(0, entry.find('=')), merged.size());
      if (is_new) {
        merged.push_back(entry);
      } else {
        merged[it->second] = entry;
      }
    }
  }
  return merged;
}

namespace {

// What most boxes have nothing of is not written: a long list of boxes is mostly the reading of these rows.
bool says_nothing(const Json& value) {
  return value.is_null() || value == false || value == "" || ((value.is_array() || value.is_object()) && value.empty());
}

template <typename T>
Result<void> restore_if_there(const Json& json, const std::string& key, T& value) {
  if (!json.is_object() || !json.contains(key)) return {};
  return restore(json, key, value);
}

}  // namespace

Json to_json(const BoxConfig& config) {
  Json json = {{"version", kConfigVersion},
               {"args", byte_list_to_json(config.args)},
               {"working_dir", bytes_to_text(config.working_dir)},
               {"user", bytes_to_text(config.user)},
               {"stop_signal", bytes_to_text(config.stop_signal)},
               {"labels", stored(config.labels)},
               {"directories", stored(config.directories)}};
  Json& mounts = json["resolved_mounts"] = Json::array();
  for (const Mount& mount : config.mounts) mounts.push_back(to_json(mount));
  Json& ports = json["resolved_ports"] = Json::array();
  for (const PortRequest& port : config.ports) ports.push_back(to_json(port));
  visit_options(config.options, [&json](std::string_view key, const auto& value) { json[stored_key(key)] = stored(value); });
  for (auto it = json.begin(); it != json.end();) it = says_nothing(*it) ? json.erase(it) : std::next(it);
  json["image"] = bytes_to_text(config.options.image);  // what every row has: one without it is damaged
  return json;
}

Result<BoxConfig> box_config_from_json(const Json& json) {
  BoxConfig config;
  TRY(restore(json, "image", config.options.image));
  TRY(restore_if_there(json, "args", config.args));
  TRY(restore_if_there(json, "working_dir", config.working_dir));
  TRY(restore_if_there(json, "user", config.user));
  TRY(restore_if_there(json, "stop_signal", config.stop_signal));
  TRY(restore_if_there(json, "labels", config.labels));
  TRY(restore_if_there(json, "directories", config.directories));
  if (json.contains("resolved_mounts")) {
    for (const Json& entry : json.at("resolved_mounts")) {
      TRY_ASSIGN(Mount mount, mount_from_json(entry));
      config.mounts.push_back(std::move(mount));
    }
  }
  if (json.contains("resolved_ports")) {
    for (const Json& entry : json.at("resolved_ports")) {
      TRY_ASSIGN(PortRequest port, port_request_from_json(entry));
      config.ports.push_back(std::move(port));
    }
  }
  Result<void> restored;
  visit_options(config.options, [&](std::string_view name, auto& value) {
    // Nor has a row of an older boxlite a word of a younger option: it has its default.
    if (restored) restored = restore_if_there(json, stored_key(name), value);
  });
  if (!restored) return std::unexpected(std::move(restored).error());
  return config;
}

std::string encode_secrets(const BoxSecrets& secrets) {
  return dump_json(Json{{"version", kConfigVersion},
                        {"image_env", byte_list_to_json(secrets.image_env)},
                        {"env", byte_list_to_json(secrets.env)}}) +
         "\n";
}

Result<BoxSecrets> read_secrets(const std::string& path) {
  TRY_ASSIGN(const std::string text, read_file(path, kMaxSecrets));
  TRY_ASSIGN(const Json json, parse_json(text, path));
  BoxSecrets secrets;
  TRY_ASSIGN(secrets.image_env, byte_list_from_json(json, "image_env", path));
  TRY_ASSIGN(secrets.env, byte_list_from_json(json, "env", path));
  return secrets;
}

}  // namespace boxlite
