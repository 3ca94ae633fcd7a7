#include "runtime/copy.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/sys.h"
#include "files/landing.h"
#include "files/pack.h"
#include "files/unpack.h"
#include "runtime/printable.h"
#include "runtime/session_client.h"

namespace boxlite {
namespace {

constexpr std::size_t kBlock = 64 * 1024;
constexpr std::size_t kTarBlock = 512;  // the least that an archive has
constexpr std::size_t kMaxErrorText = 1024;

class Transfer {
 public:
  static Result<Transfer> begin(const BoxAddress& box, const proto::Call& call, int interrupt_fd) {
    TRY_ASSIGN(SessionView view, open_session(box, call, kAgentTimeout, interrupt_fd));
    view.open_stdin = call.has_copy_in();
    return Transfer(make_execution(std::move(view)), interrupt_fd);
  }

  /// The stream from the box; 0: the box's side has ended.
  Result<std::size_t> read(std::span<std::byte> buffer);
  /// The stream into the box.
  Result<void> write(std::span<const std::byte> data);
  /// The end: `ours` is what became of it on this side.
  Result<void> finish(const Result<void>& ours);

 private:
  Transfer(Execution session, int interrupt_fd) : session_(std::move(session)), interrupt_fd_(interrupt_fd) {}
  Result<void> check_interrupt() const;
  Result<bool> take_event();
  Result<void> wait();
  Result<void> verdict() const;

