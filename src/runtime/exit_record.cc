#include "runtime/exit_record.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.h"
#include "base/sys.h"
#include "runtime/audit_log.h"
#include "runtime/disk_reserve.h"

namespace boxlite {
namespace {

constexpr std::size_t kMaxExitRecord = 64 * 1024;
constexpr std::size_t kMaxReason = 2000;
// Any record: JSON makes at most three bytes of one of the reason's.
constexpr off_t kReserved = 8192;

std::string reserved_path(const HomePaths& paths, const std::string& id) { return paths.exit_record(id) + ".reserved"; }

Result<Json> read_json(const std::string& path) {
  TRY_ASSIGN(const std::string text, read_file(path, kMaxExitRecord));
  return parse_json(text, path);
}

std::optional<ExitRecord> parse(const Result<Json>& json) {
  if (!json) return std::nullopt;
  auto record = exit_record_from_json(*json);
  if (!record) return std::nullopt;
  return std::move(*record);
}

// Into the blocks that the start has set aside.
Result<void> write_reserved(const std::string& reserved, const std::string& path, std::string_view contents) {
  TRY_ASSIGN(const UniqueFd fd, sys::open(reserved, O_WRONLY | O_NOFOLLOW));
  TRY(sys::write_all(fd.get(), contents));
  if (::ftruncate(fd.get(), static_cast<off_t>(contents.size())) < 0) return fail_errno("truncate {}", reserved);
  TRY(sys::fsync(fd.get(), reserved));
  TRY(sys::rename(reserved, path));
  return sync_directory(path.substr(0, path.rfind('/')));
}

}  // namespace

Result<void> reserve_exit_record(const HomePaths& paths, const std::string& id) {
  const std::string path = reserved_path(paths, id);
  TRY_ASSIGN(const UniqueFd fd, sys::open(path, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600));
  if (const int error = ::posix_fallocate(fd.get(), 0, kReserved); error != 0) {
    errno = error;
    return fail_errno("set space aside for {}", paths.exit_record(id));
  }
  return {};
}

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
  record = with_short_reason(std::move(record));
  append_audit(paths, id, "stop",
               {{"generation", record.generation},
                {"failed", record.failed},
                {"code", record.code},
                {"signal", record.signal},
                {"oom_killed", record.oom_killed},
                {"reason", record.reason}});
  const std::string contents = dump_json(to_json(record)) + "\n";
  if (write_reserved(reserved_path(paths, id), path, contents)) return {};
  return write_file_atomic(path, contents, 0600);
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
