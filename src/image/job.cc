// Theory of operation. A job leaves two kinds of files, and both appear complete by one rename: blobs in the content store and
// the base disk in <home>/bases. Until everything is fetched, verified and built they stay in the job's directory, which goes
// with the job: a job that fails leaves nothing. It may be killed at any point and run again, and any number of jobs may run at
// once. A base that exists is never replaced: overlays depend on its very blocks, so the second of two jobs that built the same
// image drops its own. Jobs that want the same blobs wait for each other (blob_locks.h), so each is fetched once.
//
// The layers of a registry are fetched by a few threads, each with a connection of its own: hashing is the larger part of the
// work with a near registry, and uses the cores that way.
#include "image/job.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <variant>
#include <vector>

#include "base/failpoint.h"
#include "base/file.h"
#include "base/sys.h"
#include "image/base_disk.h"
#include "image/blob_locks.h"
#include "image/blob_store.h"
#include "image/curl_transport.h"
#include "image/ext4_image.h"
#include "image/image_config.h"
#include "image/job_directory.h"
#include "image/login_job.h"
#include "image/oci_layout.h"
#include "image/registry_client.h"

namespace boxlite::image {
namespace {

using Source = std::variant<RegistryClient, OciLayout>;

constexpr std::size_t kParallelLayers = 4;

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
  Result<std::pair<Source, Document>> open_source();
  Result<std::pair<Source, Document>> open_registry(const RegistryReference& reference);
  Result<std::pair<Document, Manifest>> resolve(Source& source, Document document) const;
  bool is_fetched(const Digest& digest) const;
  Result<BlobWriter> fetch(Source& source, const Descriptor& descriptor, const std::string& what);
  Result<BlobLocks> lock_blobs(const Manifest& manifest) const;
  Result<void> fetch_layers(Source& source, const Manifest& manifest);
  Result<void> fetch_in_parallel(const RegistryClient& registry, const std::vector<Descriptor>& layers);
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
  RegistryConfig config_;
  std::unique_ptr<CurlTransport> transport_;
  std::vector<BlobWriter> fetched_;  // verified, not yet in the store
};

std::string layer_name(const Descriptor& layer) { return "layer " + layer.digest.text(); }

Result<std::pair<Source, Document>> Job::open_source() {
  if (const auto* layout = std::get_if<LayoutReference>(&reference_)) {
    TRY_ASSIGN(OciLayout source, OciLayout::open(*layout, platform_));
    TRY_ASSIGN(Document document, source.top());
    return std::pair<Source, Document>(std::move(source), std::move(document));
  }
  return open_registry(std::get<RegistryReference>(reference_));
}

// The first endpoint that has the image is where all of it comes from.
Result<std::pair<Source, Document>> Job::open_registry(const RegistryReference& reference) {
  TRY_ASSIGN(config_, read_registry_config(request_.home));
  TRY_ASSIGN(transport_, CurlTransport::create(monitor_, config_));
  std::vector<std::string> auth_files = {auth_file(request_.home)};
  auth_files.insert(auth_files.end(), request_.auth_files.begin(), request_.auth_files.end());
  std::vector<Endpoint> endpoints = endpoints_of(reference.registry, config_);
  std::string failures;
  for (std::size_t i = 0;; ++i) {
    Endpoint& endpoint = endpoints.at(i);
    const bool origin = i + 1 == endpoints.size();
    if (request_.username) {
      if (origin) endpoint.credentials = Credentials{.username = *request_.username, .password = request_.password.value_or("")};
    } else {
      const std::string prefix = endpoint.prefix + (endpoint.prefix.empty() ? "" : "/");
      TRY_ASSIGN(endpoint.credentials, read_credentials(auth_files, {.registry = origin ? reference.registry : endpoint.host,
                                                                     .repository = prefix + reference.repository,
                                                                     .environment = request_.helper_environment}));
    }
    RegistryClient client(*transport_, reference, endpoint);
    Result<Document> document = client.top();
    if (document) return std::pair<Source, Document>(std::move(client), std::move(*document));
    TRY(monitor_.check());
    if (!origin) {
      failures += fmt::format("; mirror {}: {}", endpoint.name, document.error().message());
      continue;
    }
    if (failures.empty()) return std::unexpected(std::move(document).error());
    return fail(document.error().code(), "{}{}", document.error().message(), failures);
  }
}

Result<std::pair<Document, Manifest>> Job::resolve(Source& source, Document document) const {
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

bool Job::is_fetched(const Digest& digest) const {
  return std::ranges::find(fetched_, digest, &BlobWriter::digest) != fetched_.end();
}

// May be called by several threads at once, of different descriptors.
Result<BlobWriter> Job::fetch(Source& source, const Descriptor& descriptor, const std::string& what) {
  TRY_ASSIGN(BlobWriter writer, BlobWriter::create(store_, directory_.path(), descriptor.digest, descriptor.size,
                                                   fmt::format("{}: {}", name_, what)));
  const bool quiet = what.starts_with("configuration");  // too small to be worth a line
  const BlobSink sink = [&](std::span<const std::byte> data) -> Result<void> {
    TRY(writer.append(data));
    if (quiet || writer.size() == descriptor.size) return monitor_.check();
    return monitor_.step(what, writer.size(), descriptor.size);
  };
  TRY(std::visit([&](auto& s) { return s.blob(descriptor, what, sink); }, source));
  TRY(writer.verify());
  if (!quiet) TRY(monitor_.step(what, descriptor.size, descriptor.size));  // done only now
  return writer;
}

Result<BlobLocks> Job::lock_blobs(const Manifest& manifest) const {
  std::set<Digest> digests = {manifest.config.digest};
  for (const Descriptor& layer : manifest.layers) {
    if (!store_.has(layer.digest, layer.size)) digests.insert(layer.digest);
  }
  return BlobLocks::acquire(request_.home, digests, monitor_);
}

Result<void> Job::fetch_layers(Source& source, const Manifest& manifest) {
  std::vector<Descriptor> missing;
  for (const Descriptor& layer : manifest.layers) {
    const bool twice = std::ranges::find(missing, layer.digest, &Descriptor::digest) != missing.end();
    if (!twice && !is_fetched(layer.digest) && !store_.has(layer.digest, layer.size)) missing.push_back(layer);
  }
  if (const auto* registry = std::get_if<RegistryClient>(&source)) return fetch_in_parallel(*registry, missing);
  for (const Descriptor& layer : missing) {
    TRY_ASSIGN(BlobWriter writer, fetch(source, layer, layer_name(layer)));
    fetched_.push_back(std::move(writer));
  }
  return {};
}

Result<void> Job::fetch_in_parallel(const RegistryClient& registry, const std::vector<Descriptor>& layers) {
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;  // guards what follows
  std::optional<Error> error;
  std::vector<BlobWriter> done;
  const auto work = [&]() -> Result<void> {
    TRY_ASSIGN(const auto transport, CurlTransport::create(monitor_, config_));
    Source source = RegistryClient(registry, *transport);
    for (std::size_t i = next++; i < layers.size(); i = next++) {
      TRY_ASSIGN(BlobWriter writer, fetch(source, layers[i], layer_name(layers[i])));
      const std::lock_guard lock(mutex);
      done.push_back(std::move(writer));
    }
    return {};
  };
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < std::min(kParallelLayers, layers.size()); ++i) {
    threads.emplace_back([&] {
      auto result = work();
      if (result) return;
      const std::lock_guard lock(mutex);
      if (!error) error = std::move(result).error();  // what the others say then is that they were cancelled
      monitor_.cancel();
    });
  }
  threads.clear();  // joins
  if (error) return std::unexpected(std::move(*error));
  std::ranges::move(done, std::back_inserter(fetched_));
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
    TRY_ASSIGN(BlobWriter writer, fetch(source, descriptor, "configuration " + descriptor.digest.text()));
    fetched_.push_back(std::move(writer));
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
  TRY_ASSIGN(auto opened, open_source());
  Source& source = opened.first;
  TRY_ASSIGN(const auto resolved, resolve(source, std::move(opened.second)));
  const auto& [document, manifest] = resolved;
  TRY_ASSIGN(const BlobLocks locks, lock_blobs(manifest));
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
  TRY(fetch_layers(source, manifest));
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
