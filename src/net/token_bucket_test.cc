#include "net/token_bucket.h"

#include <gtest/gtest.h>

namespace boxlite::net {
namespace {

using std::chrono::milliseconds;

TEST(TokenBucketTest, WithoutLimitIsAlwaysOpen) {
  const auto now = TokenBucket::Clock::now();
  TokenBucket bucket(0, 1514, now);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_TRUE(bucket.open(now));
    bucket.take(65536);
  }
}

TEST(TokenBucketTest, KeepsTheRateWhateverTheFrames) {
  for (const std::size_t frame : {60U, 1514U, 65534U}) {
    auto now = TokenBucket::Clock::now();
    const auto begin = now;
    TokenBucket bucket(8000, 65534, now);  // a million bytes a second
    std::size_t passed = 0;
    while (now - begin < std::chrono::seconds(60)) {
      if (bucket.open(now)) {
        bucket.take(frame);
        passed += frame;
      } else {
        EXPECT_GT(bucket.opens_at(), now);
        now = bucket.opens_at();
      }
    }
    EXPECT_NEAR(static_cast<double>(passed), 60e6, 60e6 * 0.01 + 100000) << frame;
  }
}

TEST(TokenBucketTest, HoldsNoMoreThanATenthOfASecond) {
  auto now = TokenBucket::Clock::now();
  TokenBucket bucket(8000, 1514, now);
  now += std::chrono::hours(1);
  std::size_t burst = 0;
  while (bucket.open(now)) {
    bucket.take(1000);
    burst += 1000;
  }
  EXPECT_EQ(burst, 100000U);
}

TEST(TokenBucketTest, LetsAFrameThroughHoweverSmallTheLimit) {
  auto now = TokenBucket::Clock::now();
  TokenBucket bucket(8, 65534, now);  // a kilobyte a second
  EXPECT_TRUE(bucket.open(now));
  bucket.take(65534);
  bucket.take(65534);
  EXPECT_FALSE(bucket.open(now + milliseconds(10)));
  EXPECT_TRUE(bucket.open(bucket.opens_at()));
}

}  // namespace
}  // namespace boxlite::net
