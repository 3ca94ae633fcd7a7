// Runs a function when the scope ends, however it ends.
#pragma once

#include <utility>

namespace boxlite {

template <typename F>
class Defer {
 public:
  explicit Defer(F function) : function_(std::move(function)) {}
  Defer(const Defer&) = delete;
  Defer& operator=(const Defer&) = delete;
  ~Defer() {
    if (armed_) function_();
  }
  void cancel() { armed_ = false; }

 private:
  F function_;
  bool armed_ = true;
};

}  // namespace boxlite
