// Theory of operation. A job leaves two kinds of files, and both appear complete by one rename: blobs in the content store and
// the base disk in <home>/bases. Until everything is fetched, verified and built they stay in the job's directory, which goes
// with the job: a job that fails leaves nothing. It may be killed at any point and run again, and any number of jobs may run at
// once. A base that exists is never replaced: overlays depend on its very blocks, so the second of two jobs that built the same
// image drops its own.
#include "image/job.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <variant>
#include <vector>

#include "base/failpoint.h"
#include "base/file.h"
#include "base/sys.h"
#include "image/base_disk.h"
#include "image/blob_store.h"
#include "image/curl_transport.h"
#include "image/ext4_image.h"
#include "image/image_config.h"
#include "image/job_directory.h"
#include "image/oci_layout.h"
#include "image/registry_client.h"

namespace boxlite::image {
namespace {

using Source = std::variant<RegistryClient, OciLayout>;

class Job {
 public:
  Job(const JobRequest& request, Reference reference, Platform platform, BlobStore store, JobDirectory directory,
      JobMonitor& monitor)
      : request_(request),
        reference_(std::move(reference)),
        platform_(std::move(platform)),
        store_(std::move(store)),
        directory_(std::move(directory)),
        monitor_(monitor),
        name_(fmt::format("image {}", to_string(reference_))) {}

  Result<ImageInfo> run();

 private:
  Result<Source> open_source();
  Result<std::pair<Document, Manifest>> resolve(Source& source) const;
  Result<void> fetch(Source& source, const Descriptor& descriptor, const std::string& what);
  Result<void> keep(const Document& document);
  Result<ConfigDocument> fetch_config(Source& source, const Descriptor& descriptor);
  Result<std::string> build_base(const Manifest& manifest, const ConfigDocument& config);
  Result<void> publish_blobs() const;
  Result<void> commit_base(const std::string& built, const std::string& target) const;
  std::string local_path(const Digest& digest) const;

