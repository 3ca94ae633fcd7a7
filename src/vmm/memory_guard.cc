// boxlite-memory-guard.so: preloaded into a QEMU whose guest memory is a template's file, which many boxes share.
//
// QEMU 7.2 opens the file for writing although it maps it privately, and could so be made to write what every later box is
// restored from. In its jail the file is on a read-only mount, where that is refused, and with it the whole start. So here this
// one file is opened for reading, whatever QEMU asks for. Not this is what protects the file: without it QEMU does not start.
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

namespace {

constexpr const char* kMemory = "/boxlite/memory";  // jail.h, kJailMemory

int open_guarded(const char* path, int flags, mode_t mode) {
  if (strcmp(path, kMemory) == 0) flags = (flags & ~(O_ACCMODE | O_CREAT)) | O_RDONLY;
  return static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

}  // namespace

// The names that the C library has for it, with and without its checks of arguments.
extern "C" {

#define BOXLITE_OPEN(name)                      \
  int name(const char* path, int flags, ...) {  \
    mode_t mode = 0;                            \
    if ((flags & (O_CREAT | O_TMPFILE)) != 0) { \
      va_list arguments;                        \
      va_start(arguments, flags);               \
      mode = va_arg(arguments, mode_t);         \
      va_end(arguments);                        \
    }                                           \
    return open_guarded(path, flags, mode);     \
  }

BOXLITE_OPEN(open)
BOXLITE_OPEN(open64)

int __open_2(const char* path, int flags) { return open_guarded(path, flags, 0); }
int __open64_2(const char* path, int flags) { return open_guarded(path, flags, 0); }
}
