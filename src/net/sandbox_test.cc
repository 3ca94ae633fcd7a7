#include "net/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>

namespace boxlite::net {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SKIP_SANITIZED GTEST_SKIP() << "the sanitizers' own system calls are not those of the product"
#else
#define SKIP_SANITIZED
#endif

// What a child ended with that ran this in the sandbox: its exit code, or 1000 + the signal.
int inside(const std::function<int()>& act) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (!enter_sandbox(std::nullopt)) ::_exit(99);
    ::_exit(act());
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

TEST(SandboxTest, NoFileCanBeOpenedOrLookedAt) {
  SKIP_SANITIZED;
  EXPECT_EQ(inside([] { return ::open("/etc/passwd", O_RDONLY) < 0 ? errno : 0; }), EACCES);
  EXPECT_EQ(inside([] { return ::open("/proc/self/mem", O_RDWR) < 0 ? errno : 0; }), EACCES);
  EXPECT_EQ(inside([] {
              struct stat st = {};
              return ::stat("/etc/passwd", &st) < 0 ? errno : 0;
            }),
            EACCES);
}

TEST(SandboxTest, NoProgramCanBeStartedAndNoProcessTouched) {
  SKIP_SANITIZED;
  EXPECT_EQ(inside([] { return ::execl("/bin/true", "true", nullptr); }), 1000 + SIGSYS);
  EXPECT_EQ(inside([] { return ::fork() == 0 ? 0 : 1; }), 1000 + SIGSYS);
  EXPECT_EQ(inside([] { return static_cast<int>(::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr)); }), 1000 + SIGSYS);
  EXPECT_EQ(inside([] { return ::kill(::getppid(), 0); }), 1000 + SIGSYS);
  EXPECT_EQ(inside([] { return ::setuid(0); }), 1000 + SIGSYS);
}

TEST(SandboxTest, OnlySocketsOfTheInternetCanBeMade) {
  SKIP_SANITIZED;
  EXPECT_EQ(inside([] { return ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0 ? 0 : errno; }), 0);
  EXPECT_EQ(inside([] { return ::socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0) >= 0 ? 0 : errno; }), 0);
  EXPECT_EQ(inside([] { return ::socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0 ? 0 : errno; }), EPERM);
  EXPECT_EQ(inside([] { return ::socket(AF_UNIX, SOCK_STREAM, 0) >= 0 ? 0 : errno; }), EPERM);
  EXPECT_EQ(inside([] { return ::socket(AF_NETLINK, SOCK_RAW, 0); }), 1000 + SIGSYS);
  EXPECT_EQ(inside([] { return ::socket(AF_PACKET, SOCK_RAW, 0); }), 1000 + SIGSYS);
  EXPECT_EQ(inside([] {
              const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
              return ::listen(fd, 1);
            }),
            1000 + SIGSYS)
      << "no listener of its own";
}

TEST(SandboxTest, NoFileCanBeWrittenThroughADescriptor) {
  SKIP_SANITIZED;
  std::FILE* const file = std::tmpfile();
  EXPECT_EQ(inside([file] { return static_cast<int>(::write(::fileno(file), "x", 1)); }), 1000 + SIGXFSZ);
  std::fclose(file);
}

TEST(SandboxTest, MemoryIsBoundedAndNotExecutable) {
  SKIP_SANITIZED;
  EXPECT_EQ(inside([] {
              return ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0;
            }),
            1000 + SIGSYS);
  EXPECT_EQ(inside([] {
              void* page = ::mmap(nullptr, kMaxMemory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
              return page == MAP_FAILED ? errno : 0;
            }),
            ENOMEM);
}

TEST(SandboxTest, TheLoopsCallsGoOn) {
  SKIP_SANITIZED;
  EXPECT_EQ(inside([] {
              pollfd none = {-1, 0, 0};
              if (::poll(&none, 1, 0) != 0) return 1;
              void* memory = std::malloc(10 << 20);
              if (memory == nullptr) return 2;
              std::free(memory);
              return 0;
            }),
            0);
  EXPECT_EQ(inside([]() -> int { std::abort(); }), 1000 + SIGABRT) << "an assertion of libslirp ends as one";
}

}  // namespace
}  // namespace boxlite::net
