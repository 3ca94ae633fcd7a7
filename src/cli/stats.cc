// boxlite stats: what boxes use, as a table that is renewed every second. Rates are the difference of two samples, divided by the
// time between them on the clock they were taken with.
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "base/sys.h"
#include "base/thread.h"
#include "cli/each_box.h"
#include "cli/format.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "runtime/network_usage.h"

namespace boxlite::cli {
namespace {

constexpr time_t kSeconds = 1;  // between samples
constexpr const char* kClearScreen = "\x1b[2J\x1b[H";

struct Subject {
  std::string id;
  std::string name;
};
using Samples = std::map<std::string, BoxUsage>;  // by id; a box that does not run or answer has none

/// Ticks at a steady pace.
class Ticker {
 public:
  static Result<Ticker> begin() {
    UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
    const itimerspec every = {{kSeconds, 0}, {kSeconds, 0}};
    if (!timer || ::timerfd_settime(timer.get(), 0, &every, nullptr) < 0) return fail_errno("timer");
    return Ticker(std::move(timer));
  }
  Result<void> wait() const {
    std::uint64_t ticks = 0;
    TRY(sys::read(timer_.get(), std::as_writable_bytes(std::span(&ticks, 1))));
    return {};
  }

 private:
  explicit Ticker(UniqueFd timer) : timer_(std::move(timer)) {}
  UniqueFd timer_;
};

/// Named boxes, each once, or all that run.
Result<std::vector<Subject>> subjects(const Runtime& runtime, const std::vector<std::string>& references) {
  std::vector<Subject> result;
  if (references.empty()) {
    TRY_ASSIGN(const std::vector<BoxInfo> boxes, runtime.list());
    for (const BoxInfo& box : boxes) {
      if (box.status == BoxStatus::kRunning) result.push_back({box.id, box.name});
    }
    return result;
  }
  for (const std::string& reference : references) {
    TRY_ASSIGN(const Box box, runtime.get(reference));
    if (std::ranges::find(result, box.id(), &Subject::id) == result.end()) result.push_back({box.id(), box.name()});
  }
  return result;
}

/// Boxes that are gone. The error of the last one: there is nothing left to measure.
Result<void> drop_removed(const Runtime& runtime, std::vector<Subject>& boxes) {
  std::vector<Subject> left;
  for (Subject& box : boxes) {
    const auto found = runtime.get(box.id);
    if (found || found.error().code() != ErrorCode::kNotFound) left.push_back(box);
  }
  if (left.empty())
    return fail(ErrorCode::kNotFound, "box {} was removed; `boxlite ls -a` lists those that are here", boxes.back().name);
  boxes = std::move(left);
  return {};
}

/// All at once: a box that does not answer holds up nobody.
Samples sample(const Runtime& runtime, const std::vector<Subject>& boxes) {
  std::vector<std::optional<BoxUsage>> usages(boxes.size());
  {
    std::vector<std::jthread> threads;
    threads.reserve(boxes.size());
    for (std::size_t i = 0; i < boxes.size(); ++i) {
      const auto ask = [&, i] {
        const auto box = runtime.get(boxes[i].id);
        if (!box) return;
        if (auto usage = box->usage()) usages[i] = *usage;
      };
      auto thread = start_thread(ask);
      thread ? threads.push_back(std::move(*thread)) : ask();
    }
  }
  Samples samples;
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    if (usages[i]) samples.emplace(boxes[i].id, *usages[i]);
  }
  return samples;
}

/// One box in one interval.
struct Row {
  Subject box;
  std::optional<BoxUsage> usage;
  std::optional<double> cpu_percent;
  std::optional<double> host_cpu_percent;
};

std::optional<double> percent(std::uint64_t from, std::uint64_t to, std::uint64_t begin_ns, std::uint64_t end_ns) {
  if (to < from || end_ns <= begin_ns) return std::nullopt;  // it was started anew in between
  return 100.0 * static_cast<double>(to - from) / static_cast<double>(end_ns - begin_ns);
}

std::vector<Row> rows_of(const std::vector<Subject>& boxes, const Samples& before, const Samples& now) {
  std::vector<Row> rows;
  for (const Subject& box : boxes) {
    Row row{box, std::nullopt, std::nullopt, std::nullopt};
    if (const auto last = now.find(box.id); last != now.end()) {
      row.usage = last->second;
      if (const auto first = before.find(box.id); first != before.end()) {
        const BoxUsage& a = first->second;
        const BoxUsage& b = last->second;
        row.cpu_percent = percent(a.cpu_ns, b.cpu_ns, a.guest_time_ns, b.guest_time_ns);
        row.host_cpu_percent = percent(a.host_cpu_ns, b.host_cpu_ns, a.host_time_ns, b.host_time_ns);
      }
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

double memory_percent(const BoxUsage& usage) {
  if (usage.memory_limit_bytes == 0) return 0;
  return 100.0 * static_cast<double>(usage.memory_bytes) / static_cast<double>(usage.memory_limit_bytes);
}

std::string network_text(const std::optional<NetworkUsage>& usage) {
  if (!usage) return "-- / --";
  return human_size(usage->rx_bytes) + " / " + human_size(usage->tx_bytes);
}

std::string table_of(const std::vector<Row>& rows) {
  constexpr const char* kNone = "--";
  const auto percent_text = [](const std::optional<double>& value) { return value ? fmt::format("{:.2f}%", *value) : kNone; };
  Table table(
      {"BOX ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS", "HOST CPU %", "HOST MEM"});
  for (const Row& row : rows) {
    if (!row.usage) {
      table.add({row.box.id, row.box.name, kNone, "-- / --", kNone, "-- / --", "-- / --", kNone, kNone, kNone});
      continue;
    }
    const BoxUsage& usage = *row.usage;
    table.add({row.box.id, row.box.name, percent_text(row.cpu_percent),
               human_binary_size(usage.memory_bytes) + " / " + human_binary_size(usage.memory_limit_bytes),
               fmt::format("{:.2f}%", memory_percent(usage)), network_text(usage.network),
               human_size(usage.block_read_bytes) + " / " + human_size(usage.block_write_bytes), std::to_string(usage.processes),
               percent_text(row.host_cpu_percent), human_binary_size(usage.host_memory_bytes)});
  }
  return table.text();
}

Json json_of(const std::vector<Row>& rows) {
  const auto number = [](const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); };
  Json result = Json::array();
  for (const Row& row : rows) {
    const auto of_usage = [&row](const auto& value) { return row.usage ? Json(value(*row.usage)) : Json(nullptr); };
    result.push_back(
        Json{{"id", row.box.id},
             {"name", row.box.name},
             {"cpu_percent", number(row.cpu_percent)},
             {"cpu_ns", of_usage([](const BoxUsage& usage) { return usage.cpu_ns; })},
             {"memory_bytes", of_usage([](const BoxUsage& usage) { return usage.memory_bytes; })},
             {"memory_limit_bytes", of_usage([](const BoxUsage& usage) { return usage.memory_limit_bytes; })},
             {"memory_percent", of_usage(memory_percent)},
             {"block_read_bytes", of_usage([](const BoxUsage& usage) { return usage.block_read_bytes; })},
             {"block_write_bytes", of_usage([](const BoxUsage& usage) { return usage.block_write_bytes; })},
             {"network", of_usage([](const BoxUsage& usage) { return usage.network ? to_json(*usage.network) : Json(nullptr); })},
             {"pids", of_usage([](const BoxUsage& usage) { return usage.processes; })},
             {"host_cpu_percent", number(row.host_cpu_percent)},
             {"host_cpu_ns", of_usage([](const BoxUsage& usage) { return usage.host_cpu_ns; })},
             {"host_memory_bytes", of_usage([](const BoxUsage& usage) { return usage.host_memory_bytes; })}});
  }
  return result;
}

}  // namespace

Result<int> verb_stats(Invocation& invocation) {
  FlagSet flags(invocation, "stats", "[OPTIONS] [BOX...]", "Print what boxes use, every second (default: all that run)");
  bool once = false;
  std::optional<std::string> format;
  flags.flag("--no-stream", once, "Once, measured over a second");
  flags.value("--format", "json", format, "A JSON array, in a line for every second, instead of a table");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (!operands->empty()) TRY(require_boxes(flags, *operands));
  TRY(require_json(format));

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  const bool redraw = !once && !format && is_terminal(STDOUT_FILENO);
  TRY_ASSIGN(std::vector<Subject> boxes, subjects(runtime, *operands));
  TRY_ASSIGN(const Ticker ticker, Ticker::begin());
  Samples before = sample(runtime, boxes);
  for (;;) {
    TRY(ticker.wait());
    Samples now = sample(runtime, boxes);
    const std::vector<Row> rows = rows_of(boxes, before, now);
    if (format) {
      TRY(print(dump_json(json_of(rows)) + "\n"));
    } else {
      TRY(print((redraw ? kClearScreen : "") + table_of(rows)));
    }
    if (once) return 0;
    before = std::move(now);
    if (operands->empty()) {
      TRY_ASSIGN(boxes, subjects(runtime, *operands));
    } else {
      TRY(drop_removed(runtime, boxes));
    }
  }
}

}  // namespace boxlite::cli
