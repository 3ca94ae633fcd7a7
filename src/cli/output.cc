#include "cli/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "base/sys.h"

namespace boxlite::cli {
namespace {

// Of the character that the text begins with; 0: none.
std::size_t utf8_length(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xc2 && first < 0xe0   ? 2
                             : first >= 0xe0 && first < 0xf0 ? 3
                             : first >= 0xf0 && first < 0xf5 ? 4
                                                             : 0;
  if (length == 0 || text.size() < length) return 0;
  const bool whole =
      std::ranges::all_of(text.substr(1, length - 1), [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) == 0x80; });
  return whole ? length : 0;
}

}  // namespace

void ensure_standard_descriptors() {
  for (int fd = 0; fd <= 2; ++fd) {
    // open() returns the lowest free number, which is fd: the lower ones are open by now. A failure leaves it closed, as it was.
    // Output that has nowhere to go is an error of the write.
    if (::fcntl(fd, F_GETFD) < 0 && errno == EBADF) (void)::open("/dev/null", O_RDONLY);
  }
}

Result<void> print(std::string_view text) {
  const Result<void> written = sys::write_all(STDOUT_FILENO, text);
  if (written) return {};
  if (written.error().error_number() == EPIPE) {
    ::signal(SIGPIPE, SIG_DFL);
    ::raise(SIGPIPE);
  }
  return std::unexpected(written.error().context("standard output"));
}

Result<void> print_json(const Json& value) {
  const std::string text = dump_json(value, 2);
  // Those that JSON allows as they are: they stand in strings only.
  std::string shown;
  shown.reserve(text.size() + 1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c1 = byte == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (byte == 0x7f || c1) {
      shown += fmt::format("\\u{:04x}", c1 ? static_cast<unsigned char>(text[++i]) : byte);
    } else {
      shown += text[i];
    }
  }
  return print(shown + "\n");
}

void print_error(std::string_view message) {
  // Nobody is left to tell when this fails.
  (void)sys::write_all(STDERR_FILENO, "boxlite: " + one_line(message) + "\n");
}

void print_notice(std::string_view message) { (void)sys::write_all(STDERR_FILENO, one_line(message) + "\n"); }

std::string one_line(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text.substr(i));
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto second = static_cast<unsigned char>(length == 2 ? text[i + 1] : 0);
    // U+0080 to U+009F are control characters too, and so are these bytes by themselves for a terminal without UTF-8.
    const bool c1 = byte == 0xc2 && second < 0xa0 && length == 2;
    if (byte < 0x20 || byte == 0x7f || length == 0 || c1) {
      result += fmt::format("\\x{:02x}", c1 ? second : byte);
    } else {
      result += text.substr(i, length);
    }
    i += std::max<std::size_t>(length, 1);
  }
  return result;
}

}  // namespace boxlite::cli
