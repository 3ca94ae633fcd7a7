#include "cli/flag_set.h"

#include <algorithm>
#include <utility>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "cli/output.h"
#include "cli/values.h"

namespace boxlite::cli {
namespace {

class UsageFormatter : public CLI::Formatter {
 public:
  explicit UsageFormatter(std::string usage) : usage_(std::move(usage)) { column_width(34); }
  std::string make_usage(const CLI::App*, std::string) const override { return "\nUsage: " + usage_ + "\n"; }

 private:
  std::string usage_;
};

bool takes_value(const CLI::Option& option) { return option.get_items_expected_max() != 0; }

}  // namespace

/// The arguments with one spelling for each flag, "--name" "value" and "--flag=true", and the operands.
struct FlagSet::Split {
  std::vector<std::string> flags;
  std::vector<std::string> operands;
};

FlagSet::FlagSet(Invocation& invocation, std::string verb, std::string usage, std::string summary)
    : verb_(std::move(verb)),
      usage_(verb_.empty() ? "boxlite " + usage : "boxlite " + verb_ + " " + usage),
      app_(std::make_unique<CLI::App>(std::move(summary), "boxlite")) {
  app_->formatter(std::make_shared<UsageFormatter>(usage_));
  app_->set_help_flag(verb_.empty() ? "-h,--help" : "--help", "Show this help");
  const auto global = [this](const std::string& name, const std::string& placeholder, std::string& target,
                             const std::string& help) {
    CLI::Option* option = app_->add_option(name, help)->type_name(placeholder);
    option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)->group("Global options");
    setters_.push_back([option, &target] {
      if (option->count() > 0) target = option->results().back();
    });
  };
  global("--home", "DIR", invocation.runtime.home, "Where boxes and images are kept (default $BOXLITE_HOME, else ~/.boxlite)");
  global("--accel", "kvm|tcg", invocation.runtime.accelerator,
         "Force the accelerator of boxes started now (default: proven once per boot)");
  CLI::Option* cold = app_->add_flag("--cold")->description(
      "Boot boxes started now, instead of restoring them from a template (also $BOXLITE_COLD)");
  cold->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)->group("Global options");
  setters_.push_back([cold, &target = invocation.runtime.cold_start] {
    if (cold->count() > 0) target = cold->results().back() == "true";
  });
}

FlagSet::~FlagSet() = default;

void FlagSet::flag(const std::string& names, bool& target, const std::string& help) {
  CLI::Option* option = app_->add_flag(names, help)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  setters_.push_back([option, &target] {
    if (option->count() > 0) target = option->results().back() == "true";
  });
}

void FlagSet::value(const std::string& names, const std::string& placeholder, std::optional<std::string>& target,
                    const std::string& help) {
  CLI::Option* option = app_->add_option(names, help)->type_name(placeholder);
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  setters_.push_back([option, &target] {
    if (option->count() > 0) target = option->results().back();
  });
}

void FlagSet::list(const std::string& names, const std::string& placeholder, std::vector<std::string>& target,
                   const std::string& help) {
  CLI::Option* option = app_->add_option(names, help)->type_name(placeholder);
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  setters_.push_back([option, &target] {
    if (option->count() > 0) target = option->results();
  });
}

void FlagSet::refuse(std::vector<std::string> names, const std::string& instead) {
  for (std::string& name : names) refused_.emplace(std::move(name), instead);
}

void FlagSet::footer(const std::string& text) { app_->footer(text); }

Result<CLI::Option*> FlagSet::find(const std::string& name) const {
  if (CLI::Option* option = app_->get_option_no_throw(name); option != nullptr) return option;
  if (const auto refused = refused_.find(name); refused != refused_.end())
    return fail(ErrorCode::kInvalidArgument, "there is no flag {} for {}: {}", name, verb_, refused->second);
  if (verb_.empty()) return fail(ErrorCode::kInvalidArgument, "unknown flag {}; boxlite --help lists the flags", name);
  return fail(ErrorCode::kInvalidArgument, "unknown flag {} for {}; boxlite {} --help lists the flags", name, verb_, verb_);
}

