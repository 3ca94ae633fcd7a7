// A process of which images are taken (process_image_test.cc): with a descriptor, memory and a thread of each kind that QEMU has.
//
//   process_image_test_subject MEMORY CHANNEL
//
// For each byte that it reads from CHANNEL, a socket, it says on one line what it counts: in its heap, in a thread's own
// variable, in the file MEMORY, by another thread that it wakes and that answers, and its process number.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>

namespace {

thread_local int own = 0;

void count(int descriptor) {
  const std::uint64_t one = 1;
  if (::write(descriptor, &one, sizeof one) != sizeof one) ::_exit(3);
}

std::uint64_t take(int descriptor) {
  std::uint64_t value = 0;
  if (::read(descriptor, &value, sizeof value) != sizeof value) ::_exit(4);
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  ::signal(SIGPIPE, SIG_IGN);
  const int file = ::open(argv[1], O_RDWR | O_CLOEXEC);
  void* const map = ::mmap(nullptr, 1 << 20U, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (map == MAP_FAILED) return 2;
  auto* const memory = static_cast<int*>(map);
  const int channel = std::atoi(argv[2]);
  const int wake = ::eventfd(0, EFD_CLOEXEC);
  const int answer = ::eventfd(0, 0);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  const int signalled = ::signalfd(-1, &signals, SFD_NONBLOCK);
  const int none = ::epoll_create1(EPOLL_CLOEXEC);
  const int random = ::open("/dev/urandom", O_RDONLY | O_CLOEXEC);

  std::uint64_t woken = 0;
  std::thread([&] {
    for (;;) {
      woken += take(wake);
      count(answer);
    }
  }).detach();
  // Seldom in a system call, and then in one that does not wait.
  std::thread([] {
    for (std::uint64_t i = 0;; ++i) {
      asm volatile("" : "+r"(i));  // it is to be counted
      if (i % 20'000'000 == 0) ::syscall(SYS_getppid);
    }
  }).detach();

  const auto heap = std::make_unique<int[]>(1 << 16U);
  for (char byte = 0; ::read(channel, &byte, 1) == 1;) {
    ++heap[1 << 15U];
    ++own;
    ++*memory;
    count(wake);
    (void)take(answer);
    ::raise(SIGUSR1);
    signalfd_siginfo seen = {};
    const bool got_signal = ::read(signalled, &seen, sizeof seen) == sizeof seen && seen.ssi_signo == SIGUSR1;
    epoll_event event = {};
    const bool quiet = ::epoll_wait(none, &event, 1, 0) == 0;
    std::uint32_t drawn = 0;
    const bool draws = ::read(random, &drawn, sizeof drawn) == sizeof drawn;
    // A thread that begins and ends now, and memory that is taken and given back.
    int more = 0;
    std::thread([&more] { more = static_cast<int>(::gettid() > 0); }).join();
    std::free(std::memset(std::malloc(64U << 20U), 1, 64U << 20U));    // NOLINT(cppcoreguidelines-no-malloc)
    std::free(std::memset(std::malloc(200U << 10U), 1, 200U << 10U));  // NOLINT(cppcoreguidelines-no-malloc)
    char line[128];
    const int size = std::snprintf(line, sizeof line, "%d %d %d %llu %d%d%d%d\n", heap[1 << 15U], own, *memory,
                                   static_cast<unsigned long long>(woken), got_signal, quiet, draws, more);
    if (::write(channel, line, static_cast<std::size_t>(size)) != size) return 5;
  }
  return 0;
}
