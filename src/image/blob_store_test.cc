#include "image/blob_store.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/sys.h"
#include "image/job_directory.h"

namespace boxlite::image {
namespace {

class BlobStoreTest : public ::testing::Test {
 protected:
  Result<void> put(const std::string& data, const Digest& digest, std::uint64_t size) {
    TRY_ASSIGN(BlobWriter writer, BlobWriter::create(tmp_, digest, size, "layer x"));
    TRY(writer.append(std::as_bytes(std::span(data))));
    TRY(writer.verify());
    return store_.publish(writer.path(), digest);
  }

  TempDir home_ = *TempDir::create("/tmp", "boxlite-blob-test-");
  BlobStore store_ = *BlobStore::open(home_.path());
  std::string tmp_ = home_.path();
};

TEST_F(BlobStoreTest, ABlobAppearsOnlyVerified) {
  ASSERT_TRUE(put("data", sha256("data"), 4));
  EXPECT_TRUE(store_.has(sha256("data"), 4));
  EXPECT_FALSE(store_.has(sha256("data"), 5));
  EXPECT_EQ(*read_verified(store_.path(sha256("data")), sha256("data"), 100), "data");
  EXPECT_EQ(sys::stat(store_.path(sha256("data")))->st_mode & 07777, 0600U);
}

TEST_F(BlobStoreTest, AWrongDigestNamesTheBlobAndStoresNothing) {
  const auto result = put("evil", sha256("data"), 4);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::kCorrupt);
  EXPECT_NE(result.error().message().find("layer x has the wrong digest"), std::string::npos);
  EXPECT_FALSE(store_.has(sha256("data"), 4));
}

TEST_F(BlobStoreTest, TooFewAndTooManyBytesAreRefused) {
  EXPECT_NE(put("dat", sha256("data"), 4).error().message().find("got 3 of 4 bytes"), std::string::npos);
  EXPECT_NE(put("data!", sha256("data"), 4).error().message().find("longer than its 4 bytes"), std::string::npos);
  EXPECT_FALSE(store_.has(sha256("data"), 4));
}

TEST_F(BlobStoreTest, ABorrowedBlobOutlivesItsRemovalFromTheStore) {
  const TempDir job = *TempDir::create(home_.path(), "job-");
  EXPECT_FALSE(*store_.borrow(sha256("data"), 4, job.path()));
  ASSERT_TRUE(put("data", sha256("data"), 4));
  EXPECT_FALSE(*store_.borrow(sha256("data"), 5, job.path()));
  EXPECT_TRUE(*store_.borrow(sha256("data"), 4, job.path()));
  ASSERT_TRUE(sys::unlink(store_.path(sha256("data"))));
  const std::string mine = job.path() + "/" + sha256("data").hex();
  EXPECT_EQ(*read_verified(mine, sha256("data"), 100), "data");
  ASSERT_TRUE(store_.publish(mine, sha256("data")));
  EXPECT_TRUE(store_.has(sha256("data"), 4));
}

TEST_F(BlobStoreTest, ABlobThatRottedIsNotRead) {
  ASSERT_TRUE(put("data", sha256("data"), 4));
  ASSERT_TRUE(write_file_volatile(store_.path(sha256("data")), "evil", 0600));
  EXPECT_FALSE(read_verified(store_.path(sha256("data")), sha256("data"), 100));
  ASSERT_TRUE(put("data", sha256("data"), 4));
  EXPECT_TRUE(read_verified(store_.path(sha256("data")), sha256("data"), 100));
}

TEST(Sha256Test, KnownAnswers) {
  EXPECT_EQ(sha256("").hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc").hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(JobDirectoryTest, AJobThatEndsLeavesNothing) {
  const TempDir home = *TempDir::create("/tmp", "boxlite-job-test-");
  {
    auto job = JobDirectory::create(home.path());
    ASSERT_TRUE(job);
    ASSERT_TRUE(write_file_volatile(job->path() + "/x", "x", 0600));
  }
  EXPECT_EQ(::rmdir((home.path() + "/tmp").c_str()), 0);
}

TEST(JobDirectoryTest, LeftoversOfADeadJobAreSweptAndALiveOneIsSpared) {
  const TempDir home = *TempDir::create("/tmp", "boxlite-job-test-");
  sys::Pipe pipe = *sys::pipe();
  const pid_t child = ::fork();
  if (child == 0) {
    auto job = JobDirectory::create(home.path());
    if (job && write_file_volatile(job->path() + "/x", "x", 0600)) (void)sys::write_all(pipe.write_end.get(), job->path());
    pipe.write_end.reset();
    for (;;) ::pause();
  }
  pipe.write_end.reset();
  std::string dead(4096, '\0');
  dead.resize(*sys::read_full(pipe.read_end.get(), std::as_writable_bytes(std::span(dead))));
  auto alive = JobDirectory::create(home.path());
  ASSERT_TRUE(alive);
  EXPECT_TRUE(sys::stat(dead + "/x")) << "swept while its job lived";
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  const auto another = JobDirectory::create(home.path());
  ASSERT_TRUE(another);
  EXPECT_FALSE(sys::stat(dead));
  EXPECT_FALSE(sys::stat(dead + ".lock"));
  EXPECT_TRUE(sys::stat(alive->path()));
}

}  // namespace
}  // namespace boxlite::image
