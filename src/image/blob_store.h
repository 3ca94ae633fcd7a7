// The content store: <home>/images/blobs/sha256/<hex>, each file named by the digest of its contents.
//
// A file appears there only complete and verified: it is written in the job's directory, its length and digest are compared, it
// is synced and then renamed. So a blob that is there may be used, and nothing is ever parsed that was not verified. Two jobs
// that fetch one blob both rename the same bytes to the same name. A blob may be removed at any moment (image prune), so a job
// works on names of its own.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "image/sha256.h"

namespace boxlite::image {

class BlobStore {
 public:
  static Result<BlobStore> open(const std::string& home);

  std::string path(const Digest& digest) const { return directory_ + "/" + digest.hex(); }

  /// Is it there, with this length? A file of another length counts as absent, and fetching it replaces it.
  bool has(const Digest& digest, std::uint64_t size) const;

  /// Gives the blob a second name in a job's directory, where it stays whatever is removed from the store meanwhile. False when
  /// it is not there with this length.
  Result<bool> borrow(const Digest& digest, std::uint64_t size, const std::string& job_directory) const;

  /// Renames a complete, verified and synced file into the store.
  Result<void> publish(const std::string& file, const Digest& digest) const;

  /// Makes the appearance of published blobs durable.
  Result<void> sync() const;

 private:
  explicit BlobStore(std::string directory) : directory_(std::move(directory)) {}
  std::string directory_;
};

/// Contents whose digest was verified again, for what is about to be parsed. kCorrupt when they do not match.
Result<std::string> read_verified(const std::string& path, const Digest& digest, std::size_t limit);

/// One blob on its way into the store: append, verify, then it can be used where it is, and BlobStore::publish().
class BlobWriter {
 public:
  /// `what` is what messages call it: "layer sha256:…".
  static Result<BlobWriter> create(const std::string& job_directory, const Digest& digest, std::uint64_t size, std::string what);

  /// Fails as soon as there are more bytes than announced.
  Result<void> append(std::span<const std::byte> data);
  std::uint64_t size() const { return received_; }

  /// All bytes have come: compares length and digest, syncs.
  Result<void> verify();

  const Digest& digest() const { return digest_; }
  /// In the job's directory.
  const std::string& path() const { return temporary_; }

 private:
  BlobWriter(std::string temporary, Digest digest, std::uint64_t size, std::string what, UniqueFd fd)
      : temporary_(std::move(temporary)),
        digest_(std::move(digest)),
        expected_(size),
        what_(std::move(what)),
        fd_(std::move(fd)) {}
  std::string temporary_;
  Digest digest_;
  std::uint64_t expected_;
  std::string what_;
  UniqueFd fd_;
  Sha256 hash_;
  std::uint64_t received_ = 0;
};

}  // namespace boxlite::image
