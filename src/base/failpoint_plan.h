// What BOXLITE_FAILPOINTS asks for, in the notation of FreeBSD's fail(9): which places fail, how, and at which of their turns.
//
//   plan = point { ";" point }        point = NAME "=" term { "->" term }        term = [ COUNT "*" ] ACTION
//
//   start.intent=kill9                  every time the place is reached
//   file.rename=2*off->1*ENOSPC         the third time only
//
// A term with a count serves that often, then the next one does; after the last one nothing happens any more.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace boxlite {

struct FailpointAction {
  enum class Kind {
    kOff,    // "off"
    kError,  // "error", or the name of an errno: ENOSPC
    kKill9,  // "kill9": SIGKILL to this process
    kStop,   // "stop": SIGSTOP, so that a test can act at exactly this point and go on with SIGCONT
  };
  Kind kind = Kind::kOff;
  int error_number = 0;  // 0: an error without one
};

class FailpointPlan {
 public:
  /// kInvalidArgument: the text is no plan.
  static Result<FailpointPlan> parse(std::string_view text);

  /// What is to happen at this place now; counts it. Not thread safe.
  FailpointAction next(std::string_view name);

 private:
  struct Term {
    std::uint64_t left = UINT64_MAX;  // times it serves yet
    FailpointAction action;
  };
  static Result<Term> parse_term(std::string_view text);

  std::map<std::string, std::vector<Term>, std::less<>> points_;
};

}  // namespace boxlite
