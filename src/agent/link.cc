#include "agent/link.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/file.h"
#include "base/sys.h"
#include "portal/byte_order.h"

namespace boxlite::agent {
namespace {

constexpr std::size_t kLinkReadSize = std::size_t{32} * 1024;
constexpr const char* kPorts = "/sys/class/virtio-ports";

// The device name of the port called `name`; "" while there is none.
std::string find_port(const std::string& name) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(kPorts), ::closedir);
  if (!directory) return {};
  while (const dirent* entry = ::readdir(directory.get())) {
    if (entry->d_name[0] == '.') continue;
    const auto text = read_file(fmt::format("{}/{}/name", kPorts, entry->d_name), 256);
    if (text && *text == name + "\n") return entry->d_name;
  }
  return {};
}

}  // namespace

Result<UniqueFd> open_port(const std::string& name) {
  // The host announces a port's name after the driver is up; no event of ours is earlier than asking again.
  std::string device = find_port(name);
  for (int tries = 0; device.empty(); device = find_port(name)) {
    if (++tries > 30'000) return fail(ErrorCode::kNotFound, "no virtio-serial port is called {}", name);
    const timespec pause = {0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
  return sys::open("/dev/" + device, O_RDWR | O_NONBLOCK);
}

std::size_t Link::FrameTracker::frames(std::span<const std::byte> data) {
  std::size_t done = 0;
  while (done < data.size()) {
    if (payload_left_ > 0) {
      const std::size_t count = std::min(payload_left_, data.size() - done);
      payload_left_ -= count;
      done += count;
      continue;
    }
    if (header_size_ == 0 && data[done] != std::byte{0}) break;  // a frame begins with its version, 0
    header_[header_size_++] = data[done++];
    if (header_size_ < sizeof header_) continue;
    header_size_ = 0;
    if (header_[1] == std::byte{0}) payload_left_ = portal::get_be<std::uint32_t>(&header_[8]);  // a data frame's length
  }
  return done;
}

Link::Link(EventLoop& loop, UniqueFd port, Handler handler)
    : loop_(loop),
      port_(std::move(port)),
      handler_(std::move(handler)),
      scanner_(portal::Sender::kHost, std::nullopt),
      buffer_(kLinkReadSize) {}

Result<void> Link::start() {
  return loop_.watch(port_.get(), EPOLLIN | EPOLLOUT | EPOLLET, [this](std::uint32_t events) { on_event(events); });
}

void Link::on_event(std::uint32_t) {
  for (;;) {
    const auto count = sys::read(port_.get(), buffer_);
    if (!count) return;  // EAGAIN; any other error comes again and would only spin
    if (*count == 0) {
      if (mux_) end_epoch();
      return;
    }
    receive(std::span(buffer_).first(*count));
  }
}

void Link::receive(std::span<const std::byte> data) {
  while (!data.empty()) {
    if (mux_) {
      const std::size_t count = tracker_.frames(data);
      const auto fed = mux_->feed(data.first(count));
      data = data.subspan(count);
      // What is left begins no frame: a new header, or a host that lost its way. A broken frame likewise ends the epoch, and the
      // host will notice that nothing answers until it begins a new one.
      if (!fed || !data.empty()) end_epoch();
    } else {
      const auto found = scanner_.feed(data);
      if (!found) return;
      data = data.subspan(found->consumed);
      begin_epoch(found->header);
    }
  }
}

void Link::begin_epoch(const portal::EpochHeader& host) {
  portal::EpochHeader own;
  own.sender = portal::Sender::kAgent;
  own.nonce = host.nonce;
  const auto bytes = portal::encode(own);
  header_out_.assign(bytes.begin(), bytes.end());
  // A host of another version sees ours in the answer and goes no further: its frames are not for us.
  if (host.version != portal::kProtocolVersion) return;
  tracker_ = FrameTracker();
  mux_ = std::make_unique<portal::Mux>(portal::Mux::Role::kAgent, handler_.mux);
  handler_.on_epoch();
}

void Link::end_epoch() {
  mux_.reset();
  header_out_.clear();
  scanner_ = portal::EpochScanner(portal::Sender::kHost, std::nullopt);
  handler_.on_epoch();
}

void Link::flush() {
  while (!drained()) {
    const bool header = !header_out_.empty();
    const std::span<const std::byte> data = header ? std::span<const std::byte>(header_out_) : mux_->output();
    const ssize_t count = ::write(port_.get(), data.data(), data.size());
    if (count <= 0) return;  // full, or no host: the next edge comes when that changes
    if (header) {
      header_out_.erase(header_out_.begin(), header_out_.begin() + count);
    } else {
      mux_->drop_output(static_cast<std::size_t>(count));
    }
  }
}

bool Link::drained() const { return header_out_.empty() && (!mux_ || mux_->output().empty()); }

void Link::drain(std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (flush(); !drained(); flush()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return;
    const auto events = sys::poll_one(port_.get(), POLLOUT, left);
    if (!events || (*events & POLLHUP) != 0) return;
  }
}

}  // namespace boxlite::agent
