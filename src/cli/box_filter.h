// ls --filter: KEY=VALUE, with docker's keys and meaning.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "boxlite/box_info.h"

namespace boxlite::cli {

class BoxFilter {
 public:
  /// "label=NAME", "label=NAME=VALUE", "name=PART", "id=BEGINNING", "status=STATUS".
  static Result<BoxFilter> parse(const std::vector<std::string>& filters);

  /// All labels, and of every other key one of the values.
  bool matches(const BoxInfo& box) const;
  /// Boxes that do not run are asked for too.
  bool wants_status() const { return !statuses_.empty(); }

 private:
  Result<void> add(const std::string& filter);

  std::vector<std::string> labels_, names_, ids_;
  std::vector<BoxStatus> statuses_;
};

}  // namespace boxlite::cli
