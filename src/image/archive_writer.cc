#include "image/archive_writer.h"

#include <map>
#include <set>
#include <variant>

#include "base/json.h"
#include "base/ofd_lock.h"
#include "base/sys.h"
#include "image/manifest.h"
#include "image/reference.h"
#include "image/staging.h"
#include "image/tar_writer.h"

namespace boxlite::image {
namespace {

std::string blob_path(const std::string& digest) { return "blobs/sha256/" + digest.substr(digest.find(':') + 1); }

// As docker writes it: "alpine:3.20" for "docker.io/library/alpine:3.20".
std::string familiar(std::string name) {
  for (const std::string_view prefix : {"docker.io/library/", "docker.io/"}) {
    if (name.starts_with(prefix)) return name.substr(prefix.size());
  }
  return name;
}

// The tag of a name that can be in an archive; nullopt for ids, digests and layout directories.
std::optional<std::string> tag_of(const ImageInfo& image) {
  if (image.reference == image.id) return std::nullopt;
  const auto parsed = parse_reference(image.reference);
  const auto* name = parsed ? std::get_if<RegistryReference>(&*parsed) : nullptr;
  if (name == nullptr || name->digest) return std::nullopt;
  return name->tag;
}

struct Saved {
  Json index_entry;  // without a name
  Json docker_item;
};

Result<Saved> take(Staging& staging, const ImageInfo& image) {
  const std::string& name = image.reference;
  TRY_ASSIGN(const Digest digest, Digest::parse(image.manifest_digest, name));
  const auto gone = [&](const Digest& blob) {
    return fail(ErrorCode::kNotFound, "image {}: its blob {} is not here any more; pull it again", name, blob.text());
  };
  TRY_ASSIGN(const bool have_manifest, staging.borrow(digest));
  if (!have_manifest) return gone(digest);
  TRY_ASSIGN(const std::string bytes, read_verified(staging.path(digest), digest, kMaxManifestBytes));
  TRY_ASSIGN(const Json json, parse_json(bytes, name));
  TRY_ASSIGN(const std::string type,
             json_get_or(json, "mediaType", name, std::string("application/vnd.oci.image.manifest.v1+json")));
  TRY_ASSIGN(const auto parsed, parse_manifest(bytes, type, name));
  const auto* manifest = std::get_if<Manifest>(&parsed);
  if (manifest == nullptr) return fail(ErrorCode::kCorrupt, "image {}: {} is no manifest", name, digest.text());
  Json layers = Json::array();
  for (const Descriptor& layer : manifest->layers) {
    TRY_ASSIGN(const bool have, staging.borrow(layer));
    if (!have) return gone(layer.digest);
    layers.push_back(blob_path(layer.digest.text()));
  }
  TRY_ASSIGN(const bool have_config, staging.borrow(manifest->config));
  if (!have_config) return gone(manifest->config.digest);
  TRY_ASSIGN(const Platform platform, parse_platform(image.platform));
  return Saved{
      .index_entry = {{"mediaType", type},
                      {"digest", digest.text()},
                      {"size", bytes.size()},
                      {"platform", {{"os", platform.os}, {"architecture", platform.architecture}}}},
      .docker_item = {
          {"Config", blob_path(manifest->config.digest.text())}, {"RepoTags", Json::array()}, {"Layers", std::move(layers)}}};
}

}  // namespace

Result<void> save_archive(const JobRequest& request, JobMonitor& monitor) {
  TRY_ASSIGN(Staging staging, Staging::create(request, monitor));
  std::map<std::string, Saved> saved;  // by id
  Json index = Json::array();
  for (const ImageInfo& image : request.images) {
    auto at = saved.find(image.id);
    if (at == saved.end()) {
      TRY_ASSIGN(Saved fresh, take(staging, image));
      at = saved.emplace(image.id, std::move(fresh)).first;
    }
    Json entry = at->second.index_entry;
    if (const auto tag = tag_of(image)) {
      entry["annotations"] = {{"io.containerd.image.name", image.reference}, {"org.opencontainers.image.ref.name", *tag}};
      Json& tags = at->second.docker_item["RepoTags"];
      if (Json name = familiar(image.reference); std::ranges::find(tags, name) == tags.end()) tags.push_back(std::move(name));
    }
    if (std::ranges::find(index, entry) == index.end()) index.push_back(std::move(entry));
  }
  Json docker = Json::array();
  for (const auto& [id, image] : saved) docker.push_back(image.docker_item);

  TarWriter tar(request.archive_name, monitor);
  TRY(tar.open(request.archive_fd, TarWriter::Compression::kNone));
  TRY(tar.text("oci-layout", R"({"imageLayoutVersion":"1.0.0"})"));
  TRY(tar.text("index.json", dump_json({{"schemaVersion", 2},
                                        {"mediaType", "application/vnd.oci.image.index.v1+json"},
                                        {"manifests", std::move(index)}})));
  TRY(tar.text("manifest.json", dump_json(docker)));
  TRY(tar.directory("blobs"));
  TRY(tar.directory("blobs/sha256"));
  for (const Digest& digest : staging.blobs()) TRY(tar.file(blob_path(digest.text()), staging.path(digest)));
  return tar.close();
}

}  // namespace boxlite::image
