#include "cli/each_box.h"

#include <algorithm>

#include "cli/output.h"

namespace boxlite::cli {

Result<int> for_each_box(const Runtime& runtime, const std::vector<std::string>& references,
                         const std::function<Result<void>(Box& box, const std::string& reference)>& action) {
  int status = 0;
  for (const std::string& reference : references) {
    Result<Box> box = runtime.get(reference);
    const Result<void> done = box ? action(*box, reference) : std::unexpected(std::move(box).error());
    if (done) continue;
    print_error(done.error().message());
    status = exit_status(done.error().code());
  }
  return status;
}

Result<void> require_boxes(const FlagSet& flags, const std::vector<std::string>& references) {
  if (references.empty()) return flags.usage_error("no BOX was given");
  if (std::ranges::any_of(references, &std::string::empty)) return flags.usage_error("a BOX is empty");
  return {};
}

}  // namespace boxlite::cli
