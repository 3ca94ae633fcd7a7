// QEMU's machine protocol (docs/interop/qmp-spec.rst of QEMU), the client's side.
//
// JSON objects on lines: a greeting, then replies matched to commands by id, and events at any moment. QEMU may have been taken
// over by its guest, so lines are bounded and whatever does not follow the protocol ends the connection (feed() returns an error
// and every waiting command fails). Sans-IO: bytes in by feed(), bytes out by take_output(). Callbacks run inside feed() or
// close() and may call execute(). Not thread safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace boxlite::vmm {

class QmpClient {
 public:
  static constexpr std::size_t kMaxLine = std::size_t{1} << 20U;

  using OnReply = std::function<void(Result<Json>)>;
  using OnEvent = std::function<void(const std::string& name, const Json& data)>;

  explicit QmpClient(OnEvent on_event) : on_event_(std::move(on_event)) {}

  /// Of a QEMU that was asked for its greeting in another life (process_image.h): there will be none.
  void assume_greeted() { greeted_ = true; }

  /// Queues a command; before the greeting it waits for it. `on_reply` gets what QEMU returned, or QEMU's error, exactly once.
  void execute(std::string_view command, const Json& arguments, OnReply on_reply);

  Result<void> feed(std::span<const std::byte> data);

  /// Bytes to send now.
  std::string take_output() { return std::exchange(output_, {}); }

  /// The connection is over: every command without a reply fails with `error`.
  void close(const Error& error);

 private:
  Result<void> handle_line(std::string_view line);
  Result<void> handle_reply(const Json& message);
  void send(std::uint64_t id, std::string_view command, const Json& arguments);

  OnEvent on_event_;
  std::map<std::uint64_t, OnReply> waiting_;
  std::string input_;
  std::string output_;
  std::string before_greeting_;  // commands that came too early
  std::uint64_t next_id_ = 1;
  bool greeted_ = false;
};

}  // namespace boxlite::vmm