  Execution session_;
  int interrupt_fd_;
  std::string data_;
  std::size_t begin_ = 0;
  std::string error_;
  std::optional<ExitInfo> exit_;
};

Result<void> Transfer::check_interrupt() const {
  pollfd entry = {interrupt_fd_, POLLIN, 0};
  if (::poll(&entry, 1, 0) > 0) return fail(ErrorCode::kUnavailable, "interrupted");
  return {};
}

Result<bool> Transfer::take_event() {
  TRY(check_interrupt());  // also when the box never pauses
  TRY_ASSIGN(std::optional<SessionEvent> event, session_.next(std::chrono::milliseconds(0)));
  if (!event) return false;
  if (auto* chunk = std::get_if<OutputChunk>(&*event)) {
    if (chunk->stream == OutputStream::kStdout) {
      data_ = std::move(chunk->data);
      begin_ = 0;
    } else {
      error_ += chunk->data.substr(0, kMaxErrorText - std::min(kMaxErrorText, error_.size()));
    }
  } else {
    exit_ = std::get<ExitInfo>(*event);
  }
  return true;
}

Result<void> Transfer::wait() {
  const auto wanted = static_cast<short>(session_.wants_write() ? POLLIN | POLLOUT : POLLIN);
  std::array<pollfd, 2> entries = {pollfd{session_.poll_fd(), wanted, 0}, pollfd{interrupt_fd_, POLLIN, 0}};
  while (::poll(entries.data(), entries.size(), -1) < 0) {
    if (errno != EINTR) return fail_errno("wait for the box");
  }
  return check_interrupt();
}

Result<std::size_t> Transfer::read(std::span<std::byte> buffer) {
  while (begin_ == data_.size()) {
    if (exit_) return 0;
    TRY_ASSIGN(const bool taken, take_event());
    if (!taken) TRY(wait());
  }
  const std::size_t count = std::min(buffer.size(), data_.size() - begin_);
  std::memcpy(buffer.data(), data_.data() + begin_, count);
  begin_ += count;
  return count;
}

Result<void> Transfer::write(std::span<const std::byte> data) {
  while (!data.empty()) {
    // It may have given up: nothing else tells, since what nobody reads is taken and dropped.
    TRY_ASSIGN(const bool taken, take_event());
    if (exit_) return fail(ErrorCode::kIo, "the box took only a part");
    if (taken) continue;
    TRY_ASSIGN(const std::size_t count, session_.write_stdin(data));
    data = data.subspan(count);
    if (count == 0) TRY(wait());
  }
  return {};
}

Result<void> Transfer::verdict() const {
  if (exit_->code == 0) return {};
  const std::size_t newline = error_.find('\n');
  if (newline == std::string::npos) {
    return fail(ErrorCode::kUnavailable, "the copy was ended in the box{}", exit_->oom_killed ? ": out of memory" : "");
  }
  return std::unexpected(
      Error(error_code_from_name(error_.substr(0, newline)), printable(error_.substr(newline + 1), kMaxErrorText)));
}

Result<void> Transfer::finish(const Result<void>& ours) {
  // A reason of the box's explains what it did to us.
  if (!ours) return exit_ && exit_->code != 0 ? verdict() : ours;
  TRY(session_.close_stdin());
  while (!exit_) {
    TRY_ASSIGN(const bool taken, take_event());
    if (!taken) TRY(wait());
  }
  return verdict();
}

proto::Call copy_out_call(const std::string& path, bool follow_link) {
  proto::Call call;
  call.mutable_copy_out()->set_path(path);
  call.mutable_copy_out()->set_follow_link(follow_link);
  return call;
}

proto::Call copy_in_call(const std::string& path, const std::string& root, bool archive) {
  proto::Call call;
  call.mutable_copy_in()->set_path(path);
  call.mutable_copy_in()->set_root(root);
  call.mutable_copy_in()->set_archive(archive);
  return call;
}

// The box would only call it damaged. The first bytes of the formats that tar(1) writes.
Result<void> refuse_compressed(std::span<const std::byte> begin) {
  constexpr std::pair<std::string_view, std::string_view> kFormats[] = {{"\x1f\x8b", "gzip"},
                                                                        {"BZh", "bzip2"},
                                                                        {"\xfd"
                                                                         "7zXZ",
                                                                         "xz"},
                                                                        {"\x28\xb5\x2f\xfd", "zstd"}};
  const std::string_view text(reinterpret_cast<const char*>(begin.data()), begin.size());
  for (const auto& [magic, program] : kFormats) {
    if (text.starts_with(magic))
      return fail(ErrorCode::kInvalidArgument, "the tar archive is compressed; unpack it on the way: {} -dc | boxlite cp - …",
                  program);
  }
  return {};
}

}  // namespace

Result<void> copy_out_of_box(const BoxAddress& box, const std::string& box_path, const std::string& host_path,
                             const CopyOptions& options) {
  TRY_ASSIGN(Transfer transfer, Transfer::begin(box, copy_out_call(box_path, options.follow_link), options.interrupt_fd));
  files::TarReader reader([&](std::span<std::byte> buffer) { return transfer.read(buffer); });
  const files::UnpackOptions unpack = {.archive = options.archive, .devices = options.archive && ::geteuid() == 0};
  return transfer.finish(files::unpack_to(reader, host_path, files::root_name(box_path), unpack));
}

Result<void> copy_into_box(const BoxAddress& box, const std::string& host_path, const std::string& box_path,
                           const CopyOptions& options) {
  const proto::Call call = copy_in_call(box_path, files::root_name(host_path), options.archive);
  TRY_ASSIGN(Transfer transfer, Transfer::begin(box, call, options.interrupt_fd));
  return transfer.finish(files::pack(host_path, {.follow_link = options.follow_link},
                                     [&](std::span<const std::byte> data) { return transfer.write(data); }));
}

Result<void> tar_out_of_box(const BoxAddress& box, const std::string& box_path, int fd, bool follow_link) {
  TRY_ASSIGN(Transfer transfer, Transfer::begin(box, copy_out_call(box_path, follow_link), -1));
  const auto relay = [&]() -> Result<void> {
    std::vector<std::byte> block(kBlock);
    for (;;) {
      TRY_ASSIGN(const std::size_t count, transfer.read(block));
      if (count == 0) return {};
      TRY(sys::write_all(fd, std::span(block).first(count)));
    }
  };
  return transfer.finish(relay());
}

Result<void> tar_into_box(const BoxAddress& box, int fd, const std::string& box_path, bool archive) {
  TRY_ASSIGN(Transfer transfer, Transfer::begin(box, copy_in_call(box_path, "", archive), -1));
  const auto relay = [&]() -> Result<void> {
    std::vector<std::byte> block(kBlock);
    TRY_ASSIGN(std::size_t count, sys::read_full(fd, std::span(block).first(kTarBlock)));
    TRY(refuse_compressed(std::span(block).first(count)));
    while (count != 0) {
      TRY(transfer.write(std::span(block).first(count)));
      TRY_ASSIGN(count, sys::read(fd, block));
    }
    return {};
  };
  return transfer.finish(relay());
}

}  // namespace boxlite
