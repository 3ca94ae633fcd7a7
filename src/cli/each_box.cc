#include "cli/each_box.h"

#include <algorithm>
#include <atomic>
#include <future>

#include "base/thread.h"
#include "cli/output.h"

namespace boxlite::cli {
namespace {

constexpr std::size_t kMostAtOnce = 64;  // threads; each waits most of its time

}  // namespace

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

Result<int> for_all_boxes(const Runtime& runtime, const std::vector<std::string>& references,
                          const std::function<Result<std::string>(Box& box, const std::string& reference)>& action,
                          Missing missing) {
  std::vector<std::promise<Result<std::string>>> outcomes(references.size());
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < references.size(); i = next++) {
      Result<Box> box = runtime.get(references[i]);
      outcomes[i].set_value(box ? action(*box, references[i]) : std::unexpected(std::move(box).error()));
    }
  };
  std::vector<std::jthread> threads;
  while (threads.size() < std::min(kMostAtOnce, references.size())) {
    auto thread = start_thread(work);
    if (!thread) break;
    threads.push_back(std::move(*thread));
  }
  if (threads.empty()) work();
  int status = 0;
  for (std::promise<Result<std::string>>& outcome : outcomes) {
    const Result<std::string> line = outcome.get_future().get();
    if (line) {
      TRY(print(*line + "\n"));
      continue;
    }
    if (missing == Missing::kIsNoError && line.error().code() == ErrorCode::kNotFound) continue;
    print_error(line.error().message());
    status = exit_status(line.error().code());
  }
  return status;
}

Result<int> for_all_boxes(const Runtime& runtime, const std::vector<std::string>& references,
                          const std::function<Result<void>(Box& box)>& action, Missing missing) {
  const auto named = [&action](Box& box, const std::string& reference) -> Result<std::string> {
    TRY(action(box));
    return reference;
  };
  return for_all_boxes(runtime, references, named, missing);
}

Result<void> require_boxes(const FlagSet& flags, const std::vector<std::string>& references) {
  if (references.empty()) return flags.usage_error("no BOX was given");
  if (std::ranges::any_of(references, &std::string::empty)) return flags.usage_error("a BOX is empty");
  return {};
}

}  // namespace boxlite::cli
