// Places where a test can make the program fail, to prove that it survives: FAILPOINT("start.intent").
//
//   BOXLITE_FAILPOINTS="start.intent=kill9;file.rename=1*off->1*ENOSPC"      failpoint_plan.h has the notation
//   BOXLITE_FAILPOINTS_TRACE=FILE      a line "PROGRAM PID NAME ACTION" is appended for every place that is reached
//
// FAILPOINT stands where the enclosing function could return an error of what it does next or has just done. Names are unique:
// the fault matrix (tests/fault) finds them in the source. Programs hand both variables on to those they start. A plan that
// cannot be read ends the program before main(). Compiled in only with BOXLITE_WITH_FAILPOINTS (test builds); in a release build
// the macro is nothing and the variables are ignored.
#pragma once

#include <string_view>

#include "base/result.h"

namespace boxlite {

#ifdef BOXLITE_WITH_FAILPOINTS
Result<void> reach_failpoint(std::string_view name);
#define FAILPOINT(name) TRY(::boxlite::reach_failpoint(name))
#else
#define FAILPOINT(name) \
  do {                  \
  } while (false)
#endif

}  // namespace boxlite
