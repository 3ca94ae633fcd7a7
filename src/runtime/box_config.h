// What `create` fixed about a box, kept in its row, and the environment, kept in its `secrets` file.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "boxlite/box_options.h"
#include "boxlite/image.h"
#include "runtime/mounts.h"
#include "runtime/published_ports.h"

namespace boxlite {

struct BoxConfig {
  BoxOptions options;             // env always empty here
  std::vector<std::string> args;  // the main command: ENTRYPOINT and CMD joined by docker's rules; never empty
  std::string working_dir;        // the option's, else the image's
  std::string user;
  std::string stop_signal;
  std::map<std::string, std::string> labels;
  std::vector<Mount> mounts = {};             // by target
  std::vector<std::string> directories = {};  // made at a start where they are missing; absolute
  std::vector<PortRequest> ports = {};
};

Json to_json(const BoxConfig& config);
Result<BoxConfig> box_config_from_json(const Json& json);

struct BoxSecrets {
  std::vector<std::string> image_env;
  std::vector<std::string> env;  // the option's
};

std::string encode_secrets(const BoxSecrets& secrets);
Result<BoxSecrets> read_secrets(const std::string& path);

/// The main command by docker's rules: `command` replaces CMD and keeps ENTRYPOINT; `entrypoint` replaces ENTRYPOINT and drops
/// CMD.
Result<std::vector<std::string>> main_command(const BoxOptions& options, const ImageConfig& image);

Result<void> validate_name(std::string_view name);

/// The image's environment with the option's over it; a name occurs once.
std::vector<std::string> merge_env(const std::vector<std::string>& image_env, const std::vector<std::string>& env);

}  // namespace boxlite
