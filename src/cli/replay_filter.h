// What a terminal showed before somebody attached, fit to be shown to another terminal.
//
// Programs ask a terminal questions by escape sequences ("where is the cursor", "what are you"), and it answers as if the answer
// had been typed. Asked once more by a replay, the answer would be input that the command has long had: a shell would take it for
// a command. So questions are left out of the replay; all else, and all that comes after it, is passed as it is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace boxlite::cli {

class ReplayFilter {
 public:
  /// `end`: the offset in the stream where the replay ends.
  explicit ReplayFilter(std::uint64_t end) : end_(end) {}

  /// The next piece of the stream, which begins at `offset`. A sequence that is not whole yet is kept for the next piece.
  std::string pass(std::uint64_t offset, std::string_view data);

 private:
  std::string filter(std::string_view data);

  std::uint64_t end_;
  std::string held_;  // the beginning of a sequence
};

}  // namespace boxlite::cli
