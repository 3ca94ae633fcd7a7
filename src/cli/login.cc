// boxlite login: check credentials with a registry and keep them.
#include <termios.h>
#include <unistd.h>

#include <array>

#include "base/defer.h"
#include "base/sys.h"
#include "cli/flag_set.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace boxlite::cli {
namespace {

constexpr std::size_t kMaxSecret = 64 * 1024;  // tokens are long

// A line, or with `whole` all there is, less a newline at its end.
Result<std::string> read_input(bool whole) {
  std::string text;
  std::array<char, 1> c = {};
  while (text.size() <= kMaxSecret) {
    TRY_ASSIGN(const std::size_t count, sys::read(STDIN_FILENO, std::as_writable_bytes(std::span(c))));
    if (count == 0 || (!whole && c[0] == '\n')) break;
    text += c[0];
  }
  if (text.size() > kMaxSecret) return fail(ErrorCode::kInvalidArgument, "standard input: longer than {} bytes", kMaxSecret);
  while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
  return text;
}

Result<std::string> ask(const std::string& question, bool hidden) {
  if (!is_terminal(STDIN_FILENO))
    return fail(ErrorCode::kInvalidArgument, "login: standard input is no terminal to ask on; use -u USER and --password-stdin");
  termios saved{};
  if (::tcgetattr(STDIN_FILENO, &saved) < 0) return fail_errno("read the terminal's settings");
  const Defer restore([&] { ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &saved); });
  termios changed = saved;
  if (hidden) changed.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  if (::tcsetattr(STDIN_FILENO, TCSAFLUSH, &changed) < 0) return fail_errno("set the terminal");
  (void)sys::write_all(STDERR_FILENO, question + ": ");
  auto answer = read_input(false);
  if (hidden) (void)sys::write_all(STDERR_FILENO, "\n");
  return answer;
}

}  // namespace

Result<int> verb_login(Invocation& invocation) {
  FlagSet flags(invocation, "login", "[OPTIONS] [REGISTRY]",
                "Check credentials with a registry (default docker.io) and keep them");
  std::optional<std::string> username;
  bool password_stdin = false;
  flags.value("-u,--username", "USER", username, "User name; without it you are asked");
  flags.flag("--password-stdin", password_stdin, "Read the password from standard input; without it you are asked");
  flags.refuse({"-p", "--password"}, "everybody here could see a password given that way; use --password-stdin, or be asked");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->size() > 1) return flags.usage_error("login takes one REGISTRY");
  const std::string registry = operands->empty() ? "docker.io" : operands->front();
  if (password_stdin && !username) return flags.usage_error("--password-stdin needs -u USER");
  if (username && username->empty()) return fail(ErrorCode::kInvalidArgument, "--username \"\": a user name must not be empty");

  RegistryCredentials credentials;
  if (username) {
    credentials.username = *username;
  } else {
    TRY_ASSIGN(credentials.username, ask("Username", false));
  }
  if (password_stdin) {
    TRY_ASSIGN(credentials.password, read_input(true));
  } else {
    TRY_ASSIGN(credentials.password, ask("Password", true));
  }
  TRY_ASSIGN(Runtime runtime, open_runtime(invocation));
  TRY(runtime.login(registry, credentials));
  TRY(print("Login Succeeded\n"));
  return 0;
}

}  // namespace boxlite::cli
