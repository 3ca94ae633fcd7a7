// For tests: one operation of the library per process.
//
//   runtime_test_command HOME create|create-rm NAME COMMAND…   prints the id
//   runtime_test_command HOME start|rm|rm-f|kill|status|wait NAME
//   runtime_test_command HOME stop NAME GRACE_SECONDS
//   runtime_test_command HOME ls
#include <signal.h>

#include <cstdio>
#include <string>
#include <vector>

#include "boxlite/runtime.h"

namespace boxlite {
namespace {

Result<void> create(Runtime& runtime, const std::vector<std::string>& arguments, bool auto_remove) {
  BoxOptions options;
  options.image = "test";
  options.name = arguments.at(0);
  options.command.assign(arguments.begin() + 1, arguments.end());
  options.env = {"SECRET=canary-value"};
  options.auto_remove = auto_remove;
  auto box = runtime.create(options);
  if (!box) return std::unexpected(box.error());
  std::puts(box->id().c_str());
  return {};
}

std::string describe(const BoxInfo& info) {
  std::string text(name(info.status));
  if (info.exit_code) text += " " + std::to_string(*info.exit_code);
  if (!info.reason.empty()) text += ": " + info.reason;
  return text;
}

Result<void> run(const std::string& home, const std::string& verb, const std::vector<std::string>& arguments) {
  auto runtime = Runtime::open({.home = home, .accelerator = "tcg"});
  if (!runtime) return std::unexpected(runtime.error());
  if (verb == "create" || verb == "create-rm") return create(*runtime, arguments, verb == "create-rm");
  if (verb == "ls") {
    auto boxes = runtime->list();
    if (!boxes) return std::unexpected(boxes.error());
    for (const BoxInfo& box : *boxes) std::printf("%s %s\n", box.name.c_str(), describe(box).c_str());
    return {};
  }
  auto box = runtime->get(arguments.at(0));
  if (!box) return std::unexpected(box.error());
  if (verb == "rm") return box->remove(false);
  if (verb == "rm-f") return box->remove(true);
  if (verb == "kill") return box->kill(SIGTERM);
  if (verb == "stop") return box->stop(std::chrono::seconds(std::stoi(arguments.at(1))));
  if (verb == "start") {
    auto started = box->start({});
    if (!started) return std::unexpected(started.error());
    return {};
  }
  if (verb == "wait") {
    auto code = box->wait();
    if (!code) return std::unexpected(code.error());
    std::printf("%d\n", *code);
    return {};
  }
  if (verb == "status") {
    auto info = box->info();
    if (!info) return std::unexpected(info.error());
    std::puts(describe(*info).c_str());
    return {};
  }
  return std::unexpected(Error(ErrorCode::kInvalidArgument, "no verb " + verb));
}

}  // namespace
}  // namespace boxlite

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  auto done = boxlite::run(argv[1], argv[2], std::vector<std::string>(argv + 3, argv + argc));
  if (done) return 0;
  std::printf("%s\n", done.error().message().c_str());
  return 1;
}
