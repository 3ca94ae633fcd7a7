#include "runtime/host_room.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace boxlite {
namespace {

using ::testing::HasSubstr;

TEST(HostRoomTest, MemoryThatCouldBeHadAndSwapAreAvailable) {
  EXPECT_EQ(available_memory(
                "MemTotal:       16000 kB\nMemFree:  1 kB\nMemAvailable:    3000 kB\nSwapTotal: 9000 kB\nSwapFree:  1000 kB\n"),
            std::uint64_t{4000} * 1024);
  EXPECT_EQ(available_memory("MemAvailable:"), 0U);
  EXPECT_EQ(available_memory(""), 0U);
}

TEST(HostRoomTest, ABoxThatTheHostCannotHoldIsRefusedWithWhatItHas) {
  EXPECT_TRUE(check_room("/", 16));
  const auto refused = check_room("/", 1U << 30U);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
  EXPECT_THAT(refused.error().message(), HasSubstr("a box of 1073741824 MiB needs 1073741888 MiB of the host's memory, and "));
}

TEST(HostRoomTest, AHomeThatIsNotThereIsNamed) {
  const auto refused = check_room("/nonexistent", 16);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message(), HasSubstr("/nonexistent"));
}

}  // namespace
}  // namespace boxlite
