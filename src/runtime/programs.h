// The programs and guest files that belong to this build, found beside the library or program that this is, or where it was
// installed.
#pragma once

#include <string>

#include "base/result.h"
#include "vmm/vm.h"

namespace boxlite {

/// $BOXLITE_LIBEXEC_DIR; else the directory of libboxlite.so, and of the running program, or ../libexec/boxlite seen from them;
/// else <prefix>/libexec/boxlite.
Result<std::string> find_own_program(const std::string& name);

/// $BOXLITE_GUEST_DIR; else ../guest or ../share/boxlite seen from them; else <prefix>/share/boxlite.
Result<std::string> find_guest_file(const std::string& name);

/// What starting a box needs. Every path is absolute and existed a moment ago.
struct StartPrograms {
  std::string shim;
  std::string net;
  std::string template_maker;
  std::string kernel;
  std::string initramfs;
  vmm::VmPrograms vm;
};
Result<StartPrograms> find_start_programs();

}  // namespace boxlite
