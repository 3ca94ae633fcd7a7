// What a job has gathered and not yet given to the home: blobs, each complete and verified in the job's directory, and the base
// disks made of them.
//
// commit() gives all of it at once, under the store's lock (image_job.h): blobs and bases that are there already are kept, since
// overlays depend on a base's very blocks. A base may be removed (image prune) until the lock is held, so whether one has to be
// built is asked under the lock, and building is done without it.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "boxlite/image.h"
#include "image/blob_store.h"
#include "image/image_config.h"
#include "image/image_job.h"
#include "image/job_directory.h"
#include "image/job_monitor.h"
#include "image/manifest.h"

namespace boxlite::image {

struct StagedImage {
  std::string name;  // for messages
  Digest manifest_digest;
  Manifest manifest;
  ConfigDocument config;
};

class Staging {
 public:
  /// The sweep of dead jobs comes first: their leftovers may be what fills the disk. `request` and `monitor` must outlive it.
  static Result<Staging> create(const JobRequest& request, JobMonitor& monitor);

  const std::string& directory() const { return directory_.path(); }

  /// Takes the blob from the store, if it is there with this length.
  Result<bool> borrow(const Descriptor& blob);
  /// Whatever its length: its reader verifies it.
  Result<bool> borrow(const Digest& digest);
  /// Forgets a blob that was borrowed and is not what its name says.
  Result<void> give_back(const Digest& digest);
  /// A blob that lies complete and verified at path().
  void add(const Digest& digest) { blobs_.insert(digest); }
  Result<void> keep(std::string_view bytes, const Digest& digest, const std::string& what);

  const std::set<Digest>& blobs() const { return blobs_; }
  bool has(const Digest& digest) const { return blobs_.contains(digest); }
  std::string path(const Digest& digest) const { return directory_.path() + "/" + digest.hex(); }

  /// Refuses what cannot become a base; cheap, before any layer is fetched.
  Result<void> check(const StagedImage& image) const;

  /// Builds the bases that are missing and makes everything the home's. Once; then the store's lock stays held by whoever gave it
  /// to this job.
  Result<void> commit(const std::vector<StagedImage>& images);

  /// The record of a committed image.
  Result<ImageInfo> info(const StagedImage& image, const std::string& reference) const;

 private:
  Staging(const JobRequest& request, JobMonitor& monitor, BlobStore store, JobDirectory directory)
      : request_(&request), monitor_(&monitor), store_(std::move(store)), directory_(std::move(directory)) {}
  std::string base_path(const StagedImage& image) const;
  Result<std::string> build_base(const StagedImage& image) const;
  Result<void> publish() const;

  const JobRequest* request_;
  JobMonitor* monitor_;
  BlobStore store_;
  JobDirectory directory_;
  std::set<Digest> blobs_;
  std::map<std::string, std::string> built_;  // final path of a base to where it is now
};

}  // namespace boxlite::image
