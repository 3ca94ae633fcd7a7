#include "image/blob_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/file.h"
#include "base/sys.h"

namespace boxlite::image {

Result<BlobStore> BlobStore::open(const std::string& home) {
  std::string path = home;
  for (const char* part : {"/images", "/blobs", "/sha256"}) {
    path += part;
    TRY(ensure_directory(path, 0700));
  }
  return BlobStore(std::move(path));
}

bool BlobStore::has(const Digest& digest, std::uint64_t size) const {
  const auto st = sys::stat(path(digest));
  return st && S_ISREG(st->st_mode) && static_cast<std::uint64_t>(st->st_size) == size;
}

Result<bool> BlobStore::borrow(const Digest& digest, std::uint64_t size, const std::string& job_directory) const {
  const std::string mine = job_directory + "/" + digest.hex();
  if (::link(path(digest).c_str(), mine.c_str()) < 0 && errno != EEXIST) {
    if (errno == ENOENT) return false;
    return fail_errno("link {} to {}", path(digest), mine);
  }
  const auto st = sys::stat(mine);
  if (st && S_ISREG(st->st_mode) && static_cast<std::uint64_t>(st->st_size) == size) return true;
  TRY(sys::unlink(mine));
  return false;
}

Result<void> BlobStore::publish(const std::string& file, const Digest& digest) const {
  FAILPOINT("image.blob.commit");
  return sys::rename(file, path(digest));
}

Result<void> BlobStore::sync() const { return sync_directory(directory_); }

Result<std::string> read_verified(const std::string& path, const Digest& digest, std::size_t limit) {
  TRY_ASSIGN(std::string bytes, read_file(path, limit));
  if (sha256(bytes) != digest) return fail(ErrorCode::kCorrupt, "{} does not match its digest", path);
  return bytes;
}

Result<BlobWriter> BlobWriter::create(const std::string& job_directory, const Digest& digest, std::uint64_t size,
                                      std::string what) {
  std::string temporary = fmt::format("{}/{}", job_directory, digest.hex());
  // What is there may be a name of a file in the store.
  TRY(sys::unlink(temporary));
  TRY_ASSIGN(UniqueFd fd, sys::open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  return BlobWriter(std::move(temporary), digest, size, std::move(what), std::move(fd));
}

Result<void> BlobWriter::append(std::span<const std::byte> data) {
  if (data.size() > expected_ - received_) return fail(ErrorCode::kCorrupt, "{} is longer than its {} bytes", what_, expected_);
  if (auto written = sys::write_all(fd_.get(), data); !written) return std::unexpected(written.error().context(temporary_));
  hash_.update(data);
  received_ += data.size();
  return {};
}

Result<void> BlobWriter::verify() {
  if (received_ != expected_)
    return fail(ErrorCode::kCorrupt, "{} is truncated: got {} of {} bytes", what_, received_, expected_);
  if (const Digest actual = hash_.finish(); actual != digest_) {
    return fail(ErrorCode::kCorrupt, "{} has the wrong digest: its contents are {}", what_, actual.text());
  }
  FAILPOINT("image.blob.sync");
  TRY(sys::fsync(fd_.get(), temporary_));
  fd_.reset();
  return {};
}

}  // namespace boxlite::image
