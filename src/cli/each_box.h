// Verbs that take several boxes: stop, rm, kill, start, wait, inspect.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "boxlite/runtime.h"
#include "cli/flag_set.h"

namespace boxlite::cli {

/// Calls `action` for each box in turn. An error is printed at once and does not keep the others from their turn; the result is
/// the exit status. `action` prints what the verb prints.
Result<int> for_each_box(const Runtime& runtime, const std::vector<std::string>& references,
                         const std::function<Result<void>(Box& box, const std::string& reference)>& action);

/// What is said of a box that is not there, or is removed meanwhile.
enum class Missing { kIsError, kIsNoError };

/// The same for all boxes at once, for what may take long (a stop takes up to its grace): `action` prints nothing. The line that
/// it returns, or its error, is printed when it is done, in the order in which the boxes were given.
Result<int> for_all_boxes(const Runtime& runtime, const std::vector<std::string>& references,
                          const std::function<Result<std::string>(Box& box, const std::string& reference)>& action,
                          Missing missing = Missing::kIsError);

/// The line is the operand.
Result<int> for_all_boxes(const Runtime& runtime, const std::vector<std::string>& references,
                          const std::function<Result<void>(Box& box)>& action, Missing missing = Missing::kIsError);

/// kInvalidArgument when no box was named, or one of the names is empty.
Result<void> require_boxes(const FlagSet& flags, const std::vector<std::string>& references);

}  // namespace boxlite::cli