Result<FlagSet::Split> FlagSet::split(const std::vector<std::string>& arguments, Operands rule) const {
  Split result;
  std::size_t next = 0;
  const auto take_rest = [&] {
    result.operands.insert(result.operands.end(), arguments.begin() + static_cast<std::ptrdiff_t>(next), arguments.end());
    next = arguments.size();
  };
  const auto add_value = [&](const std::string& name, std::optional<std::string> value) -> Result<void> {
    if (!value) {
      if (next == arguments.size()) return fail(ErrorCode::kInvalidArgument, "flag {} needs a value; usage: {}", name, usage_);
      value = arguments[next++];
    }
    result.flags.push_back(name);
    result.flags.push_back(std::move(*value));
    return {};
  };
  const auto add_bool = [&](const std::string& name, const CLI::Option& option, const std::string& value) -> Result<void> {
    TRY_ASSIGN(const bool on, parse_bool(name, value));
    result.flags.push_back(fmt::format("--{}={}", option.get_lnames().front(), on));  // CLI11 has no -d=false
    return {};
  };

  while (next < arguments.size()) {
    const std::string argument = arguments[next];
    if (argument.size() < 2 || argument[0] != '-') {
      if (rule == Operands::kEndFlags) {
        take_rest();
      } else {
        result.operands.push_back(argument);
        ++next;
      }
      continue;
    }
    ++next;
    if (argument == "--") {
      take_rest();
      break;
    }
    if (argument[1] == '-') {
      const std::size_t equals = argument.find('=');
      const std::string name = argument.substr(0, equals);
      std::optional<std::string> value;
      if (equals != std::string::npos) value = argument.substr(equals + 1);
      TRY_ASSIGN(const CLI::Option* option, find(name));
      if (takes_value(*option)) {
        TRY(add_value(name, std::move(value)));
      } else {
        TRY(add_bool(name, *option, value.value_or("true")));
      }
      continue;
    }
    for (std::size_t i = 1; i < argument.size(); ++i) {  // -it, -eNAME=value, -w=/srv
      const std::string name = {'-', argument[i]};
      TRY_ASSIGN(const CLI::Option* option, find(name));
      std::string rest = argument.substr(i + 1);
      const bool assigned = rest.starts_with('=');
      if (takes_value(*option)) {
        if (assigned) rest.erase(0, 1);
        TRY(add_value(name, rest.empty() && !assigned ? std::nullopt : std::optional(rest)));
        break;
      }
      TRY(add_bool(name, *option, assigned ? rest.substr(1) : "true"));
      if (assigned) break;
    }
  }
  return result;
}

Result<std::optional<std::vector<std::string>>> FlagSet::parse(const std::vector<std::string>& arguments, Operands rule) {
  TRY_ASSIGN(Split parts, split(arguments, rule));
  try {
    std::ranges::reverse(parts.flags);  // CLI11 takes them from the back
    app_->parse(parts.flags);
  } catch (const CLI::CallForHelp&) {
    TRY(print(app_->help()));
    return std::nullopt;
  } catch (const CLI::Error& error) {
    return fail(ErrorCode::kInvalidArgument, "{}; usage: {}", error.what(), usage_);
  }
  for (const auto& set : setters_) set();
  return std::move(parts.operands);
}

std::unexpected<Error> FlagSet::usage_error(const std::string& what) const {
  return fail(ErrorCode::kInvalidArgument, "{}; usage: {}", what, usage_);
}

Result<void> require_json(const std::optional<std::string>& format) {
  if (!format || *format == "json") return {};
  return fail(ErrorCode::kInvalidArgument, "--format {}: only json is known; use --format json, or leave it out for a table",
              *format);
}

}  // namespace boxlite::cli
