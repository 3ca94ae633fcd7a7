#include "agent/rehearsal.h"

#include <sys/epoll.h>

#include <csignal>
#include <utility>

#include "agent/container_root.h"
#include "base/process.h"
#include "base/sys.h"

namespace boxlite::agent {

Result<std::unique_ptr<Rehearsal>> Rehearsal::begin(EventLoop& loop, bool privileged, std::function<void(Result<void>)> on_end) {
  TRY_ASSIGN(const UniqueFd terminals, new_terminals());
  TRY_ASSIGN(SessionIo io, SessionIo::pipes(false));
  auto session = std::make_shared<Session>(loop, "rehearsal", std::move(io),
                                           Session::Handler{.on_progress = [](Session&) {}, .on_input_taken = [](Session&) {}});
  TRY_ASSIGN(Launched container, launch_container(privileged, terminals.get()));
  std::unique_ptr<Rehearsal> rehearsal(new Rehearsal(loop, std::move(container), std::move(session), std::move(on_end)));
  TRY(rehearsal->start());
  return rehearsal;
}

Rehearsal::Rehearsal(EventLoop& loop, Launched container, std::shared_ptr<Session> session,
                     std::function<void(Result<void>)> on_end)
    : loop_(loop),
      container_(std::move(container)),
      session_(std::move(session)),
      on_end_(std::move(on_end)),
      pidfd_(container_.pidfd.get()) {}

Rehearsal::~Rehearsal() { loop_.forget(pidfd_); }

// The end is that of the process, whatever was wrong with it: then it is in no cgroup any more.
Result<void> Rehearsal::start() {
  TRY(loop_.watch(pidfd_, EPOLLIN, [this](std::uint32_t) { end(); }));
  reader_ = std::make_unique<ReportReader>(
      loop_, std::move(container_.report),
      ReportReader::Handler{.on_built =
                                [this] {
                                  result_ = send();
                                  sent_ = true;
                                  if (!result_) (void)signal_process(pidfd_, SIGKILL);
                                },
                            .on_ready = [this] { (void)sys::write_all(container_.plan.get(), std::string_view("g")); },
                            .on_end =
                                [this](Result<void> ended) {
                                  if (result_) result_ = std::move(ended);
                                }});
  return reader_->start();
}

Result<void> Rehearsal::send() {
  proto::Configure configure;
  configure.set_hostname("rehearsal");
  configure.mutable_main()->add_args("/proc/self/exe");
  configure.mutable_main()->add_args(kRehearsalArgument);
  TRY(send_plan(container_.plan.get(), configure, *session_, {}));
  return session_->started(container_.pid, std::move(container_.pidfd));
}

void Rehearsal::end() {
  if (result_ && !sent_) result_ = fail(ErrorCode::kInternal, "its first process died while it was being built");
  // It may destroy this object.
  if (const auto on_end = std::exchange(on_end_, {})) on_end(std::move(result_));
}

}  // namespace boxlite::agent
