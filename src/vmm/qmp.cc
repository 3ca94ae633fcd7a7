#include "vmm/qmp.h"

namespace boxlite::vmm {

void QmpClient::send(std::uint64_t id, std::string_view command, const Json& arguments) {
  Json message = {{"execute", command}, {"id", id}};
  if (!arguments.empty()) message["arguments"] = arguments;
  (greeted_ ? output_ : before_greeting_) += dump_json(message) + "\n";
}

void QmpClient::execute(std::string_view command, const Json& arguments, OnReply on_reply) {
  const std::uint64_t id = next_id_++;
  waiting_.emplace(id, std::move(on_reply));
  send(id, command, arguments);
}

Result<void> QmpClient::feed(std::span<const std::byte> data) {
  std::string_view rest(reinterpret_cast<const char*>(data.data()), data.size());
  while (!rest.empty()) {
    const std::size_t newline = rest.find('\n');
    input_ += rest.substr(0, newline);
    if (input_.size() > kMaxLine) return fail(ErrorCode::kCorrupt, "QMP: a line of more than {} bytes", kMaxLine);
    if (newline == std::string_view::npos) return {};
    rest.remove_prefix(newline + 1);
    const std::string line = std::exchange(input_, {});
    if (line.find_first_not_of(" \t\r") != std::string::npos) TRY(handle_line(line));
  }
  return {};
}

Result<void> QmpClient::handle_line(std::string_view line) {
  TRY_ASSIGN(const Json message, parse_json(line, "QMP"));
  if (!message.is_object()) return fail(ErrorCode::kCorrupt, "QMP: a message that is no object");
  if (message.contains("event")) {
    TRY_ASSIGN(const std::string event, json_get<std::string>(message, "event", "QMP event"));
    if (on_event_) on_event_(event, message.value("data", Json::object()));
    return {};
  }
  if (message.contains("QMP")) {
    if (greeted_) return fail(ErrorCode::kCorrupt, "QMP: a second greeting");
    greeted_ = true;
    // Capabilities are negotiated before anything else is accepted; a failure shows in the commands that follow.
    send(0, "qmp_capabilities", Json::object());
    output_ += std::exchange(before_greeting_, {});
    return {};
  }
  return handle_reply(message);
}

Result<void> QmpClient::handle_reply(const Json& message) {
  TRY_ASSIGN(const auto id, json_get<std::uint64_t>(message, "id", "QMP reply"));
  if (id == 0) return {};
  const auto found = waiting_.find(id);
  if (found == waiting_.end()) return fail(ErrorCode::kCorrupt, "QMP: a reply to no command (id {})", id);
  const OnReply on_reply = std::move(found->second);
  waiting_.erase(found);
  if (message.contains("return")) {
    on_reply(message.at("return"));
    return {};
  }
  TRY_ASSIGN(const Json error, json_get<Json>(message, "error", "QMP reply"));
  TRY_ASSIGN(const std::string description, json_get<std::string>(error, "desc", "QMP error"));
  on_reply(fail(ErrorCode::kInternal, "QEMU: {}", description));
  return {};
}

void QmpClient::close(const Error& error) {
  auto waiting = std::exchange(waiting_, {});
  for (const auto& [id, on_reply] : waiting) on_reply(std::unexpected(error));
}

}  // namespace boxlite::vmm
