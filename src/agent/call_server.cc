#include "agent/call_server.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace boxlite::agent {
namespace {

// No more input is taken from the reader while this much waits for the command.
constexpr std::size_t kMaxQueuedInput = portal::kMaxChunk;
constexpr std::size_t kMaxErrorText = 4096;

std::string encode(const google::protobuf::MessageLite& message) {
  auto bytes = portal::encode_message(message);
  return bytes ? std::move(*bytes) : std::string();  // ours are far smaller than the limit
}

proto::Reply started(const Session& session) {
  proto::Reply reply;
  proto::Started& started = *reply.mutable_started();
  started.set_session_id(session.id());
  started.set_pid(session.pid_in_container());
  started.set_tty(session.tty());
  started.set_has_stdin(session.has_stdin());
  return reply;
}

}  // namespace

struct CallServer::Stream {
  enum class State { kCall, kWaiting, kView, kEnding };

  Stream(portal::StreamId stream_id, Link& stream_link) : id(stream_id), link(stream_link) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() {
    if (session) session->detach(&position);
  }

  portal::StreamId id;
  Link& link;
  State state = State::kCall;
  portal::MessageReader reader;
  std::size_t owed = 0;  // bytes received and not consumed yet
  bool host_ended = false;

  std::string out;  // one encoded message
  std::size_t out_sent = 0;

  std::shared_ptr<Session> session;
  Reader position;
  bool no_stdin = false;
  bool reading_input = false;

  void consume() {
    if (link.mux() != nullptr) link.mux()->consume(id, std::exchange(owed, 0));
  }
};

CallServer::CallServer(EventLoop& loop, UniqueFd port, std::function<void(Caller, const proto::Call&)> on_call)
    : on_call_(std::move(on_call)),
      link_(loop, std::move(port),
            {.on_epoch = [this] { streams_.clear(); },
             .mux = {.on_open = [this](portal::StreamId id) { streams_.emplace(id, std::make_shared<Stream>(id, link_)); },
                     .on_data = [this](portal::StreamId id, std::span<const std::byte> data) { on_data(id, data); },
                     .on_end = [this](portal::StreamId id) { on_end(id); },
                     .on_reset = [this](portal::StreamId id) { streams_.erase(id); },
                     .on_writable =
                         [this](portal::StreamId id) {
                           if (const StreamPtr stream = find(id)) pump(stream);
                         }}}) {}

CallServer::StreamPtr CallServer::find(portal::StreamId id) const {
  const auto it = streams_.find(id);
  return it == streams_.end() ? nullptr : it->second;
}

void CallServer::forget(const StreamPtr& stream) {
  const auto it = streams_.find(stream->id);
  if (it != streams_.end() && it->second == stream) streams_.erase(it);
}

bool CallServer::all_sent() const {
  return link_.drained() && std::ranges::all_of(streams_, [](const auto& entry) {
           const Stream& stream = *entry.second;
           return stream.state == Stream::State::kCall || (stream.state == Stream::State::kEnding && stream.out.empty());
         });
}

// ---- From the host

void CallServer::on_data(portal::StreamId id, std::span<const std::byte> data) {
  const StreamPtr stream = find(id);
  if (!stream) return;
  stream->owed += data.size();
  switch (stream->state) {
    case Stream::State::kCall:
      stream->reader.feed(data);
      return read_call(stream);
    case Stream::State::kWaiting:
      return stream->reader.feed(data);  // at most a window; read when the view is open
    case Stream::State::kView:
      stream->reader.feed(data);
      return read_input(stream);
    case Stream::State::kEnding:
      return stream->consume();
  }
}

void CallServer::read_call(const StreamPtr& stream) {
  stream->consume();  // a call may be larger than the window
  proto::Call call;
  const auto complete = stream->reader.next(call);
  if (!complete) {
    link_.mux()->reset(stream->id);
    return forget(stream);
  }
  if (!*complete) return;
  stream->state = Stream::State::kWaiting;
  on_call_(stream, call);
}

void CallServer::read_input(const StreamPtr& stream) {
  if (stream->reading_input) return;  // the session took what we are giving it
  stream->reading_input = true;
  Session& session = *stream->session;
  while (session.input_queued() < kMaxQueuedInput) {
    proto::SessionInput input;
    const auto complete = stream->reader.next(input);
    const bool refused = complete && *complete && input.has_data() && (stream->no_stdin || !session.has_stdin());
    if (!complete || refused || (*complete && input.has_data() && input.data().size() > portal::kMaxChunk)) {
      link_.mux()->reset(stream->id);
      return forget(stream);
    }
    if (!*complete) {
      stream->consume();  // what is left is the beginning of a message, which could be larger than the window
      break;
    }
    if (input.has_data()) session.write_input(std::move(*input.mutable_data()));
    if (input.has_eof() && !stream->no_stdin) session.end_input();
  }
  stream->reading_input = false;
}

