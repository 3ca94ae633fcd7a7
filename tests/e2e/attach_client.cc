// A program that links libboxlite and reads a session from where another reader has stopped: used by test_attach.py.
//
//   attach_client HOME BOX SESSION OFFSET
//
// Writes the session's stdout from OFFSET on to its own, and to stderr, as one line, the offset of the first byte that came, the
// offset behind the last, and the exit code.
#include <cinttypes>
#include <cstdio>
#include <cstdlib>

#include "boxlite/runtime.h"

namespace {

int failed(const boxlite::Error& error) {
  std::fprintf(stderr, "%s\n", error.message().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  boxlite::RuntimeOptions options;
  options.home = argv[1];
  auto runtime = boxlite::Runtime::open(options);
  if (!runtime) return failed(runtime.error());
  auto box = runtime->get(argv[2]);
  if (!box) return failed(box.error());
  boxlite::AttachOptions attach;
  attach.session_id = argv[3];
  attach.stdout_offset = std::strtoull(argv[4], nullptr, 10);
  auto session = box->attach(attach);
  if (!session) return failed(session.error());

  std::uint64_t begin = UINT64_MAX;
  std::uint64_t end = attach.stdout_offset;
  while (true) {
    auto event = session->next(std::nullopt);
    if (!event) return failed(event.error());
    if (const auto* exit = std::get_if<boxlite::ExitInfo>(&**event)) {
      std::fprintf(stderr, "%" PRIu64 " %" PRIu64 " %d\n", begin, end, exit->code);
      return 0;
    }
    const auto& chunk = std::get<boxlite::OutputChunk>(**event);
    if (chunk.stream != boxlite::OutputStream::kStdout) continue;
    if (begin == UINT64_MAX) begin = chunk.offset;
    end = chunk.offset + chunk.data.size();
    if (std::fwrite(chunk.data.data(), 1, chunk.data.size(), stdout) != chunk.data.size()) return 1;
  }
}
