// `run --timing`: where the time of a start goes, as a table on standard error.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "boxlite/box.h"

namespace boxlite::cli {

class Timing {
 public:
  /// `on`: else nothing is kept, and nothing printed.
  explicit Timing(bool on) : on_(on), begin_(std::chrono::steady_clock::now()) {}

  void note(std::string what) { add({std::move(what), std::chrono::steady_clock::now()}); }
  void add(StartStep step) {
    if (on_) steps_.push_back(std::move(step));
  }
  bool on() const { return on_; }
  /// A line for each step, in the order of their times: the milliseconds since the beginning, and since the step before.
  std::string table() const;
  void print() const;

 private:
  bool on_;
  std::chrono::steady_clock::time_point begin_;
  std::vector<StartStep> steps_;
};

}  // namespace boxlite::cli
