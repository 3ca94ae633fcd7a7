// The flags of one verb, with docker's rules for where they may stand.
//
// CLI11 keeps the table of flags and writes the help; the walk over the arguments is ours, because two of docker's rules are not
// in CLI11: the flags of run, create and exec end at the first operand, so that a command's own flags pass through untouched, and
// `--entrypoint=` is a flag with an empty value (CLI11 2.1 would take the next argument, the image, for its value). An unknown
// flag is an error that names it; nothing is accepted and ignored.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/verb.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace boxlite::cli {

enum class Operands {
  kEndFlags,  // everything from the first operand on is operands: run, create, exec
  kAnywhere,  // flags and operands may be mixed; "--" ends the flags
};

class FlagSet {
 public:
  /// `verb` is "" for the flags before the verb. `usage` is what follows "boxlite VERB" in the help. --home and --accel are in
  /// every set.
  FlagSet(Invocation& invocation, std::string verb, std::string usage, std::string summary);
  ~FlagSet();

  // `names` is "-d,--detach"; a long one is always there. Targets must outlive parse(); they keep their value when the flag is
  // not given, the last one wins.
  void flag(const std::string& names, bool& target, const std::string& help);
  void value(const std::string& names, const std::string& placeholder, std::optional<std::string>& target,
             const std::string& help);
  void list(const std::string& names, const std::string& placeholder, std::vector<std::string>& target, const std::string& help);
  /// Flags of docker's that are not here, with what to do instead.
  void refuse(std::vector<std::string> names, const std::string& instead);
  /// A text after the flags in the help.
  void footer(const std::string& text);

  /// Sets the targets and returns the operands. nullopt: --help was given and the help is printed.
  Result<std::optional<std::vector<std::string>>> parse(const std::vector<std::string>& arguments, Operands rule);

  /// An error about the operands: "run needs an IMAGE; usage: boxlite run [OPTIONS] IMAGE …".
  std::unexpected<Error> usage_error(const std::string& what) const;

 private:
  struct Split;
  Result<Split> split(const std::vector<std::string>& arguments, Operands rule) const;
  Result<CLI::Option*> find(const std::string& name) const;

  std::string verb_;
  std::string usage_;  // "boxlite run [OPTIONS] IMAGE …"
  std::unique_ptr<CLI::App> app_;
  std::vector<std::function<void()>> setters_;
  std::map<std::string, std::string> refused_;
};

/// For --format, of which json is the only value.
Result<void> require_json(const std::optional<std::string>& format);

}  // namespace boxlite::cli
