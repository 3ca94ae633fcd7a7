// boxlite-template: makes one template (template_maker.h). Started by libboxlite, with the job on stdin (runtime/records.h,
// TemplateJob); says {"ok":true} or {"code":…,"message":…} on its standard output. It dies with whoever started it.
#include <unistd.h>

#include <csignal>
#include <exception>

#include "runtime/line_channel.h"
#include "shim/template_maker.h"

namespace boxlite::shim {
namespace {

Result<void> run() {
  ::signal(SIGPIPE, SIG_IGN);
  LineReader reader(STDIN_FILENO);
  TRY_ASSIGN(const std::optional<std::string> line, reader.next(std::nullopt));
  if (!line) return fail(ErrorCode::kInvalidArgument, "no job on stdin; it is started by boxlite, not by hand");
  TRY_ASSIGN(const Json json, parse_json(*line, "template job"));
  TRY_ASSIGN(TemplateJob job, template_job_from_json(json));
  return TemplateMaker(std::move(job)).run();
}

int report(const Result<void>& result) {
  const Json json = result ? Json{{"ok", true}}
                           : Json{{"code", std::string(name(result.error().code()))}, {"message", result.error().message()}};
  const std::string line = dump_json(json) + "\n";
  (void)!::write(STDOUT_FILENO, line.data(), line.size());
  return result ? 0 : 1;
}

}  // namespace
}  // namespace boxlite::shim

int main() {
  using namespace boxlite;
  try {
    return shim::report(shim::run());
  } catch (const std::exception& error) {
    return shim::report(fail(ErrorCode::kInternal, "{}", error.what()));
  }
}
