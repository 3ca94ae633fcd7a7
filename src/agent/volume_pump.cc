#include "agent/volume_pump.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <utility>

#include "agent.pb.h"
#include "agent/boot.h"
#include "agent/event_loop.h"
#include "agent/link.h"
#include "agent/volume_pipe.h"
#include "base/sys.h"
#include "portal/message_codec.h"

namespace boxlite::agent {
namespace {

class Pump {
 public:
  Pump(EventLoop& loop, UniqueFd port, std::map<std::uint32_t, UniqueFd> sockets)
      : loop_(loop),
        sockets_(std::move(sockets)),
        link_(loop, std::move(port),
              {.on_epoch = [this] { streams_.clear(); },
               .mux = {.on_open = [this](portal::StreamId id) { streams_.emplace(id, std::make_shared<Stream>()); },
                       .on_data = [this](portal::StreamId id, std::span<const std::byte> data) { on_data(id, data); },
                       .on_end = [this](portal::StreamId id) { on_end(id); },
                       .on_reset = [this](portal::StreamId id) { streams_.erase(id); },
                       .on_writable =
                           [this](portal::StreamId id) {
                             const auto it = streams_.find(id);
                             if (it != streams_.end() && it->second->pipe) it->second->pipe->on_writable();
                           }}}) {}

  Result<void> run() {
    TRY(link_.start());
    while (!sockets_.empty() || !streams_.empty()) {
      TRY(loop_.turn());
      link_.flush();
    }
    link_.drain(std::chrono::milliseconds(1000));
    return {};
  }

 private:
  struct Stream {
    portal::MessageReader call;
    std::unique_ptr<VolumePipe> pipe;
  };

  void on_data(portal::StreamId id, std::span<const std::byte> data) {
    const auto it = streams_.find(id);
    if (it == streams_.end()) return;
    const std::shared_ptr<Stream> stream = it->second;
    if (stream->pipe) return stream->pipe->receive(data);
    link_.mux()->consume(id, data.size());
    stream->call.feed(data);
    proto::Call call;
    const auto complete = stream->call.next(call);
    if (complete && !*complete) return;
    if (!complete || !open(id, *stream, call)) {
      link_.mux()->reset(id);
      streams_.erase(id);
    }
  }

  // The server speaks only when it is asked, so nothing of it is behind the call.
  bool open(portal::StreamId id, Stream& stream, const proto::Call& call) {
    auto socket = sockets_.extract(call.serve_volume().index());
    if (!call.has_serve_volume() || socket.empty()) return false;
    VolumePipe::Handler handler;
    handler.room = [this, id] { return link_.mux() != nullptr ? link_.mux()->writable(id) : 0; };
    handler.send = [this, id](std::span<const std::byte> data) {
      if (link_.mux() != nullptr) link_.mux()->send(id, data);
    };
    handler.consume = [this, id](std::size_t count) {
      if (link_.mux() != nullptr) link_.mux()->consume(id, count);
    };
    handler.on_end = [this, id] { on_end(id); };
    stream.pipe = std::make_unique<VolumePipe>(loop_, std::move(socket.mapped()), std::move(handler));
    return stream.pipe->start().has_value();
  }

  // Either side is gone.
  void on_end(portal::StreamId id) {
    if (streams_.erase(id) != 0 && link_.mux() != nullptr) link_.mux()->finish(id);
  }

  EventLoop& loop_;
  std::map<std::uint32_t, UniqueFd> sockets_;  // of volumes that nobody serves yet
  std::map<portal::StreamId, std::shared_ptr<Stream>> streams_;
  Link link_;
};

Result<void> run_pump(std::map<std::uint32_t, UniqueFd> sockets) {
  TRY_ASSIGN(const std::unique_ptr<EventLoop> loop, EventLoop::create());
  TRY_ASSIGN(UniqueFd port, open_port("boxlite.volumes"));
  Pump pump(*loop, std::move(port), std::move(sockets));
  return pump.run();
}

}  // namespace

Result<VolumePump> start_volume_pump(std::vector<VolumeMount>& volumes) {
  VolumePump pump;
  if (volumes.empty()) return pump;
  std::map<std::uint32_t, UniqueFd> sockets;
  for (VolumeMount& volume : volumes) {
    TRY_ASSIGN(sys::SocketPair pair, sys::socket_pair());
    TRY(sys::set_nonblocking(pair.a.get(), true));
    volume.connection = pair.a.get();
    pump.clients.push_back(std::move(pair.a));
    sockets[volume.index] = std::move(pair.b);
  }
  pump.pid = ::fork();
  if (pump.pid < 0) return fail_errno("start the volumes' pump");
  if (pump.pid == 0) {
    ::prctl(PR_SET_NAME, "boxlite-volumes");
    // Not the clients, or it would never see their end; nor what else keeps them alive.
    std::vector<int> own;
    for (const auto& [index, socket] : sockets) own.push_back(socket.get());
    sys::close_all_but(own);
    if (const auto result = run_pump(std::move(sockets)); !result) say(result.error().context("volumes").message());
    ::_exit(0);
  }
  return pump;
}

}  // namespace boxlite::agent
