#include "cli/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/sys.h"

namespace boxlite::cli {

void ensure_standard_descriptors() {
  for (int fd = 0; fd <= 2; ++fd) {
    // open() returns the lowest free number, which is fd: the lower ones are open by now. A failure leaves it closed, as it was.
    if (::fcntl(fd, F_GETFD) < 0 && errno == EBADF) (void)::open("/dev/null", O_RDWR);
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

Result<void> print_json(const Json& value) { return print(dump_json(value, 2) + "\n"); }

void print_error(std::string_view message) {
  // Nobody is left to tell when this fails.
  (void)sys::write_all(STDERR_FILENO, "boxlite: " + one_line(message) + "\n");
}

void print_notice(std::string_view message) { (void)sys::write_all(STDERR_FILENO, one_line(message) + "\n"); }

std::string one_line(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F, control characters too, are C2 80 to C2 9F in UTF-8.
    const bool c1 = byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) >= 0x80 &&
                    static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (byte < 0x20 || byte == 0x7f || c1) {
      result += fmt::format("\\x{:02x}", c1 ? static_cast<unsigned char>(text[++i]) : byte);
    } else {
      result += text[i];
    }
  }
  return result;
}

}  // namespace boxlite::cli
