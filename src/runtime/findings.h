// What the checks of `doctor` write down (boxlite/doctor.h).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "boxlite/doctor.h"
#include "boxlite/error.h"

namespace boxlite {

/// The remedy of what a repair mends.
inline constexpr const char* kRepair = "boxlite doctor --repair";

class Findings {
 public:
  explicit Findings(std::string area) : area_(std::move(area)) {}

  void ok(std::string subject, std::string text) { add(std::move(subject), Finding::Level::kOk, std::move(text), ""); }
  void note(std::string subject, std::string text, std::string remedy) {
    add(std::move(subject), Finding::Level::kNote, std::move(text), std::move(remedy));
  }
  void problem(std::string subject, std::string text, std::string remedy) {
    add(std::move(subject), Finding::Level::kProblem, std::move(text), std::move(remedy));
  }
  /// What kept a check from looking. The messages of errors end with what to do next.
  void problem(std::string subject, const Error& error) {
    const std::string& message = error.message();
    const std::size_t cut = message.rfind("; ");
    if (cut == std::string::npos) return problem(std::move(subject), message, "");
    problem(std::move(subject), message.substr(0, cut), message.substr(cut + 2));
  }

  std::vector<Finding>& list() { return list_; }

 private:
  void add(std::string subject, Finding::Level level, std::string text, std::string remedy) {
    list_.push_back({area_, std::move(subject), level, std::move(text), std::move(remedy)});
  }

  std::string area_;
  std::vector<Finding> list_;
};

}  // namespace boxlite
