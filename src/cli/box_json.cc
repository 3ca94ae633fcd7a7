#include "cli/box_json.h"

#include <string>

#include "runtime/isolation.h"
#include "runtime/network_usage.h"
#include "runtime/option_fields.h"
#include "runtime/published_ports.h"

namespace boxlite::cli {
namespace {

template <typename T>
Json or_null(const T& value) {
  return value;
}

/// A value that may be missing; null then, so that the key is always there.
template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

}  // namespace

Json summary_json(const BoxInfo& box) {
  Json ports = Json::array();
  for (const PublishedPort& port : box.ports) ports.push_back(to_json(port));
  return Json{{"id", box.id},
              {"name", box.name},
              {"image", box.image},
              {"image_id", box.image_id},
              {"command", box.options.command},
              {"status", name(box.status)},
              {"reason", box.reason},
              {"exit_code", or_null(box.exit_code)},
              {"oom_killed", box.oom_killed},
              {"generation", box.generation},
              {"shim_pid", or_null(box.shim_pid)},
              {"labels", box.labels},
              {"created_at", box.created_at},
              {"started_at", box.started_at},
              {"finished_at", box.finished_at},
              {"accelerator", box.accelerator},
              {"ports", std::move(ports)}};
}

Json detail_json(const BoxInfo& box) {
  const BoxOptions& options = box.options;
  Json result = summary_json(box);
  Json& shown = result["options"] = Json{{"env", options.env}};
  visit_options(options, [&shown](const char* key, const auto& value) { shown[key] = or_null(value); });
  Json& mounts = result["mounts"] = Json::array();
  for (const MountInfo& mount : box.mounts) {
    mounts.push_back({{"type", mount.type},
                      {"name", mount.name},
                      {"source", mount.source},
                      {"destination", mount.destination},
                      {"rw", !mount.read_only}});
  }
  result["isolation"] = to_json(box.isolation);
  result["network_usage"] = box.network_usage ? to_json(*box.network_usage) : Json(nullptr);
  return result;
}

Json volume_json(const VolumeInfo& volume) {
  return Json{{"name", volume.name},     {"path", volume.path},           {"created_at", volume.created_at},
              {"labels", volume.labels}, {"anonymous", volume.anonymous}, {"boxes", volume.boxes}};
}

Json image_json(const ImageInfo& image) {
  const ImageConfig& config = image.config;
  return Json{{"reference", image.reference},
              {"id", image.id},
              {"manifest_digest", image.manifest_digest},
              {"platform", image.platform},
              {"created", image.created},
              {"size_bytes", image.size_bytes},
              {"unpacked_bytes", image.unpacked_bytes},
              {"layers", image.layers},
              {"diff_ids", image.diff_ids},
              {"config", Json{{"env", config.env},
                              {"entrypoint", config.entrypoint},
                              {"cmd", config.cmd},
                              {"user", config.user},
                              {"working_dir", config.working_dir},
                              {"stop_signal", config.stop_signal},
                              {"exposed_ports", config.exposed_ports},
                              {"volumes", config.volumes},
                              {"labels", config.labels}}}};
}

Json host_json(const HostInfo& host) {
  return Json{{"version", host.version},
              {"home", host.home},
              {"accelerator", host.accelerator},
              {"accelerator_reason", host.accelerator_reason},
              {"isolation", host.isolation},
              {"isolation_layers", to_json(host.isolation_layers)},
              {"qemu_version", host.qemu_version},
              {"templates", host.templates},
              {"template_bytes", host.template_bytes},
              {"template_failures", host.template_failures},
              {"starts_restored", host.starts_restored},
              {"starts_booted", host.starts_booted},
              {"boxes_total", host.boxes_total},
              {"boxes_running", host.boxes_running},
              {"images", host.images}};
}

}  // namespace boxlite::cli