  const JobRequest& request_;
  Reference reference_;
  Platform platform_;
  BlobStore store_;
  JobDirectory directory_;
  JobMonitor& monitor_;
  std::string name_;
  std::unique_ptr<CurlTransport> transport_;
  std::vector<BlobWriter> fetched_;  // verified, not yet in the store
};

std::string layer_name(const Descriptor& layer) { return "layer " + layer.digest.text(); }

Result<Source> Job::open_source() {
  if (const auto* layout = std::get_if<LayoutReference>(&reference_)) {
    TRY_ASSIGN(OciLayout source, OciLayout::open(*layout, platform_));
    return source;
  }
  const auto& reference = std::get<RegistryReference>(reference_);
  std::optional<Credentials> credentials;
  if (request_.username) {
    credentials = Credentials{.username = *request_.username, .password = request_.password.value_or("")};
  } else {
    TRY_ASSIGN(credentials, read_credentials(request_.docker_config, reference.registry));
  }
  TRY_ASSIGN(transport_, CurlTransport::create(monitor_));
  return RegistryClient(*transport_, reference, std::move(credentials));
}

Result<std::pair<Document, Manifest>> Job::resolve(Source& source) const {
  TRY_ASSIGN(Document document, std::visit([](auto& s) { return s.top(); }, source));
  // An index may name an index, once: more would be a game.
  for (int depth = 0; depth < 3; ++depth) {
    TRY_ASSIGN(auto parsed, parse_manifest(document.bytes, document.media_type, name_));
    if (auto* manifest = std::get_if<Manifest>(&parsed)) return std::pair(std::move(document), std::move(*manifest));
    TRY_ASSIGN(const Descriptor descriptor, select_platform(std::get<Index>(parsed), platform_, name_));
    if (descriptor.size > kMaxManifestBytes)
      return fail(ErrorCode::kCorrupt, "{}: the manifest is larger than {} bytes", name_, kMaxManifestBytes);
    TRY_ASSIGN(document, std::visit([&](auto& s) { return s.manifest(descriptor); }, source));
  }
  return fail(ErrorCode::kCorrupt, "{}: indexes are nested too deeply", name_);
}

std::string Job::local_path(const Digest& digest) const {
  const auto it = std::ranges::find(fetched_, digest, &BlobWriter::digest);
  return it == fetched_.end() ? store_.path(digest) : it->path();
}

Result<void> Job::fetch(Source& source, const Descriptor& descriptor, const std::string& what) {
  if (std::ranges::find(fetched_, descriptor.digest, &BlobWriter::digest) != fetched_.end()) return {};
  TRY_ASSIGN(BlobWriter writer, BlobWriter::create(store_, directory_.path(), descriptor.digest, descriptor.size,
                                                   fmt::format("{}: {}", name_, what)));
  const BlobSink sink = [&](std::span<const std::byte> data) -> Result<void> {
    TRY(writer.append(data));
    return monitor_.step(what, writer.size(), descriptor.size);
  };
  TRY(std::visit([&](auto& s) { return s.blob(descriptor, what, sink); }, source));
  TRY(writer.verify());
  fetched_.push_back(std::move(writer));
  return {};
}

Result<void> Job::keep(const Document& document) {
  if (store_.has(document.digest, document.bytes.size())) return {};
  TRY_ASSIGN(BlobWriter writer, BlobWriter::create(store_, directory_.path(), document.digest, document.bytes.size(), name_));
  TRY(writer.append(std::as_bytes(std::span(document.bytes))));
  TRY(writer.verify());
  fetched_.push_back(std::move(writer));
  return {};
}

Result<ConfigDocument> Job::fetch_config(Source& source, const Descriptor& descriptor) {
  if (descriptor.size > kMaxConfigBytes) {
    return fail(ErrorCode::kCorrupt, "{}: the configuration is larger than {} bytes", name_, kMaxConfigBytes);
  }
  // A kept copy that has rotted is fetched again.
  auto bytes = read_verified(store_.path(descriptor.digest), descriptor.digest, kMaxConfigBytes);
  if (!bytes) {
    TRY(fetch(source, descriptor, "configuration " + descriptor.digest.text()));
    bytes = read_verified(local_path(descriptor.digest), descriptor.digest, kMaxConfigBytes);
  }
  if (!bytes) return std::unexpected(bytes.error());
  TRY_ASSIGN(ConfigDocument config, parse_image_config(*bytes, name_));
  if (config.platform.os != platform_.os || config.platform.architecture != platform_.architecture) {
    return fail(ErrorCode::kNotFound, "{} has no variant for {}; it has: {}", name_, to_string(platform_),
                to_string(config.platform));
  }
  return config;
}

Result<std::string> Job::build_base(const Manifest& manifest, const ConfigDocument& config) {
  BaseDiskSpec spec{.image = name_,
                    .image_id = manifest.config.digest,
                    .layers = {},
                    .disk_bytes = request_.disk_bytes,
                    .max_unpacked_bytes = request_.max_unpacked_bytes};
  for (std::size_t i = 0; i < manifest.layers.size(); ++i) {
    const Descriptor& layer = manifest.layers.at(i);
    spec.layers.push_back({.path = local_path(layer.digest),
                           .what = fmt::format("{}: {}", name_, layer_name(layer)),
                           .diff_id = config.diff_ids.at(i)});
  }
  std::string built = directory_.path() + "/base.ext4";
  TRY(build_base_disk(spec, built, monitor_));
  return built;
}

Result<void> Job::publish_blobs() const {
  for (const BlobWriter& blob : fetched_) TRY(blob.publish());
  return fetched_.empty() ? Result<void>() : store_.sync();
}

Result<void> Job::commit_base(const std::string& built, const std::string& target) const {
  // Read-only in its mode, before it has its name: nobody may ever open it for writing.
  if (::chmod(built.c_str(), 0444) < 0) return fail_errno("chmod {}", built);
  FAILPOINT("image.base.commit");
  if (::renameat2(AT_FDCWD, built.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) < 0 && errno != EEXIST) {
    return fail_errno("rename {} to {}", built, target);
  }
  return sync_directory(request_.home + "/bases");
}

Result<ImageInfo> Job::run() {
  TRY_ASSIGN(Source source, open_source());
  TRY_ASSIGN(const auto resolved, resolve(source));
  const auto& [document, manifest] = resolved;
  TRY(keep(document));
  TRY_ASSIGN(ConfigDocument config, fetch_config(source, manifest.config));
  if (config.diff_ids.size() != manifest.layers.size()) {
    return fail(ErrorCode::kCorrupt, "{} has {} layers and {} diff_ids", name_, manifest.layers.size(), config.diff_ids.size());
  }
  ImageInfo image;
  for (const Descriptor& layer : manifest.layers) {
    image.size_bytes += layer.size;
    // Compression does not make a layer larger, so this need not be fetched to be refused.
    if (image.size_bytes > request_.max_unpacked_bytes)
      return fail(ErrorCode::kResourceExhausted, "{}: the image unpacks to more than is allowed", name_);
    image.layers.push_back(layer.digest.text());
  }
  for (const Descriptor& layer : manifest.layers) {
    if (!store_.has(layer.digest, layer.size)) TRY(fetch(source, layer, layer_name(layer)));
  }
  TRY(ensure_directory(request_.home + "/bases", 0700));
  const std::string base = fmt::format("{}/bases/{}", request_.home, base_file_name(manifest.config.digest.text()));
  if (sys::stat(base)) {
    TRY(publish_blobs());
  } else {
    TRY_ASSIGN(const std::string built, build_base(manifest, config));
    TRY(publish_blobs());
    TRY(commit_base(built, base));
  }
  TRY_ASSIGN(image.unpacked_bytes, ext4_content_bytes(base));
  image.reference = to_string(reference_);
  image.id = manifest.config.digest.text();
  image.manifest_digest = document.digest.text();
  image.platform = to_string(config.platform);
  image.created = std::move(config.created);
  image.config = std::move(config.config);
  return image;
}

}  // namespace

Result<ImageInfo> run_job(const JobRequest& request, JobMonitor& monitor) {
  TRY_ASSIGN(Reference reference, parse_reference(request.reference));
  TRY_ASSIGN(Platform platform, parse_platform(request.platform));
  // The sweep of dead jobs comes first: their leftovers may be what fills the disk.
  const auto run = [&]() -> Result<ImageInfo> {
    TRY_ASSIGN(JobDirectory directory, JobDirectory::create(request.home));
    TRY_ASSIGN(BlobStore store, BlobStore::open(request.home));
    return Job(request, std::move(reference), std::move(platform), std::move(store), std::move(directory), monitor).run();
  };
  auto image = run();
  if (!image && (image.error().error_number() == ENOSPC || image.error().error_number() == EDQUOT)) {
    return std::unexpected(image.error().context(fmt::format("the disk that holds {} is full", request.home)));
  }
  return image;
}

}  // namespace boxlite::image
