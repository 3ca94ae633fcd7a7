#include "runtime/programs.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <optional>
#include <vector>

namespace boxlite {
namespace {

// Where the CMake build says `cmake --install` puts things.
constexpr const char* kLibexecDir = BOXLITE_INSTALL_PREFIX "/libexec/boxlite";
constexpr const char* kShareDir = BOXLITE_INSTALL_PREFIX "/share/boxlite";

std::string program_directory() {
  std::array<char, PATH_MAX> buffer;
  const ssize_t length = ::readlink("/proc/self/exe", buffer.data(), buffer.size());
  if (length <= 0) return {};
  const std::string path(buffer.data(), static_cast<std::size_t>(length));
  return path.substr(0, path.rfind('/'));
}

// Of the shared library that this code is in; nullopt: it is the program's own. A name that is not absolute is not resolved: the
// working directory may be anybody's.
std::optional<std::string> library_directory() {
  Dl_info unused = {};
  link_map* object = nullptr;
  const void* here = reinterpret_cast<const void*>(&library_directory);
  if (::dladdr1(here, &unused, reinterpret_cast<void**>(&object), RTLD_DL_LINKMAP) == 0 || object == nullptr) return std::nullopt;
  const std::string path = object->l_name;  // "" of the program
  if (!path.starts_with('/')) return std::nullopt;
  return path.substr(0, path.rfind('/'));
}

// `places` as seen from where this code is, then `installed`.
std::vector<std::string> directories(const std::vector<std::string>& places, const char* installed) {
  std::vector<std::string> found;
  for (const std::string& own : {library_directory().value_or(""), program_directory()}) {
    if (own.empty()) continue;
    for (const std::string& place : places) found.push_back(own + place);
  }
  found.emplace_back(installed);
  return found;
}

Result<std::string> find(const std::string& name, const char* variable, const std::vector<std::string>& directories, int mode) {
  // An explicit directory is the only one looked at: an old file elsewhere must not stand in silently.
  // NOLINTNEXTLINE(concurrency-mt-unsafe): read only
  if (const char* chosen = std::getenv(variable); chosen != nullptr && *chosen != '\0') {
    const std::string path = fmt::format("{}/{}", chosen, name);
    if (::access(path.c_str(), mode) == 0) return path;
    return fail(ErrorCode::kNotFound, "{} is not in {}={}; correct that variable, or unset it", name, variable, chosen);
  }
  std::string looked;
  for (const std::string& directory : directories) {
    const std::string path = fmt::format("{}/{}", directory, name);
    if (::access(path.c_str(), mode) == 0) return path;
    looked += (looked.empty() ? "" : ", ") + directory;
  }
  return fail(ErrorCode::kNotFound, "{} is not in {}; install boxlite completely, or set {}", name, looked, variable);
}

Result<std::string> find_own_part(const std::string& name, int mode) {
  return find(name, "BOXLITE_LIBEXEC_DIR", directories({"", "/../libexec/boxlite"}, kLibexecDir), mode);
}

}  // namespace

Result<std::string> find_own_program(const std::string& name) { return find_own_part(name, X_OK); }

Result<std::string> find_guest_file(const std::string& name) {
  return find(name, "BOXLITE_GUEST_DIR", directories({"/../guest", "/../share/boxlite"}, kShareDir), R_OK);
}

Result<StartPrograms> find_start_programs() {
  StartPrograms programs;
  TRY_ASSIGN(const std::string vm_init, find_own_program("boxlite-vm-init"));
  TRY_ASSIGN(programs.vm, vmm::find_vm_programs(vm_init));
  TRY_ASSIGN(programs.vm.volume_server, find_own_program("boxlite-volume"));
  TRY_ASSIGN(programs.vm.memory_guard, find_own_part("boxlite-memory-guard.so", R_OK));  // a library
  TRY_ASSIGN(programs.vm.vm_resume, find_own_program("boxlite-vm-resume"));
  TRY_ASSIGN(programs.template_maker, find_own_program("boxlite-template"));
  TRY_ASSIGN(programs.shim, find_own_program("boxlite-shim"));
  TRY_ASSIGN(programs.net, find_own_program("boxlite-net"));
  TRY_ASSIGN(programs.kernel, find_guest_file("vmlinux"));
  TRY_ASSIGN(programs.initramfs, find_guest_file("initramfs.cpio"));
  return programs;
}

}  // namespace boxlite
