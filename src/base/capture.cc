#include "base/capture.h"

#include <algorithm>
#include <array>

#include "base/sys.h"

namespace boxlite {
namespace {

constexpr std::size_t kKept = 4096;

}  // namespace

Result<Captured> capture(const std::vector<std::string>& argv) {
  TRY_ASSIGN(sys::Pipe output, sys::pipe());
  TRY_ASSIGN(ChildProcess child, ChildProcess::spawn({.program = argv.front(),
                                                      .argv = argv,
                                                      .stdout_fd = output.write_end.get(),
                                                      .stderr_fd = output.write_end.get(),
                                                      .die_with_parent = true}));
  output.write_end.reset();
  Captured captured;
  std::array<std::byte, kKept> buffer = {};
  for (;;) {
    const auto count = sys::read(output.read_end.get(), buffer);
    if (!count || *count == 0) break;
    captured.output.append(reinterpret_cast<const char*>(buffer.data()), std::min(*count, kKept - captured.output.size()));
  }
  TRY_ASSIGN(captured.status, child.wait());
  return captured;
}

}  // namespace boxlite
