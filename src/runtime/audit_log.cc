#include "runtime/audit_log.h"

#include <algorithm>

#include "base/bounded_log.h"
#include "base/sys.h"

namespace boxlite {
namespace {

constexpr std::uint64_t kLimit = 1024 * 1024;
constexpr std::size_t kMaxWords = 4096;

}  // namespace

void append_audit(const HomePaths& paths, const std::string& id, std::string_view event, Json details) {
  details["time"] = sys::utc_now();
  details["event"] = event;
  if (auto log = BoundedLog::open(paths.audit_log(id), kLimit)) (void)log->append(dump_json(details) + "\n");
}

Json audit_words(const std::vector<std::string>& words) {
  Json kept = Json::array();
  std::size_t left = kMaxWords;
  for (const std::string& word : words) {
    if (left == 0) break;
    kept.push_back(word.substr(0, left));
    left -= std::min(word.size() + 1, left);  // an empty word counts too
  }
  return kept;
}

}  // namespace boxlite
