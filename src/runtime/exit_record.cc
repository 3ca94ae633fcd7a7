#include "runtime/exit_record.h"

#include <signal.h>

#include <algorithm>

#include "base/file.h"
#include "base/sys.h"
#include "runtime/disk_reserve.h"

namespace boxlite {
namespace {

constexpr std::size_t kMaxRecordFile = 64 * 1024;
constexpr std::size_t kMaxReason = 2000;

Result<Json> read_json(const std::string& path) {
  TRY_ASSIGN(const std::string text, read_file(path, kMaxRecordFile));
  return parse_json(text, path);
}

std::optional<ExitRecord> parse(const Result<Json>& json) {
  if (!json) return std::nullopt;
  auto record = exit_record_from_json(*json);
  if (!record) return std::nullopt;
  return std::move(*record);
}

}  // namespace

ExitRecord with_short_reason(ExitRecord record) {
  record.reason.resize(std::min(record.reason.size(), kMaxReason));
  std::ranges::replace_if(record.reason, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
  return record;
}

std::optional<ExitRecord> read_exit_record(const std::string& path) { return parse(read_json(path)); }

std::optional<ExitRecord> read_left_record(const std::string& lease_path) {
  const auto lease = read_json(lease_path);
  if (!lease || !lease->is_object() || !lease->contains("exit")) return std::nullopt;
  return parse(lease->at("exit"));
}

Result<void> write_exit_record(const HomePaths& paths, const std::string& id, ExitRecord record) {
  const std::string path = paths.exit_record(id);
  const auto present = read_exit_record(path);
  if (present && present->generation >= record.generation) return {};
  const DiskReserve reserve(paths.reserve());
  return write_file_atomic(path, dump_json(to_json(with_short_reason(std::move(record)))) + "\n", 0600);
}

ExitRecord killed_record(std::uint64_t generation, std::string reason) {
  ExitRecord record;
  record.generation = generation;
  record.code = 128 + SIGKILL;
  record.signal = SIGKILL;
  record.reason = std::move(reason);
  record.finished_at = sys::utc_now();
  return record;
}

}  // namespace boxlite
