#include "shim/capture.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "base/failpoint.h"
#include "base/file.h"
#include "base/sys.h"
#include "shim/agent_call.h"
#include "shim/device_state.h"
#include "shim/log.h"

namespace boxlite::shim {
namespace {

constexpr std::size_t kMaxGuardLine = 4096;
// For the guest to come to rest; under load it may take ten times as long as it should.
constexpr auto kFreezePatience = std::chrono::seconds(60);
constexpr auto kAskPatience = std::chrono::seconds(60);
// For the client to copy the memory, at 20 MiB/s.
constexpr auto kClientPatience = std::chrono::seconds(60);
constexpr std::uint64_t kMsPerMib = 50;
constexpr int kFdSet = 101;
constexpr const char* kJob = "capture";
constexpr std::string_view kRequest = "request for a checkpoint";

Json error_of(const Error& error) {
  return {{"error", {{"code", std::string(name(error.code()))}, {"message", error.message()}}}};
}

// "Host virtual address for 0x0 (ram) is 0x7f9c63e00000"
std::string address_in(const Json& reply) {
  if (!reply.is_string()) return {};
  const std::string& text = reply.get_ref<const std::string&>();
  const std::size_t at = text.rfind(" is 0x");
  if (at == std::string::npos) return {};
  const std::size_t begin = at + 6;
  return text.substr(begin, text.find_first_not_of("0123456789abcdef", begin) - begin);
}

void ignore(const Result<Json>&) {}

void send_line(int client, const Json& message) {
  const std::string line = dump_json(message) + "\n";
  (void)::send(client, line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace

void Capture::refuse(int client, const Error& why) { send_line(client, error_of(why)); }

Capture::Capture(EventLoop& loop, Box box, UniqueFd client, Events events)
    : box_(std::move(box)),
      client_(std::move(client)),
      watch_(std::in_place, loop, client_.get()),
      deadline_(loop),
      events_(std::move(events)) {}

void Capture::begin(std::string early) {
  deadline_.start(kAskPatience,
                  [self = shared_from_this()] { self->give_up(Error(ErrorCode::kUnavailable, "nothing was asked for")); });
  input_ = std::move(early);
  if (const std::size_t end = input_.find('\n'); end != std::string::npos) {
    const std::string line = input_.substr(0, end);
    input_.erase(0, end + 1);
    on_line(line);
  }
  if (step_ != Step::kOver) read_client();
}

// Always: its end must not leave the box standing still.
void Capture::read_client() {
  watch_->on_readable([self = shared_from_this()] {
    if (self->step_ == Step::kOver) return;
    std::array<char, 1024> part;
    const ssize_t count = ::recv(self->client_.get(), part.data(), part.size(), MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return self->read_client();
    if (count <= 0) return self->give_up(Error(ErrorCode::kUnavailable, "whoever asked for it has gone"));
    self->input_.append(part.data(), static_cast<std::size_t>(count));
    if (self->input_.size() > kMaxGuardLine) return self->give_up(Error(ErrorCode::kInvalidArgument, "a line is too long"));
    for (std::size_t end = self->input_.find('\n'); end != std::string::npos; end = self->input_.find('\n')) {
      const std::string line = self->input_.substr(0, end);
      self->input_.erase(0, end + 1);
      self->on_line(line);
      if (self->step_ == Step::kOver) return;
    }
    self->read_client();
  });
}

void Capture::on_line(const std::string& line) {
  if (step_ == Step::kAsked) {
    const auto request = parse_json(line, kRequest);
    if (!request) return give_up(request.error());
    if (const auto accepted = accept(*request); !accepted) return give_up(accepted.error());
    return freeze();
  }
  if (step_ == Step::kTold && line == "go on") return go_on();
  if (step_ == Step::kTold && line == "end" && !copying_) {
    if (const auto committed = commit(); !committed) return give_up(committed.error());
    send({{"ok", true}});
    step_ = Step::kOver;
    deadline_.stop();
    events_.on_suspended();
    return over();
  }
  give_up(Error(ErrorCode::kInvalidArgument, "what was asked is not known, or not at this time"));
}

Result<void> Capture::accept(const Json& request) {
  TRY_ASSIGN(with_memory_, json_get<bool>(request, "memory", kRequest));
  TRY_ASSIGN(const auto disk, json_get<std::string>(request, "disk", kRequest));
  if (disk != "none" && disk != "top" && disk != "all")
    return fail(ErrorCode::kInvalidArgument, "\"{}\" is no part of a disk", disk);
  if (!with_memory_ && disk == "none") return fail(ErrorCode::kInvalidArgument, "neither memory nor disk is asked for");
  whole_disk_ = disk == "all";
  TRY_ASSIGN(write_out_, json_get_or<bool>(request, "write_out", kRequest, false));
  if (with_memory_ && !box_.no_memory_reason.empty()) return fail(ErrorCode::kUnsupported, "{}", box_.no_memory_reason);
  if (with_memory_) {
    TRY_ASSIGN(device_state_, sys::open(box_.directory + "/device-state.new", O_WRONLY | O_NOFOLLOW));
  }
  if (disk != "none") {
    TRY_ASSIGN(layer_, sys::open(box_.directory + "/layer.new", O_RDWR | O_NOFOLLOW));
  }
  return {};
}

void Capture::freeze() {
  step_ = Step::kFreezing;
  proto::Call call;
  call.mutable_freeze()->set_write_out(write_out_);
  call.mutable_freeze()->set_what(with_memory_ ? proto::Freeze::PROCESSES : proto::Freeze::FILE_SYSTEM);
  frozen_ = true;  // it may be, from now on
  call_agent(
      box_.link, call,
      [self = shared_from_this()](const Result<proto::Reply>& reply) {
        if (self->step_ != Step::kFreezing) return;
        if (!reply) return self->give_up(reply.error());
        self->deadline_.stop();
        self->frozen();
      },
      // What is restored has read all of this call and nothing after it.
      [self = shared_from_this()] {
        if (self->with_memory_ && self->step_ == Step::kFreezing) self->box_.link.hold();
      });
  deadline_.start(kFreezePatience, [self = shared_from_this()] {
    self->give_up(Error(ErrorCode::kUnavailable, "the box does not come to rest"));
  });
}

void Capture::frozen() {
  step_ = Step::kStopping;
  if (!with_memory_) return copy_disk();
  stopped_ = true;
  box_.qmp.hold([self = shared_from_this()](const Result<void>& held) {
    if (self->step_ != Step::kStopping) return;
    if (!held) return self->give_up(held.error());
    self->save_devices();
  });
}

void Capture::save_devices() {
  save_device_state(box_.qmp, device_state_.get(), [self = shared_from_this()](const Result<void>& saved) {
    if (self->step_ != Step::kStopping) return;
    if (!saved) return self->give_up(saved.error().context("save the state of its devices"));
    self->ask_address();
  });
}

void Capture::ask_address() {
  box_.qmp.execute("human-monitor-command", {{"command-line", "gpa2hva 0"}},
                   [self = shared_from_this()](const Result<Json>& reply) {
                     if (self->step_ != Step::kStopping) return;
                     if (reply) self->address_ = address_in(*reply);
                     if (self->address_.empty())
                       return self->give_up(Error(ErrorCode::kInternal, "QEMU does not say where it has the memory"));
                     self->copy_disk();
                   });
}

// The copy is of this moment: before the guest overwrites a cluster that is not copied yet, QEMU copies it.
void Capture::copy_disk() {
  if (!layer_) return tell();
  const auto failure = std::make_shared<std::optional<Error>>();
  const auto note = [failure](const Result<Json>& reply) {
    if (!reply && !*failure) *failure = reply.error();
  };
  box_.qmp.execute("add-fd", {{"fdset-id", kFdSet}}, note, layer_.get());
  box_.qmp.execute("blockdev-add",
                   {{"driver", "file"}, {"node-name", "capture-file"}, {"filename", fmt::format("/dev/fdset/{}", kFdSet)}}, note);
  box_.qmp.execute("blockdev-add",
                   {{"driver", "qcow2"},
                    {"node-name", "capture"},
                    {"file", "capture-file"},
                    {"backing", whole_disk_ ? "base" : box_.disk_below}},
                   note);
  copying_ = true;
  box_.qmp.on_job_end(kJob, [self = shared_from_this()](const Result<void>& copied) { self->on_copied(copied); });
  box_.qmp.execute("blockdev-backup",
                   {{"job-id", kJob}, {"device", "disk"}, {"target", "capture"}, {"sync", whole_disk_ ? "full" : "top"}},
                   [self = shared_from_this(), failure](const Result<Json>& reply) {
                     if (!reply) {
                       self->box_.qmp.on_job_end(kJob, {});
                       self->on_copied(std::unexpected(*failure ? **failure : reply.error()));
                       return;
                     }
                     // Then it goes to something that was left of an earlier one.
                     if (*failure) return self->give_up((*failure)->context("copy its disk"));
                     if (self->step_ == Step::kStopping) self->tell();
                   });
}

void Capture::tell() {
  step_ = Step::kTold;
  if (!with_memory_) return go_on();
  box_.link.receive_now();
  if (step_ != Step::kTold) return;
  const std::array<std::uint64_t, 2> read = box_.output_read();
  deadline_.start(kClientPatience + std::chrono::milliseconds(box_.memory_mib * kMsPerMib), [self = shared_from_this()] {
    self->give_up(Error(ErrorCode::kUnavailable, "whoever asked for it does not go on"));
  });
  send({{"memory_at", address_}, {"stdout", read[0]}, {"stderr", read[1]}});
}

void Capture::go_on() {
  step_ = Step::kGoingOn;
  undo();
  finish_if_copied();
}

// The tables of the layer are written when QEMU closes it: it is whole after that.
void Capture::on_copied(const Result<void>& copied) {
  if (!copied && !failure_) failure_ = copied.error().context("copy its disk");
  box_.qmp.execute("blockdev-del", {{"node-name", "capture"}}, [self = shared_from_this()](const Result<Json>& reply) {
    if (!reply && !self->failure_) self->failure_ = reply.error().context("copy its disk");
    self->copying_ = false;
    if (self->step_ == Step::kGoingOn) return self->finish_if_copied();
    if (self->failure_) self->give_up(*self->failure_);
  });
  box_.qmp.execute("blockdev-del", {{"node-name", "capture-file"}}, ignore);
  box_.qmp.execute("remove-fd", {{"fdset-id", kFdSet}}, ignore);
}

void Capture::finish_if_copied() {
  if (copying_ || step_ == Step::kOver) return;
  step_ = Step::kOver;
  send(failure_ ? error_of(*failure_) : Json({{"ok", true}}));
  over();
}

Result<void> Capture::commit() {
  FAILPOINT("suspend.begun");
  // A client that was killed has left the names to another.
  TRY_ASSIGN(const struct stat named, sys::stat(box_.directory + "/device-state.new"));
  TRY_ASSIGN(const struct stat written, sys::fstat(device_state_.get()));
  if (named.st_ino != written.st_ino) return fail(ErrorCode::kInvalidState, "its files are another checkpoint's by now");
  for (const char* file : {"memory", "device-state"}) {
    TRY(sys::rename(fmt::format("{}/{}.new", box_.directory, file), fmt::format("{}/{}", box_.directory, file)));
  }
  FAILPOINT("suspend.memory");
  // From here on the box is what this says.
  TRY(sys::rename(box_.directory + "/checkpoint.json.new", box_.directory + "/checkpoint.json"));
  if (const auto synced = sync_directory(box_.directory); !synced) log("{}", synced.error().message());
  return {};
}

void Capture::give_up(const Error& reason) {
  if (step_ == Step::kOver) return;
  if (!failure_) failure_ = reason;
  if (step_ != Step::kGoingOn) {
    step_ = Step::kGoingOn;
    undo();
  }
  if (copying_) box_.qmp.execute("block-job-cancel", {{"device", kJob}, {"force", true}}, ignore);
  finish_if_copied();
}

void Capture::undo() {
  deadline_.stop();
  const bool stood_still = std::exchange(stopped_, false);
  if (stood_still) {
    box_.qmp.let_go();
    // While a VM stands still QEMU closes none of what is removed.
    for (const int set : {kDeviceStateFdSet, kFdSet}) box_.qmp.execute("remove-fd", {{"fdset-id", set}}, ignore);
  }
  if (!std::exchange(frozen_, false)) return;
  if (with_memory_) box_.link.release();
  if (stood_still) events_.on_running_again();
  proto::Call call;
  call.mutable_thaw();
  call_agent(box_.link, call, [](const Result<proto::Reply>& reply) {
    if (!reply) log("thaw the box: {}", reply.error().message());
  });
}

void Capture::vm_ended() {
  copying_ = false;
  frozen_ = false;
  give_up(Error(ErrorCode::kUnavailable, "the box has ended"));
}

void Capture::send(const Json& message) { send_line(client_.get(), message); }

void Capture::over() {
  const auto self = shared_from_this();
  watch_.reset();
  client_.reset();
  events_.on_over();
}

}  // namespace boxlite::shim
