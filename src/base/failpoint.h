// Places where a test can make the program fail, to prove that it survives: FAILPOINT("start.intent").
//
//   BOXLITE_FAILPOINTS="start.intent=kill9;image.commit=error"
//
// Actions: `kill9` (SIGKILL to this process), `error` (the enclosing function returns an Error), `stop` (SIGSTOP, so that a test
// can act at exactly this point and continue with SIGCONT). Compiled in only with BOXLITE_WITH_FAILPOINTS (test builds); in a
// release build the macro is nothing and the variable is ignored.
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
