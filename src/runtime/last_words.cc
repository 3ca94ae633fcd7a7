#include "runtime/last_words.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/sys.h"

namespace boxlite {
namespace {

constexpr std::size_t kTail = 8192;
constexpr std::size_t kMaxLine = 200;

std::string read_tail(const std::string& path) {
  const auto fd = sys::open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!fd) return {};
  const auto st = sys::fstat(fd->get());
  if (!st || !S_ISREG(st->st_mode)) return {};
  const off_t begin = std::max<off_t>(0, st->st_size - static_cast<off_t>(kTail));
  std::string tail(kTail, '\0');
  const ssize_t count = ::pread(fd->get(), tail.data(), tail.size(), begin);
  tail.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return tail;
}

// A terminal acts upon control characters and escape sequences; ASCII's printable part is all a reason needs.
std::string printable(std::string_view line) {
  std::string text;
  for (const char c : line.substr(0, kMaxLine)) {
    if (c == '\t') {
      text.push_back(' ');
    } else if (c >= 0x20 && c < 0x7f) {
      text.push_back(c);
    } else {
      text.push_back('?');
    }
  }
  return text;
}

}  // namespace

std::string last_words(const std::string& path, std::size_t lines) {
  const std::string tail = read_tail(path);
  std::vector<std::string> found;
  std::string_view rest = tail;
  while (!rest.empty() && found.size() < lines) {
    const std::size_t newline = rest.rfind('\n');
    std::string_view line = newline == std::string_view::npos ? rest : rest.substr(newline + 1);
    rest = newline == std::string_view::npos ? std::string_view() : rest.substr(0, newline);
    const std::size_t last = line.find_last_not_of(" \t\r");
    if (last != std::string_view::npos) found.push_back(printable(line.substr(0, last + 1)));
  }
  std::string joined;
  for (auto it = found.rbegin(); it != found.rend(); ++it) joined += (joined.empty() ? "" : " | ") + *it;
  return joined;
}

}  // namespace boxlite
