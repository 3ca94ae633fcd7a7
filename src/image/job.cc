// Theory of operation. A job leaves two kinds of files, and both appear complete by one rename: blobs in the content store and
// the base disk in <home>/bases. Until everything is fetched, verified and built they stay in the job's directory, which goes
// with the job: a job that fails leaves nothing. It may be killed at any point and run again, and any number of jobs may run at
// once. Jobs that want the same blobs wait for each other (blob_locks.h), so each is fetched once.
//
// The layers of a registry are fetched by a few threads, each with a connection of its own: hashing is the larger part of the
// work with a near registry, and uses the cores that way.
#include "image/job.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <set>
#include <variant>
#include <vector>

#include "base/sys.h"
#include "base/thread.h"
#include "image/archive_job.h"
#include "image/archive_writer.h"
#include "image/blob_locks.h"
#include "image/blob_store.h"
#include "image/box_archive_job.h"
#include "image/curl_transport.h"
#include "image/image_config.h"
#include "image/login_job.h"
#include "image/oci_layout.h"
#include "image/registry_client.h"
#include "image/staging.h"

namespace boxlite::image {
namespace {

using Source = std::variant<RegistryClient, OciLayout>;

constexpr std::size_t kParallelLayers = 4;

class PullJob {
 public:
  PullJob(const JobRequest& request, Reference reference, Platform platform, Staging& staging, JobMonitor& monitor)
      : request_(request),
        reference_(std::move(reference)),
        platform_(std::move(platform)),
        staging_(staging),
        monitor_(monitor),
        name_(fmt::format("image {}", to_string(reference_))) {}

  Result<ImageInfo> run();

 private:
  Result<std::pair<Source, Document>> open_source();
  Result<std::pair<Source, Document>> open_registry(const RegistryReference& reference);
  Result<std::pair<Document, Manifest>> resolve(Source& source, Document document) const;
  Result<BlobWriter> fetch(Source& source, const Descriptor& descriptor, const std::string& what);
  Result<BlobLocks> lock_blobs(const Manifest& manifest);
  Result<void> fetch_layers(Source& source, const Manifest& manifest);
  Result<void> fetch_in_parallel(const RegistryClient& registry, const std::vector<Descriptor>& layers);
  Result<ConfigDocument> fetch_config(Source& source, const Descriptor& descriptor);

