// A program that links libboxlite and then ends in every way a program can end: what the boxes it started make of it is checked
// by test_library.py.
//
//   library_client HOME IMAGE ENDING
//
// Starts the box "detached" and the box "bound" (owned by this process), prints "ready", then: `exit` leaves main, `abort`
// aborts, `wait` waits to be killed, `fork` leaves a forked child behind that never executes anything and lives until its stdin
// ends.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "boxlite/runtime.h"

namespace {

boxlite::Result<void> start_box(boxlite::Runtime& runtime, const std::string& image, const std::string& name,
                                boxlite::Ownership ownership) {
  boxlite::BoxOptions options;
  options.image = image;
  options.name = name;
  options.command = {"sleep", "infinity"};
  auto box = runtime.create(options);
  if (!box) return std::unexpected(box.error());
  boxlite::StartOptions start;
  start.ownership = ownership;
  auto started = box->start(start);
  if (!started) return std::unexpected(started.error());
  return {};
}

void wait_for_end_of_input() {
  char byte = 0;
  while (::read(STDIN_FILENO, &byte, 1) > 0) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const std::string_view ending = argv[3];

  boxlite::RuntimeOptions options;
  options.home = argv[1];
  auto runtime = boxlite::Runtime::open(options);
  if (!runtime) {
    std::fprintf(stderr, "%s\n", runtime.error().message().c_str());
    return 1;
  }
  for (const auto& [name, ownership] :
       {std::pair("detached", boxlite::Ownership::kDetached), {"bound", boxlite::Ownership::kOwnerBound}}) {
    if (auto started = start_box(*runtime, argv[2], name, ownership); !started) {
      std::fprintf(stderr, "%s\n", started.error().message().c_str());
      return 1;
    }
  }
  std::puts("ready");
  std::fflush(stdout);

  if (ending == "abort") std::abort();
  if (ending == "wait") wait_for_end_of_input();
  if (ending == "fork") {
    const pid_t child = ::fork();
    if (child == 0) {
      wait_for_end_of_input();
      ::_exit(0);
    }
    std::printf("%d\n", static_cast<int>(child));
    std::fflush(stdout);
    // Not through main's end: the child must not depend on what the parent tidies up.
    ::_exit(child < 0 ? 1 : 0);
  }
  return 0;
}
