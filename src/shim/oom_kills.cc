#include "shim/oom_kills.h"

#include <charconv>
#include <string_view>

#include "base/file.h"

namespace boxlite::shim {

std::uint64_t oom_kills() {
  constexpr std::string_view kName = "\noom_kill ";
  const auto text = read_file("/proc/vmstat", 65536);
  const std::size_t at = text ? text->find(kName) : std::string::npos;
  if (at == std::string::npos) return 0;
  std::uint64_t kills = 0;
  std::from_chars(text->data() + at + kName.size(), text->data() + text->size(), kills);
  return kills;
}

}  // namespace boxlite::shim
