#include "image/credential_helper.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/json.h"
#include "base/process.h"
#include "base/sys.h"

namespace boxlite::image {
namespace {

constexpr std::size_t kMaxAnswer = 64 * 1024;
// What the helpers of docker-credential-helpers print, with exit status 1, when they know nothing of a server.
constexpr std::string_view kNotFound = "credentials not found in native keychain";

using Clock = std::chrono::steady_clock;

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && name.front() != '.' && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  });
}

Result<std::string> find_in_path(const std::string& program, const std::vector<std::string>& environment) {
  const auto it = std::ranges::find_if(environment, [](const std::string& line) { return line.starts_with("PATH="); });
  std::string_view path = it == environment.end() ? std::string_view() : std::string_view(*it).substr(5);
  while (!path.empty()) {
    const std::size_t colon = std::min(path.find(':'), path.size());
    const std::string candidate = fmt::format("{}/{}", path.substr(0, colon), program);
    if (candidate.front() == '/' && ::access(candidate.c_str(), X_OK) == 0) return candidate;
    path.remove_prefix(std::min(colon + 1, path.size()));
  }
  return fail(ErrorCode::kNotFound,
              "credential helper {} is not installed; put it into PATH, or take it out of docker's config.json", program);
}

Result<std::string> read_answer(int fd, const std::string& program, Clock::time_point deadline) {
  std::string answer;
  std::array<std::byte, 4096> buffer = {};
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    TRY_ASSIGN(const short events, sys::poll_one(fd, POLLIN, std::max(left, std::chrono::milliseconds(0))));
    if (events == 0)
      return fail(ErrorCode::kUnavailable,
                  "credential helper {} does not answer; take it out of docker's config.json, or mend it", program);
    TRY_ASSIGN(const std::size_t count, sys::read(fd, buffer));
    if (count == 0) return answer;
    for (const std::byte b : std::span(buffer).first(count)) answer += static_cast<char>(b);
    if (answer.size() > kMaxAnswer)
      return fail(ErrorCode::kCorrupt, "credential helper {} answers with more than {} bytes", program, kMaxAnswer);
  }
}

}  // namespace

Result<std::optional<Credentials>> ask_credential_helper(const std::string& name, const std::string& server,
                                                         const std::vector<std::string>& environment,
                                                         std::chrono::milliseconds timeout) {
  if (!is_name(name)) return fail(ErrorCode::kInvalidArgument, "\"{}\" is not the name of a credential helper", name);
  const std::string program = "docker-credential-" + name;
  TRY_ASSIGN(const std::string path, find_in_path(program, environment));
  TRY_ASSIGN(sys::SocketPair input, sys::socket_pair());
  TRY_ASSIGN(sys::Pipe output, sys::pipe());
  // A session of its own: what it started itself ends with it.
  TRY_ASSIGN(ChildProcess child, ChildProcess::spawn({.program = path,
                                                      .argv = {program, "get"},
                                                      .environment = environment,
                                                      .stdin_fd = input.b.get(),
                                                      .stdout_fd = output.write_end.get(),
                                                      .die_with_parent = true,
                                                      .new_session = true}));
  input.b.reset();
  output.write_end.reset();
  // Fits into the buffer, so it does not wait; a helper that does not read it is no error of ours.
  (void)::send(input.a.get(), server.data(), server.size(), MSG_NOSIGNAL);
  input.a.reset();
  const auto deadline = Clock::now() + timeout;
  Result<std::string> answer = read_answer(output.read_end.get(), program, deadline);
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(answer ? deadline - Clock::now() : Clock::duration());
  const auto ended = wait_process_end(child.pidfd(), std::max(left, std::chrono::milliseconds(0)));
  ::kill(-child.pid(), SIGKILL);
  TRY_ASSIGN(const ExitStatus status, child.wait());
  if (!answer) return std::unexpected(std::move(answer).error());
  if (!ended || !*ended) return fail(ErrorCode::kUnavailable, "credential helper {} does not end", program);
  if (status.code != 0) {
    if (answer->find(kNotFound) != std::string::npos) return std::nullopt;
    return fail(ErrorCode::kPermissionDenied,
                "credential helper {} failed with status {}; log in with it, or take it out of docker's config.json", program,
                status.code);
  }
  const std::string what = "the answer of credential helper " + program;
  TRY_ASSIGN(const Json json, parse_json(*answer, what));
  Credentials credentials;
  TRY_ASSIGN(credentials.username, json_get<std::string>(json, "Username", what));
  TRY_ASSIGN(credentials.password, json_get<std::string>(json, "Secret", what));
  if (credentials.username == "<token>")
    return fail(ErrorCode::kUnsupported,
                "credential helper {} has an identity token for {}, which is not supported; use a password or access token",
                program, server);
  return credentials;
}

}  // namespace boxlite::image
