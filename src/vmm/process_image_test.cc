// Images of a process that is no QEMU, taken and gone on from for real, without a jail.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "base/file.h"
#include "base/sys.h"
#include "vmm/process_capture.h"
#include "vmm/vm_filter.h"

namespace boxlite::vmm {
namespace {

using ::testing::HasSubstr;

constexpr std::size_t kMemoryBytes = 1 << 20U;

// A process at the other end of a socket; killed with this.
class Subject {
 public:
  /// `argv` gets the number of its end of the socket in the place of "CHANNEL". `keep`: a descriptor that it inherits too.
  Subject(const std::string& program, std::vector<std::string> argv, int keep = -1) {
    sys::SocketPair pair = *sys::socket_pair();
    channel_ = std::move(pair.a);
    number_ = pair.b.get();
    for (std::string& word : argv) {
      if (word == "CHANNEL") word = std::to_string(number_);
    }
    pid_ = ::fork();
    if (pid_ < 0) std::abort();
    if (pid_ == 0) {
      ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
      ::syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC);
      for (const int fd : {number_, keep}) ::fcntl(fd, F_SETFD, 0);
      std::vector<char*> words;
      words.reserve(argv.size() + 1);
      for (std::string& word : argv) words.push_back(word.data());
      words.push_back(nullptr);
      ::execv(program.c_str(), words.data());
      ::_exit(127);
    }
  }
  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;
  ~Subject() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }
  int number() const { return number_; }

  std::string count() {
    if (::write(channel_.get(), "c", 1) != 1) return "it is gone";
    std::string line;
    for (std::byte byte{}; line.empty() || line.back() != '\n';) {
      const auto got = sys::read(channel_.get(), std::span(&byte, 1));
      if (!got || *got == 0) return "it is gone";
      line += static_cast<char>(byte);
    }
    return line;
  }

 private:
  UniqueFd channel_;
  int number_ = -1;
  pid_t pid_ = -1;
};

class ProcessImageTest : public testing::Test {
 protected:
  ProcessImageTest() {
    for (const char* name : {"memory", "base", "overlay", "state"}) {
      const UniqueFd file = *sys::open(path(name), O_RDWR | O_CREAT, 0600);
      EXPECT_EQ(::ftruncate(file.get(), kMemoryBytes), 0);
    }
  }

  std::string path(const std::string& name) const { return directory_.path() + "/" + name; }

  CaptureSources sources(const Subject& subject) const {
    CaptureSources sources = {
        .memory = path("memory"), .base_image = path("base"), .overlay = path("overlay"), .device_state = path("state")};
    sources.channels.fill(-1);
    sources.channels[0] = subject.number();
    return sources;
  }

  Result<void> capture(const Subject& subject) const {
    TRY_ASSIGN(const UniqueFd file, sys::open(path("image"), O_RDWR | O_CREAT | O_TRUNC, 0600));
    return capture_process(subject.pid(), sources(subject), file.get());
  }

  std::vector<std::string> resume_argv(int filter) const {
    return {"vm-resume", path("image"), path("memory"), std::to_string(filter), "-1", "CHANNEL", "-1", "-1", "-1", "-1",
            "-1",        "-1"};
  }

  TempDir directory_ = *TempDir::create("/tmp", "boxlite-image-test-");
};

TEST_F(ProcessImageTest, GoesOnWhereItWasInAsManyProcessesAsThereAreAndTheOriginalToo) {
  Subject original(BOXLITE_TEST_SUBJECT, {"subject", path("memory"), "CHANNEL"});
  ASSERT_EQ(original.count(), "1 1 1 1 1111\n");
  ASSERT_EQ(original.count(), "2 2 2 2 1111\n");
  const auto captured = capture(original);
  ASSERT_TRUE(captured) << captured.error().message();
  const auto filter = *sandbox_filter();
  Subject one(BOXLITE_TEST_RESUME, resume_argv(filter.get()), filter.get());
  EXPECT_EQ(one.count(), "3 3 3 3 1111\n");
  ASSERT_EQ(::lseek(filter.get(), 0, SEEK_SET), 0);
  Subject other(BOXLITE_TEST_RESUME, resume_argv(filter.get()), filter.get());
  for (int n = 3; n < 20; ++n) EXPECT_EQ(other.count(), fmt::format("{0} {0} {0} {0} 1111\n", n));
  EXPECT_EQ(one.count(), "4 4 4 4 1111\n");
  EXPECT_EQ(original.count(), "3 3 3 3 1111\n");
}

// One of its threads is hardly ever in a system call: whatever it is at when it is stopped, it goes on.
TEST_F(ProcessImageTest, IsTakenAtAnyMoment) {
  Subject original(BOXLITE_TEST_SUBJECT, {"subject", path("memory"), "CHANNEL"});
  ASSERT_EQ(original.count(), "1 1 1 1 1111\n");
  for (int i = 0; i < 20; ++i) {
    const auto captured = capture(original);
    ASSERT_TRUE(captured) << captured.error().message();
  }
  const auto filter = *sandbox_filter();
  Subject resumed(BOXLITE_TEST_RESUME, resume_argv(filter.get()), filter.get());
  EXPECT_EQ(resumed.count(), "2 2 2 2 1111\n");
}

TEST_F(ProcessImageTest, WhatItHasThatCannotBeHadAgainIsNamed) {
  Subject original(BOXLITE_TEST_SUBJECT, {"subject", path("memory"), "CHANNEL"});
  ASSERT_EQ(original.count(), "1 1 1 1 1111\n");
  CaptureSources wrong = sources(original);
  wrong.channels[0] = -1;
  const UniqueFd file = *sys::open(path("image"), O_RDWR | O_CREAT, 0600);
  const auto captured = capture_process(original.pid(), wrong, file.get());
  ASSERT_FALSE(captured);
  EXPECT_EQ(captured.error().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(captured.error().message(), HasSubstr("descriptor socket:["));
  EXPECT_EQ(original.count(), "2 2 2 2 1111\n");
}

}  // namespace
}  // namespace boxlite::vmm