  const JobRequest& request_;
  Reference reference_;
  Platform platform_;
  Staging& staging_;
  JobMonitor& monitor_;
  std::string name_;
  RegistryConfig config_;
  std::unique_ptr<CurlTransport> transport_;
};

std::string layer_name(const Descriptor& layer) { return "layer " + layer.digest.text(); }

Result<std::pair<Source, Document>> PullJob::open_source() {
  if (const auto* layout = std::get_if<LayoutReference>(&reference_)) {
    TRY_ASSIGN(OciLayout source, OciLayout::open(*layout, platform_));
    TRY_ASSIGN(Document document, source.top());
    return std::pair<Source, Document>(std::move(source), std::move(document));
  }
  return open_registry(std::get<RegistryReference>(reference_));
}

// The first endpoint that has the image is where all of it comes from.
Result<std::pair<Source, Document>> PullJob::open_registry(const RegistryReference& reference) {
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

Result<std::pair<Document, Manifest>> PullJob::resolve(Source& source, Document document) const {
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

// May be called by several threads at once, of different descriptors.
Result<BlobWriter> PullJob::fetch(Source& source, const Descriptor& descriptor, const std::string& what) {
  TRY_ASSIGN(BlobWriter writer,
             BlobWriter::create(staging_.directory(), descriptor.digest, descriptor.size, fmt::format("{}: {}", name_, what)));
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

Result<BlobLocks> PullJob::lock_blobs(const Manifest& manifest) {
  std::set<Digest> digests = {manifest.config.digest};
  for (const Descriptor& layer : manifest.layers) {
    TRY_ASSIGN(const bool here, staging_.borrow(layer));
    if (!here) digests.insert(layer.digest);
  }
  return BlobLocks::acquire(request_.home, digests, monitor_);
}

Result<void> PullJob::fetch_layers(Source& source, const Manifest& manifest) {
  std::vector<Descriptor> missing;
  for (const Descriptor& layer : manifest.layers) {
    const bool twice = std::ranges::find(missing, layer.digest, &Descriptor::digest) != missing.end();
    TRY_ASSIGN(const bool here, staging_.borrow(layer));
    if (!twice && !here) missing.push_back(layer);
  }
  if (const auto* registry = std::get_if<RegistryClient>(&source)) return fetch_in_parallel(*registry, missing);
  for (const Descriptor& layer : missing) {
    TRY_ASSIGN(const BlobWriter writer, fetch(source, layer, layer_name(layer)));
    staging_.add(writer.digest());
  }
  return {};
}

Result<void> PullJob::fetch_in_parallel(const RegistryClient& registry, const std::vector<Descriptor>& layers) {
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
  const auto fetch_some = [&] {
    auto result = work();
    if (result) return;
    const std::lock_guard lock(mutex);
    if (!error) error = std::move(result).error();  // what the others say then is that they were cancelled
    monitor_.cancel();
  };
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < std::min(kParallelLayers, layers.size()); ++i) {
    auto thread = start_thread(fetch_some);
    if (!thread) break;
    threads.push_back(std::move(*thread));
  }
  if (threads.empty()) fetch_some();
  threads.clear();  // joins
  if (error) return std::unexpected(std::move(*error));
  for (const BlobWriter& writer : done) staging_.add(writer.digest());
  return {};
}

Result<ConfigDocument> PullJob::fetch_config(Source& source, const Descriptor& descriptor) {
  if (descriptor.size > kMaxConfigBytes) {
    return fail(ErrorCode::kCorrupt, "{}: the configuration is larger than {} bytes", name_, kMaxConfigBytes);
  }
  const auto read = [&] { return read_verified(staging_.path(descriptor.digest), descriptor.digest, kMaxConfigBytes); };
  const auto get = [&]() -> Result<std::string> {
    TRY_ASSIGN(const BlobWriter writer, fetch(source, descriptor, "configuration " + descriptor.digest.text()));
    staging_.add(writer.digest());
    return read();
  };
  TRY_ASSIGN(const bool borrowed, staging_.borrow(descriptor));
  auto bytes = borrowed ? read() : get();
  if (!bytes && borrowed) {  // a kept copy that has rotted is fetched again
    TRY(staging_.give_back(descriptor.digest));
    bytes = get();
  }
  if (!bytes) return std::unexpected(bytes.error());
  TRY_ASSIGN(ConfigDocument config, parse_image_config(*bytes, name_));
  if (config.platform.os != platform_.os || config.platform.architecture != platform_.architecture) {
    return fail(ErrorCode::kNotFound, "{} has no variant for {}; choose one with --platform, it has: {}", name_,
                to_string(platform_), to_string(config.platform));
  }
  return config;
}

Result<ImageInfo> PullJob::run() {
  TRY_ASSIGN(auto opened, open_source());
  Source& source = opened.first;
  TRY_ASSIGN(auto resolved, resolve(source, std::move(opened.second)));
  auto& [document, manifest] = resolved;
  TRY_ASSIGN(const BlobLocks locks, lock_blobs(manifest));
  TRY(staging_.keep(document.bytes, document.digest, name_));
  TRY_ASSIGN(ConfigDocument config, fetch_config(source, manifest.config));
  std::vector<StagedImage> images;
  images.push_back(
      {.name = name_, .manifest_digest = document.digest, .manifest = std::move(manifest), .config = std::move(config)});
  const StagedImage& image = images.front();
  TRY(staging_.check(image));
  TRY(fetch_layers(source, image.manifest));
  TRY(staging_.commit(images));
  return staging_.info(image, to_string(reference_));
}

Result<std::vector<ImageInfo>> pull(const JobRequest& request, JobMonitor& monitor) {
  TRY_ASSIGN(Reference reference, parse_reference(request.reference));
  TRY_ASSIGN(Platform platform, parse_platform(request.platform));
  TRY_ASSIGN(Staging staging, Staging::create(request, monitor));
  TRY_ASSIGN(ImageInfo image, PullJob(request, std::move(reference), std::move(platform), staging, monitor).run());
  return std::vector{std::move(image)};
}

Result<std::vector<ImageInfo>> run_kind(const JobRequest& request, JobMonitor& monitor) {
  switch (request.kind) {
    case JobKind::kPull:
      return pull(request, monitor);
    case JobKind::kLoad:
      return load_archive(request, monitor);
    case JobKind::kImport:
      return import_root(request, monitor);
    case JobKind::kDirectory:
      return import_directory(request, monitor);
    case JobKind::kSave:
      TRY(save_archive(request, monitor));
      break;
    case JobKind::kPackBox:
      TRY(pack_box(request, monitor));
      break;
    case JobKind::kUnpackBox:
      TRY(unpack_box(request, monitor));
      break;
    case JobKind::kLogin:
      TRY(run_login(request, monitor));
      break;
    case JobKind::kLogout:
      TRY(run_logout(request));
      break;
  }
  return std::vector<ImageInfo>();
}

}  // namespace

Result<std::vector<ImageInfo>> run_job(const JobRequest& request, JobMonitor& monitor) {
  auto images = run_kind(request, monitor);
  // These write nothing there: their errors name what they write to.
  const bool elsewhere = request.kind == JobKind::kSave || request.kind == JobKind::kPackBox;
  if (!images && !elsewhere && (images.error().error_number() == ENOSPC || images.error().error_number() == EDQUOT)) {
    return std::unexpected(images.error().context(fmt::format("the disk that holds {} is full", request.home)));
  }
  return images;
}

}  // namespace boxlite::image
