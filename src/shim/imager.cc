#include "shim/imager.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <utility>

#include "base/sys.h"
#include "runtime/process_tree.h"
#include "vmm/process_capture.h"

namespace boxlite::shim {
namespace {

constexpr char kTakeIt = 'i';
constexpr std::size_t kMostOfAnswer = 1024;

Result<void> take_image(const vmm::CaptureSources& sources, pid_t jail, int file) {
  for (const pid_t pid : process_tree(jail)) {
    if (process_name(pid).starts_with("qemu-system")) return vmm::capture_process(pid, sources, file);
  }
  return fail(ErrorCode::kUnavailable, "its QEMU is not there");
}

[[noreturn]] void serve(int order, const vmm::CaptureSources& sources, pid_t jail, int file) {
  char byte = 0;
  if (::read(order, &byte, 1) != 1 || byte != kTakeIt) ::_exit(1);
  std::string answer;
  try {
    const auto taken = take_image(sources, jail, file);
    if (!taken) answer = taken.error().message().substr(0, kMostOfAnswer);
  } catch (const std::exception& error) {
    answer = error.what();
  }
  answer += '\n';
  (void)!::write(order, answer.data(), answer.size());
  ::_exit(0);
}

}  // namespace

Result<Imager> Imager::start(const TemplateJob& job, const vmm::Vm& vm) {
  const vmm::CaptureSources sources = {.channels = vm.channels(),
                                       .memory = job.vm.memory_file->path,
                                       .base_image = job.vm.base_image,
                                       .overlay = job.vm.overlay,
                                       .device_state = job.device_state};
  TRY_ASSIGN(const UniqueFd file, sys::open(job.process_image, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  TRY_ASSIGN(sys::SocketPair pair, sys::socket_pair());
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return fail_errno("fork");
  if (child == 0) {
    // A parent that has ended before this line is not ours any more.
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || ::getppid() != parent) ::_exit(1);
    ::prctl(PR_SET_NAME, "boxlite-imager");
    // The VM's channels above all: held here too they would hide its end.
    sys::close_all_but(std::array{pair.b.get(), file.get()});
    serve(pair.b.get(), sources, vm.pid(), file.get());
  }
  return Imager(std::move(pair.a));
}

void Imager::take(EventLoop& loop, std::function<void(Result<void>)> on_taken) {
  answer_ = std::make_unique<Watch>(loop, order_.get());
  answer_->on_readable([this, on_taken = std::move(on_taken)] {
    std::array<char, kMostOfAnswer + 1> text = {};
    const ssize_t count = ::read(order_.get(), text.data(), text.size());
    if (count <= 0) return on_taken(fail(ErrorCode::kInternal, "the process that takes the image has ended"));
    const std::string line(text.data(), static_cast<std::size_t>(count));
    on_taken(line == "\n" ? Result<void>() : fail(ErrorCode::kUnsupported, "{}", line.substr(0, line.find('\n'))));
  });
  (void)!::write(order_.get(), &kTakeIt, 1);
}

}  // namespace boxlite::shim
