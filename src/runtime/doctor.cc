// Theory of operation. Other processes work on the home while it is looked at: what one look finds wrong may be something on
// its way to be right, like a VM that is ending after its shim. So a problem counts when every look of some seconds has found it;
// where there is none, one look is enough.
#include "boxlite/doctor.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "runtime/context.h"
#include "runtime/findings.h"
#include "runtime/home_checks.h"
#include "runtime/host_checks.h"
#include "runtime/image_checks.h"

namespace boxlite {
namespace {

// The processes of a VM have three seconds to end after their shim (shim_kill.cc).
constexpr auto kSettling = std::chrono::seconds(4);
constexpr auto kPause = std::chrono::milliseconds(100);

bool is_problem(const Finding& finding) { return finding.level == Finding::Level::kProblem; }

bool has(const std::vector<Finding>& findings, const Finding& wanted) {
  return std::ranges::any_of(findings, [&](const Finding& finding) {
    return is_problem(finding) && finding.subject == wanted.subject && finding.text == wanted.text;
  });
}

std::vector<Finding> look(const Context& context) {
  Findings findings("home");
  check_home(context, findings);
  return std::move(findings.list());
}

std::vector<Finding> look_until_sure(const Context& context) {
  const auto end = std::chrono::steady_clock::now() + kSettling;
  std::vector<Finding> seen = look(context);
  while (std::ranges::any_of(seen, is_problem) && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(kPause);
    // Files and their rows agree when a command has committed, which may take as long as the disk does.
    (void)context.database.wait_for_writers();
    std::vector<Finding> again = look(context);
    std::erase_if(again, [&seen](const Finding& finding) { return is_problem(finding) && !has(seen, finding); });
    seen = std::move(again);
  }
  return seen;
}

void append(std::vector<Finding>& all, std::vector<Finding> more) {
  all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

// What was wrong and is no longer, before what there is to say now.
std::vector<Finding> repair_and_look(Context& context, const std::vector<Finding>& before) {
  Findings failed("home");
  if (const auto repaired = repair_home(context); !repaired) failed.problem("repair", repaired.error());
  std::vector<Finding> after = look_until_sure(context);
  std::vector<Finding> all;
  for (const Finding& finding : before) {
    if (!is_problem(finding) || has(after, finding)) continue;
    all.push_back(finding);
    all.back().level = Finding::Level::kRepaired;
    all.back().remedy.clear();
  }
  append(all, std::move(after));
  append(all, std::move(failed.list()));
  return all;
}

Result<Context> without_home(const std::string& home, const RuntimeOptions& options) {
  TRY_ASSIGN(Database none, Database::open_empty());
  return Context{HomePaths(home), std::move(none), options.accelerator, options.cold_start, false};
}

}  // namespace

std::string_view name(Finding::Level level) {
  switch (level) {
    case Finding::Level::kOk:
      return "ok";
    case Finding::Level::kNote:
      return "note";
    case Finding::Level::kProblem:
      return "problem";
    case Finding::Level::kRepaired:
      return "repaired";
  }
  return "";
}

std::vector<Finding> diagnose(const RuntimeOptions& options, bool repair) {
  Findings of_home("home");
  const auto home = choose_home(options.home);
  auto context = home ? open_context(*home, options) : std::unexpected(home.error());
  if (!context) {
    of_home.problem("home", context.error());
    context = without_home(home.value_or("/"), options);
    if (!context) return std::move(of_home.list());
  } else if (!context->home_exists) {
    of_home.ok("home", "there is none yet: no box, no image");
  }

  Findings of_host("host");
  check_host(*context, of_host);
  std::vector<Finding> all = std::move(of_host.list());
  append(all, std::move(of_home.list()));
  if (!context->home_exists) return all;

  std::vector<Finding> seen = look_until_sure(*context);
  if (repair && std::ranges::any_of(seen, is_problem)) seen = repair_and_look(*context, seen);
  append(all, std::move(seen));
  Findings of_contents("home");
  check_contents(*context, of_contents);
  append(all, std::move(of_contents.list()));
  return all;
}

}  // namespace boxlite