void CallServer::on_end(portal::StreamId id) {
  const StreamPtr stream = find(id);
  if (!stream) return;
  stream->host_ended = true;
  switch (stream->state) {
    case Stream::State::kWaiting:
      return;  // it has asked and waits for the answer
    case Stream::State::kCall:
    case Stream::State::kView:
      link_.mux()->finish(id);
      return forget(stream);
    case Stream::State::kEnding:
      if (stream->out.empty()) forget(stream);
      return;
  }
}

// ---- To the host

void CallServer::answer(const Caller& caller, const proto::Reply& reply, bool last) {
  const StreamPtr stream = caller.lock();
  if (!stream || find(stream->id) != stream || stream->state != Stream::State::kWaiting) return;
  stream->out = encode(reply);
  stream->state = last || stream->host_ended ? Stream::State::kEnding : Stream::State::kView;
  pump(stream);
}

void CallServer::reply(const Caller& caller, const Result<void>& result) {
  proto::Reply reply;
  if (result) {
    reply.mutable_ok();
  } else {
    reply.mutable_failure()->set_code(std::string(name(result.error().code())));
    reply.mutable_failure()->set_message(result.error().message().substr(0, kMaxErrorText));
  }
  answer(caller, reply, true);
}

void CallServer::reply_started(const Caller& caller, const Session& session) { answer(caller, started(session), true); }

void CallServer::open_view(const Caller& caller, std::shared_ptr<Session> session, Reader position, bool no_stdin) {
  const StreamPtr stream = caller.lock();
  if (!stream || stream->state != Stream::State::kWaiting) return;
  proto::Reply reply = started(*session);
  reply.mutable_started()->set_stdout_end(session->output(0).end());
  if (!stream->host_ended) {
    stream->session = std::move(session);
    stream->position = position;
    stream->no_stdin = no_stdin;
    stream->session->attach(&stream->position);
  }
  answer(caller, reply, false);
  if (stream->state == Stream::State::kView) read_input(stream);
}

void CallServer::pump(const StreamPtr& stream) {
  portal::Mux* mux = link_.mux();
  if (mux == nullptr) return;
  do {
    if (!stream->out.empty()) {
      const auto rest = std::as_bytes(std::span(stream->out)).subspan(stream->out_sent);
      stream->out_sent += mux->send(stream->id, rest);
      if (stream->out_sent < stream->out.size()) return;
      stream->out.clear();
      stream->out_sent = 0;
    }
    if (stream->state == Stream::State::kEnding) {
      mux->finish(stream->id);
      if (stream->session) std::exchange(stream->session, nullptr)->detach(&stream->position);
      if (!mux->alive(stream->id)) forget(stream);
      return;
    }
  } while (stream->state == Stream::State::kView && mux->writable(stream->id) > 0 && next_output(*stream));
}

// Says the next of the session, its end by way of stream.out; false: nothing to say now.
bool CallServer::next_output(Stream& stream) {
  Session& session = *stream.session;
  portal::Mux& mux = *link_.mux();
  bool said = false;
  for (std::size_t i = 0; i < kStreams; ++i) {
    const OutputRing& ring = session.output(static_cast<int>(i));
    std::uint64_t& offset = stream.position.offset[i];
    offset = std::max(offset, ring.begin());
    if (offset == ring.end()) continue;
    const std::size_t room = mux.writable(stream.id);
    if (room <= portal::kMaxChunkHead) return said;  // the mux tells when there is more
    const std::string_view piece = ring.peek(offset, std::min(portal::kMaxChunk, room - portal::kMaxChunkHead));
    const auto which = i == 0 ? proto::Chunk::STDOUT : proto::Chunk::STDERR;
    const std::string head = portal::encode_chunk_head(which, offset, piece.size());
    mux.send(stream.id, std::as_bytes(std::span(head)));
    mux.send(stream.id, std::as_bytes(std::span(piece)));
    offset += piece.size();
    said = true;
  }
  if (said) {
    session.advanced();
    return true;
  }
  if (!session.finished()) return false;
  proto::SessionOutput message;
  proto::Exited& exited = *message.mutable_exited();
  exited.set_code(session.exit().status.code);
  exited.set_signal(session.exit().status.signal);
  exited.set_oom_killed(session.exit().oom_killed);
  exited.set_timed_out(session.exit().timed_out);
  stream.out = encode(message);
  stream.state = Stream::State::kEnding;
  return true;
}

// ---- From sessions

void CallServer::session_progressed(Session& session) {
  std::vector<StreamPtr> views;
  for (const auto& [id, stream] : streams_) {
    if (stream->session.get() == &session && stream->state == Stream::State::kView) views.push_back(stream);
  }
  for (const StreamPtr& view : views) pump(view);
}

void CallServer::session_took_input(Session& session) {
  std::vector<StreamPtr> views;
  for (const auto& [id, stream] : streams_) {
    if (stream->session.get() == &session && stream->state == Stream::State::kView) views.push_back(stream);
  }
  for (const StreamPtr& view : views) read_input(view);
}

}  // namespace boxlite::agent
