#include "shim/agent_call.h"

#include "runtime/printable.h"
#include "runtime/session_client.h"

namespace boxlite::shim {
namespace {

constexpr const char* kMainSession = "main";
constexpr std::size_t kMaxErrorText = 4096;
// A chunk of output, or a failure's text. Parsed, a message may take fifty times its size: the shim reads none that is longer.
constexpr std::size_t kMaxMessage = portal::kMaxChunk + 2 * kMaxErrorText;

const Error kGone(ErrorCode::kUnavailable, "the box ended before its agent had answered");

Result<proto::Reply> checked(proto::Reply reply) {
  if (reply.has_failure()) {
    return std::unexpected(
        Error(error_code_from_name(reply.failure().code()), printable(reply.failure().message(), kMaxErrorText)));
  }
  if (!reply.has_ok() && !reply.has_started()) return fail(ErrorCode::kCorrupt, "the agent's reply is empty");
  return reply;
}

// A stream that begins with a call. Sends it as the window allows, and hands on what comes back, message by message.
class CallStream : public StreamListener, public std::enable_shared_from_this<CallStream> {
 public:
  static void start(const std::shared_ptr<CallStream>& self, const proto::Call& call, std::size_t spare = 0) {
    auto message = portal::encode_message(call);
    if (!message) return self->fail_later(message.error());
    self->out_ = std::move(*message);
    const auto id = self->link_.open(self, spare);
    if (!id) return self->fail_later(id.error());
    self->id_ = *id;
    self->on_writable();
  }

  void on_data(std::span<const std::byte> data) override {
    link_.consume(id_, data.size());
    if (done_) return;
    const auto self = shared_from_this();  // the link drops us when the stream is reset
    reader_.feed(data);
    while (!done_) {
      const Result<bool> took = take_message(reader_);
      if (!took) return stop_with(took.error());
      if (!*took) return;
    }
  }
  void on_end() override { stop_with(kGone); }
  void on_gone() override { stop_with(kGone); }
  void on_writable() override {
    if (out_.empty() || done_) return;
    out_.erase(0, link_.send(id_, std::as_bytes(std::span(out_))));
    if (out_.empty()) on_sent();
  }

 protected:
  explicit CallStream(AgentLink& link) : link_(link) {}

  /// Takes one message; false: there is none yet.
  virtual Result<bool> take_message(portal::MessageReader& reader) = 0;
  virtual void on_failed(const Error& error) = 0;
  virtual void on_sent() {}

  /// Everything has been said.
  void finish() {
    done_ = true;
    link_.reset(id_);
  }

 private:
  void stop_with(const Error& error) {
    if (std::exchange(done_, true)) return;
    const auto self = shared_from_this();
    link_.reset(id_);
    on_failed(error);
  }
  // Not from within start(): callers do not expect an answer before it returns.
  void fail_later(const Error& error) {
    link_.later([self = shared_from_this(), error] { self->stop_with(error); });
  }

  AgentLink& link_;
  portal::StreamId id_ = 0;
  portal::MessageReader reader_{kMaxMessage};
  std::string out_;
  bool done_ = false;
};

class OneCall final : public CallStream {
 public:
  OneCall(AgentLink& link, OnReply on_reply, std::function<void()> on_sent)
      : CallStream(link), on_reply_(std::move(on_reply)), on_sent_(std::move(on_sent)) {}

 private:
  Result<bool> take_message(portal::MessageReader& reader) override {
    proto::Reply reply;
    TRY_ASSIGN(const bool whole, reader.next(reply));
    if (!whole) return false;
    finish();
    on_reply_(checked(std::move(reply)));
    return true;
  }
  void on_failed(const Error& error) override { on_reply_(std::unexpected(error)); }
  void on_sent() override {
    if (const auto sent = std::exchange(on_sent_, nullptr)) sent();
  }

  OnReply on_reply_;
  std::function<void()> on_sent_;
};

class MainView final : public CallStream {
 public:
  MainView(AgentLink& link, ViewEvents events) : CallStream(link), events_(std::move(events)) {}

 private:
  Result<bool> take_message(portal::MessageReader& reader) override {
    return attached_ ? take_output(reader) : take_reply(reader);
  }

  Result<bool> take_reply(portal::MessageReader& reader) {
    proto::Reply reply;
    TRY_ASSIGN(const bool whole, reader.next(reply));
    if (!whole) return false;
    TRY(checked(std::move(reply)));
    attached_ = true;
    events_.on_attached({});
    return true;
  }

  Result<bool> take_output(portal::MessageReader& reader) {
    proto::SessionOutput output;
    TRY_ASSIGN(const bool whole, reader.next(output));
    if (!whole) return false;
    if (output.has_exited()) {
      TRY_ASSIGN(const ExitInfo info, exit_info(output.exited()));
      finish();
      events_.on_exited(info);
      return true;
    }
    if (!output.has_chunk()) return fail(ErrorCode::kCorrupt, "the agent sent an empty piece of output");
    const proto::Chunk& chunk = output.chunk();
    events_.on_output(chunk.stream() == proto::Chunk::STDERR ? OutputStream::kStderr : OutputStream::kStdout, chunk.offset(),
                      chunk.data());
    return true;
  }

  void on_failed(const Error& error) override {
    if (attached_) {
      events_.on_lost(error);
    } else {
      events_.on_attached(std::unexpected(error));
    }
  }

  ViewEvents events_;
  bool attached_ = false;
};

}  // namespace

void call_agent(AgentLink& link, const proto::Call& call, OnReply on_reply, std::function<void()> on_sent, std::size_t spare) {
  CallStream::start(std::make_shared<OneCall>(link, std::move(on_reply), std::move(on_sent)), call, spare);
}

void view_main(AgentLink& link, std::uint64_t stdout_offset, std::uint64_t stderr_offset, ViewEvents events) {
  proto::Call call;
  call.mutable_attach()->set_session_id(kMainSession);
  call.mutable_attach()->set_no_stdin(true);
  call.mutable_attach()->set_stdout_offset(stdout_offset);
  call.mutable_attach()->set_stderr_offset(stderr_offset);
  CallStream::start(std::make_shared<MainView>(link, std::move(events)), call);
}

}  // namespace boxlite::shim
