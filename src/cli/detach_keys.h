// The keys that leave a command's terminal and let the command go on, in docker's notation: "ctrl-p,ctrl-q".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace boxlite::cli {

/// The bytes the keys send. Keys are separated by commas; each is one character or ctrl- with a letter or one of @[\]^_. Not
/// given or empty: ctrl-p,ctrl-q.
Result<std::string> parse_detach_keys(const std::optional<std::string>& value);

/// Looks for the keys in what is typed. Bytes that may be their beginning are held back until it is known.
class DetachKeys {
 public:
  /// Without keys everything passes.
  explicit DetachKeys(std::string keys) : keys_(std::move(keys)) {}

  /// What of `typed` is for the command, with what was held back before. Nothing behind the keys.
  std::string pass(std::string_view typed);
  bool seen() const { return !keys_.empty() && held_ == keys_; }
  /// The end of input: what is held back.
  std::string rest() { return std::exchange(held_, {}); }

 private:
  std::string keys_;
  std::string held_;  // a beginning of keys_
};

}  // namespace boxlite::cli
