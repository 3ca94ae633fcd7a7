#include "cli/box_filter.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace boxlite::cli {
namespace {

constexpr std::array<std::pair<std::string_view, BoxStatus>, 10> kStatuses = {{{"created", BoxStatus::kCreated},
                                                                               {"starting", BoxStatus::kStarting},
                                                                               {"running", BoxStatus::kRunning},
                                                                               {"paused", BoxStatus::kPaused},
                                                                               {"stopping", BoxStatus::kStopping},
                                                                               {"stopped", BoxStatus::kStopped},
                                                                               {"exited", BoxStatus::kStopped},  // docker's
                                                                               {"suspended", BoxStatus::kSuspended},
                                                                               {"failed", BoxStatus::kFailed},
                                                                               {"unresponsive", BoxStatus::kUnresponsive}}};

bool has_label(const BoxInfo& box, const std::string& wanted) {
  const std::size_t equals = wanted.find('=');
  const auto label = box.labels.find(wanted.substr(0, equals));
  return label != box.labels.end() && (equals == std::string::npos || label->second == wanted.substr(equals + 1));
}

}  // namespace

Result<BoxFilter> BoxFilter::parse(const std::vector<std::string>& filters) {
  BoxFilter result;
  for (const std::string& filter : filters) TRY(result.add(filter));
  return result;
}

Result<void> BoxFilter::add(const std::string& filter) {
  const std::size_t equals = filter.find('=');
  const std::string key = filter.substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : filter.substr(equals + 1);
  const bool known = key == "label" || key == "name" || key == "id" || key == "status";
  if (!known || value.empty()) {
    return fail(ErrorCode::kInvalidArgument, "--filter {}: use label=NAME[=VALUE], name=PART, id=BEGINNING or status=STATUS",
                filter.empty() ? "\"\"" : filter);
  }
  if (key == "label") labels_.push_back(value);
  if (key == "name") names_.push_back(value);
  if (key == "id") ids_.push_back(value);
  if (key != "status") return {};
  const auto* const status = std::ranges::find(kStatuses, value, &std::pair<std::string_view, BoxStatus>::first);
  if (status == kStatuses.end()) {
    return fail(
        ErrorCode::kInvalidArgument,
        "--filter {}: not a status; there are created, starting, running, stopping, stopped (or exited), failed and unresponsive",
        filter);
  }
  statuses_.push_back(status->second);
  return {};
}

bool BoxFilter::matches(const BoxInfo& box) const {
  const auto one_of = [](const auto& wanted, const auto& fits) { return wanted.empty() || std::ranges::any_of(wanted, fits); };
  return std::ranges::all_of(labels_, [&](const std::string& label) { return has_label(box, label); }) &&
         one_of(names_, [&](const std::string& part) { return box.name.find(part) != std::string::npos; }) &&
         one_of(ids_, [&](const std::string& beginning) { return box.id.starts_with(beginning); }) &&
         one_of(statuses_, [&](BoxStatus status) { return box.status == status; });
}

}  // namespace boxlite::cli
