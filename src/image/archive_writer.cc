#include "image/archive_writer.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>

#include <map>
#include <memory>
#include <set>
#include <variant>

#include "base/json.h"
#include "base/ofd_lock.h"
#include "base/sys.h"
#include "image/manifest.h"
#include "image/reference.h"
#include "image/staging.h"

namespace boxlite::image {
namespace {

struct FreeWriter {
  void operator()(archive* a) const { archive_write_free(a); }
};

std::string blob_path(const std::string& digest) { return "blobs/sha256/" + digest.substr(digest.find(':') + 1); }

class TarWriter {
 public:
  TarWriter(std::string name, JobMonitor& monitor) : name_(std::move(name)), monitor_(monitor), writer_(archive_write_new()) {}

  Result<void> open(int fd) {
    fd_ = fd;
    if (archive_write_set_format_pax_restricted(writer_.get()) != ARCHIVE_OK ||
        archive_write_open(writer_.get(), this, nullptr, write_callback, nullptr) != ARCHIVE_OK) {
      return broken();
    }
    return {};
  }

  Result<void> directory(const std::string& path) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_filetype(entry, AE_IFDIR);
    archive_entry_set_perm(entry, 0755);
    return header(entry, path);
  }

  Result<void> text(const std::string& path, const std::string& bytes) {
    TRY(file_header(path, bytes.size()));
    return data(std::as_bytes(std::span(bytes)));
  }

  Result<void> file(const std::string& path, const std::string& source) {
    TRY_ASSIGN(const UniqueFd fd, sys::open(source, O_RDONLY | O_NOFOLLOW));
    TRY_ASSIGN(const struct stat st, sys::fstat(fd.get()));
    TRY(file_header(path, static_cast<std::uint64_t>(st.st_size)));
    std::vector<std::byte> buffer(256 * 1024);
    for (;;) {
      TRY(monitor_.check());
      TRY_ASSIGN(const std::size_t count, sys::read(fd.get(), buffer));
      if (count == 0) return {};
      TRY(data(std::span(buffer).first(count)));
    }
  }

  Result<void> close() {
    if (archive_write_close(writer_.get()) != ARCHIVE_OK) return broken();
    return {};
  }

 private:
  static la_ssize_t write_callback(archive* a, void* user, const void* data, std::size_t size) {
    auto& self = *static_cast<TarWriter*>(user);
    if (auto written = sys::write_all(self.fd_, {static_cast<const std::byte*>(data), size}); !written) {
      self.error_ = std::move(written).error().context(self.name_);
      archive_set_error(a, EIO, "stopped");
      return -1;
    }
    return static_cast<la_ssize_t>(size);
  }

  std::unexpected<Error> broken() {
    if (error_) return std::unexpected(*error_);
    const char* text = archive_error_string(writer_.get());
    return fail(ErrorCode::kIo, "{}: {}", name_, text == nullptr ? "cannot be written" : text);
  }

  Result<void> file_header(const std::string& path, std::uint64_t size) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, static_cast<la_int64_t>(size));
    return header(entry, path);
  }

  Result<void> header(archive_entry* entry, const std::string& path) {
    archive_entry_copy_pathname(entry, path.c_str());
    archive_entry_set_mtime(entry, 0, 0);
    const int status = archive_write_header(writer_.get(), entry);
    archive_entry_free(entry);
    return status == ARCHIVE_OK ? Result<void>() : broken();
  }

  Result<void> data(std::span<const std::byte> bytes) {
    if (archive_write_data(writer_.get(), bytes.data(), bytes.size()) < 0) return broken();
    return {};
  }

  std::string name_;
  JobMonitor& monitor_;
  int fd_ = -1;
  std::optional<Error> error_;
  std::unique_ptr<archive, FreeWriter> writer_;
};

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
  TRY(tar.open(request.archive_fd));
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
