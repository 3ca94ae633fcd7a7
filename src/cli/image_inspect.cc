// boxlite image inspect: an image as docker describes it.
#include <algorithm>

#include "cli/flag_set.h"
#include "cli/format.h"
#include "cli/image_name.h"
#include "cli/output.h"

namespace boxlite::cli {
namespace {

Json set_of(const std::vector<std::string>& names) {
  Json object = Json::object();
  for (const std::string& name : names) object[name] = Json::object();
  return names.empty() ? Json() : object;
}

Json list_of(const std::vector<std::string>& words) { return words.empty() ? Json() : Json(words); }

Json docker_json(const ImageInfo& image, const std::vector<ImageInfo>& all) {
  Json tags = Json::array();
  Json digests = Json::array();
  for (const ImageInfo& other : all) {
    const auto [repository, tag] = split_reference(other);
    if (other.id != image.id || !has_name(other) || repository.starts_with("oci:")) continue;
    if (tag != kNoName) tags.push_back(repository + ":" + tag);
    if (Json digest = repository + "@" + other.manifest_digest; std::ranges::find(digests, digest) == digests.end()) {
      digests.push_back(std::move(digest));
    }
  }
  const std::size_t slash = image.platform.find('/');
  const std::size_t second = image.platform.find('/', slash + 1);
  const ImageConfig& config = image.config;
  Json result = {{"Id", image.id},
                 {"RepoTags", tags},
                 {"RepoDigests", digests},
                 {"Created", image.created},
                 {"Architecture", image.platform.substr(slash + 1, second == std::string::npos ? second : second - slash - 1)},
                 {"Os", image.platform.substr(0, slash)},
                 {"Size", image.unpacked_bytes},
                 {"Config", Json{{"User", config.user},
                                 {"ExposedPorts", set_of(config.exposed_ports)},
                                 {"Env", list_of(config.env)},
                                 {"Cmd", list_of(config.cmd)},
                                 {"Volumes", set_of(config.volumes)},
                                 {"WorkingDir", config.working_dir},
                                 {"Entrypoint", list_of(config.entrypoint)},
                                 {"Labels", config.labels.empty() ? Json() : Json(config.labels)}}},
                 {"RootFS", Json{{"Type", "layers"}, {"Layers", image.diff_ids}}}};
  if (second != std::string::npos) result["Variant"] = image.platform.substr(second + 1);
  if (!config.stop_signal.empty()) result["Config"]["StopSignal"] = config.stop_signal;
  return result;
}

}  // namespace

Result<int> verb_image_inspect(Invocation& invocation) {
  FlagSet flags(invocation, "image inspect", "IMAGE [IMAGE...]", "Print all about images as a JSON array");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->empty()) return flags.usage_error("no IMAGE was given");
  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(const std::vector<ImageInfo> all, runtime.images());
  Json list = Json::array();
  int status = 0;
  for (const std::string& reference : *operands) {
    const auto image = runtime.image(reference);
    if (image) {
      list.push_back(docker_json(*image, all));
      continue;
    }
    print_error(image.error().message());
    status = exit_status(image.error().code());
  }
  TRY(print_json(list));
  return status;
}

}  // namespace boxlite::cli
