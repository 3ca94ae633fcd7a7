#include "image/image_job.h"

#include <algorithm>
#include <array>

#include "image/digest.h"

namespace boxlite::image {
namespace {

constexpr std::string_view kRequest = "image job request";
constexpr std::string_view kImage = "image record";
constexpr std::array<std::string_view, 9> kKinds = {"pull",     "load",       "save",  "import", "directory",
                                                    "pack_box", "unpack_box", "login", "logout"};

Result<JobKind> kind_from_json(const Json& json) {
  TRY_ASSIGN(const auto text, json_get_or(json, "action", kRequest, std::string(kKinds.front())));
  const auto* const it = std::ranges::find(kKinds, text);
  if (it == kKinds.end()) return fail(ErrorCode::kInvalidArgument, "{}: \"{}\" is no action", kRequest, text);
  return static_cast<JobKind>(it - kKinds.begin());
}

Result<std::optional<std::string>> optional_string(const Json& json, std::string_view key, std::string_view what) {
  if (!json.is_object() || !json.contains(key) || json.at(std::string(key)).is_null()) return std::nullopt;
  return json_get<std::string>(json, key, what);
}

}  // namespace

std::string store_lock_path(const std::string& home) { return home + "/images/lock"; }

Json to_json(const JobRequest& request) {
  Json images = Json::array();
  for (const ImageInfo& image : request.images) images.push_back(to_json(image));
  Json members = Json::array();
  for (const JobMember& member : request.members) members.push_back({{"name", member.name}, {"fd", member.fd}});
  Json json = {{"action", kKinds.at(static_cast<std::size_t>(request.kind))},
               {"home", request.home},
               {"reference", request.reference},
               {"platform", request.platform},
               {"disk_bytes", request.disk_bytes},
               {"max_unpacked_bytes", request.max_unpacked_bytes},
               {"auth_files", request.auth_files},
               {"helper_environment", request.helper_environment},
               {"store_lock_fd", request.store_lock_fd},
               {"archive_fd", request.archive_fd},
               {"archive_name", request.archive_name},
               {"images", std::move(images)},
               {"changes", request.changes},
               {"directory", request.directory},
               {"members", std::move(members)},
               {"keep_blobs", request.keep_blobs}};
  if (request.username) json["username"] = *request.username;
  if (request.password) json["password"] = *request.password;
  return json;
}

Result<JobRequest> job_request_from_json(const Json& json) {
  JobRequest request;
  TRY_ASSIGN(request.kind, kind_from_json(json));
  TRY_ASSIGN(request.home, json_get<std::string>(json, "home", kRequest));
  TRY_ASSIGN(request.reference, json_get<std::string>(json, "reference", kRequest));
  TRY_ASSIGN(request.platform, json_get_or(json, "platform", kRequest, request.platform));
  TRY_ASSIGN(request.disk_bytes, json_get<std::uint64_t>(json, "disk_bytes", kRequest));
  TRY_ASSIGN(request.max_unpacked_bytes, json_get<std::uint64_t>(json, "max_unpacked_bytes", kRequest));
  TRY_ASSIGN(request.auth_files, json_get_or(json, "auth_files", kRequest, request.auth_files));
  TRY_ASSIGN(request.helper_environment, json_get_or(json, "helper_environment", kRequest, request.helper_environment));
  TRY_ASSIGN(request.username, optional_string(json, "username", kRequest));
  TRY_ASSIGN(request.password, optional_string(json, "password", kRequest));
  TRY_ASSIGN(request.store_lock_fd, json_get_or(json, "store_lock_fd", kRequest, -1));
  TRY_ASSIGN(request.archive_fd, json_get_or(json, "archive_fd", kRequest, -1));
  TRY_ASSIGN(request.archive_name, json_get_or(json, "archive_name", kRequest, std::string()));
  TRY_ASSIGN(const Json images, json_get_or(json, "images", kRequest, Json::array()));
  for (const Json& item : images) {
    TRY_ASSIGN(ImageInfo image, image_info_from_json(item));
    request.images.push_back(std::move(image));
  }
  TRY_ASSIGN(request.changes, json_get_or(json, "changes", kRequest, std::vector<std::string>()));
  TRY_ASSIGN(request.directory, json_get_or(json, "directory", kRequest, std::string()));
  TRY_ASSIGN(const Json members, json_get_or(json, "members", kRequest, Json::array()));
  for (const Json& item : members) {
    JobMember member;
    TRY_ASSIGN(member.name, json_get<std::string>(item, "name", kRequest));
    TRY_ASSIGN(member.fd, json_get<int>(item, "fd", kRequest));
    request.members.push_back(std::move(member));
  }
  TRY_ASSIGN(request.keep_blobs, json_get_or(json, "keep_blobs", kRequest, true));
  return request;
}

Json to_json(const JobProgress& progress) {
  return {{"event", "progress"}, {"what", progress.what}, {"done", progress.done}, {"total", progress.total}};
}

Json result_event(const std::vector<ImageInfo>& images) {
  Json list = Json::array();
  for (const ImageInfo& image : images) list.push_back(to_json(image));
  Json event = {{"event", "result"}};
  if (!list.empty()) event["image"] = list.front();
  if (!list.empty()) event["images"] = std::move(list);
  return event;
}

Json to_json(const ImageInfo& image) {
  return {{"reference", image.reference},
          {"id", image.id},
          {"manifest_digest", image.manifest_digest},
          {"platform", image.platform},
          {"created", image.created},
          {"size_bytes", image.size_bytes},
          {"unpacked_bytes", image.unpacked_bytes},
          {"layers", image.layers},
          {"diff_ids", image.diff_ids},
          {"config",
           {{"env", image.config.env},
            {"entrypoint", image.config.entrypoint},
            {"cmd", image.config.cmd},
            {"user", image.config.user},
            {"working_dir", image.config.working_dir},
            {"stop_signal", image.config.stop_signal},
            {"exposed_ports", image.config.exposed_ports},
            {"volumes", image.config.volumes},
            {"labels", image.config.labels}}}};
}

Result<ImageInfo> image_info_from_json(const Json& json) {
  using Strings = std::vector<std::string>;
  ImageInfo image;
  TRY_ASSIGN(image.reference, json_get<std::string>(json, "reference", kImage));
  TRY_ASSIGN(image.id, json_get<std::string>(json, "id", kImage));
  TRY(Digest::parse(image.id, kImage));  // it becomes a file name
  TRY_ASSIGN(image.manifest_digest, json_get<std::string>(json, "manifest_digest", kImage));
  TRY_ASSIGN(image.platform, json_get<std::string>(json, "platform", kImage));
  TRY_ASSIGN(image.created, json_get_or(json, "created", kImage, std::string()));
  TRY_ASSIGN(image.size_bytes, json_get<std::uint64_t>(json, "size_bytes", kImage));
  TRY_ASSIGN(image.unpacked_bytes, json_get<std::uint64_t>(json, "unpacked_bytes", kImage));
  TRY_ASSIGN(image.layers, json_get<Strings>(json, "layers", kImage));
  TRY_ASSIGN(image.diff_ids, json_get_or(json, "diff_ids", kImage, Strings()));
  TRY_ASSIGN(const Json config, json_get<Json>(json, "config", kImage));
  TRY_ASSIGN(image.config.env, json_get_or(config, "env", kImage, Strings()));
  TRY_ASSIGN(image.config.entrypoint, json_get_or(config, "entrypoint", kImage, Strings()));
  TRY_ASSIGN(image.config.cmd, json_get_or(config, "cmd", kImage, Strings()));
  TRY_ASSIGN(image.config.user, json_get_or(config, "user", kImage, std::string()));
  TRY_ASSIGN(image.config.working_dir, json_get_or(config, "working_dir", kImage, std::string()));
  TRY_ASSIGN(image.config.stop_signal, json_get_or(config, "stop_signal", kImage, std::string()));
  TRY_ASSIGN(image.config.exposed_ports, json_get_or(config, "exposed_ports", kImage, Strings()));
  TRY_ASSIGN(image.config.volumes, json_get_or(config, "volumes", kImage, Strings()));
  TRY_ASSIGN(image.config.labels, json_get_or(config, "labels", kImage, std::map<std::string, std::string>()));
  return image;
}

std::string base_file_name(const std::string& image_id) {
  constexpr std::string_view kPrefix = "sha256:";
  return (image_id.starts_with(kPrefix) ? image_id.substr(kPrefix.size()) : image_id) + ".ext4";
}

}  // namespace boxlite::image
