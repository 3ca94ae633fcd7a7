#include "cli/each_box.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <thread>

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
                          const std::function<Result<void>(Box& box)>& action) {
  std::vector<std::promise<Result<void>>> outcomes(references.size());
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < references.size(); i = next++) {
      Result<Box> box = runtime.get(references[i]);
      outcomes[i].set_value(box ? action(*box) : std::unexpected(std::move(box).error()));
    }
  };
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < std::min(kMostAtOnce, references.size()); ++i) threads.emplace_back(work);
  int status = 0;
  for (std::size_t i = 0; i < references.size(); ++i) {
    const Result<void> done = outcomes[i].get_future().get();
    if (done) {
      TRY(print(references[i] + "\n"));
      continue;
    }
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
