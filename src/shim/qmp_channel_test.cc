#include "shim/qmp_channel.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/sys.h"

namespace boxlite::shim {
namespace {

TEST(QmpChannelTest, AnIoErrorOfTheDiskIsToldOnceHoweverOftenTheGuestTries) {
  EventLoop loop;
  auto pair = sys::socket_pair();
  ASSERT_TRUE(pair);
  ASSERT_TRUE(sys::set_nonblocking(pair->a.get(), true));
  QmpChannel channel(loop, pair->a.get());
  std::string events;
  for (int i = 0; i < 100; ++i)
    events += R"({"event": "BLOCK_IO_ERROR", "data": {"nospace": false}})"
              "\n";
  events += R"({"event": "BLOCK_IO_ERROR", "data": {"nospace": true}})"
            "\n";
  ASSERT_TRUE(sys::write_all(pair->b.get(), events));
  testing::internal::CaptureStderr();
  while (channel.paused().empty()) loop.run_one();
  const std::string told = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::ranges::count(told, '\n'), 2) << told;
}

}  // namespace
}  // namespace boxlite::shim
