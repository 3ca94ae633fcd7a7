#include "shim/log_pump.h"

#include <gtest/gtest.h>
#include <sys/ioctl.h>

#include "base/sys.h"

namespace boxlite::shim {
namespace {

TEST(LogPumpTest, AFloodIsReadInPortionsSoThatOthersHaveTheirTurn) {
  EventLoop loop;
  auto pipe = sys::pipe();
  ASSERT_TRUE(pipe);
  const std::string flood(std::size_t{32} * 1024, 'x');
  ASSERT_TRUE(sys::write_all(pipe->write_end.get(), flood));
  ASSERT_TRUE(sys::set_nonblocking(pipe->read_end.get(), true));
  LogPump pump(loop, pipe->read_end.get(), std::nullopt);
  int left = 0;
  do {
    loop.run_one();
    ASSERT_EQ(::ioctl(pipe->read_end.get(), FIONREAD, &left), 0);
  } while (left == static_cast<int>(flood.size()));
  EXPECT_GT(left, 0) << "all of it was read in one turn";

  bool ended = false;
  pump.on_end([&] { ended = true; });
  pipe->write_end.reset();
  while (!ended) loop.run_one();
  EXPECT_EQ(pump.last_lines(1).size(), 200U);
}

}  // namespace
}  // namespace boxlite::shim
