#include "runtime/paths.h"

#include <pwd.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "base/file.h"
#include "base/sys.h"
#include "image/image_job.h"

namespace boxlite {
namespace {

struct UnfitFileSystem {
  long type;
  const char* name;
};

// Network file systems answer a lock query from another machine's memory, or not at all; FUSE does what its author thought of.
// Magic numbers: statfs(2) and linux/magic.h.
constexpr std::array kUnfit = {
    UnfitFileSystem{0x6969, "NFS"},        UnfitFileSystem{0xff534d42, "CIFS"}, UnfitFileSystem{0xfe534d42, "SMB2"},
    UnfitFileSystem{0x517b, "SMB"},        UnfitFileSystem{0x01021997, "9p"},   UnfitFileSystem{0x65735546, "FUSE"},
    UnfitFileSystem{0x00c36400, "Ceph"},   UnfitFileSystem{0x5346414f, "AFS"},  UnfitFileSystem{0x73757245, "Coda"},
    UnfitFileSystem{0x0bd00bd0, "Lustre"}, UnfitFileSystem{0x47504653, "GPFS"},
};

constexpr const char* kMoveHint = "keep the home on a local disk: boxlite --home DIR, or BOXLITE_HOME=DIR";

Result<void> check_file_system(const std::string& directory, const std::string& home) {
  struct statfs fs = {};
  if (::statfs(directory.c_str(), &fs) < 0) return fail_errno("statfs {}", directory);
  const std::string name = unfit_file_system(static_cast<long>(fs.f_type));
  if (name.empty()) return {};
  return fail(ErrorCode::kUnsupported, "home {} is on the file system {}, whose locks cannot tell which boxes are alive; {}",
              home, name, kMoveHint);
}

Result<void> check_owner_and_mode(const std::string& home) {
  TRY_ASSIGN(const struct stat st, sys::stat(home));
  if (!S_ISDIR(st.st_mode)) return fail(ErrorCode::kInvalidArgument, "home {} is not a directory; use another --home DIR", home);
  if (st.st_uid != ::geteuid()) {
    return fail(ErrorCode::kPermissionDenied,
                "home {} belongs to user {}, and this is user {}; use a home of your own (--home DIR)", home, st.st_uid,
                ::geteuid());
  }
  if ((st.st_mode & 077U) != 0) {
    // A folder of another purpose, named by mistake, is not to be closed to others.
    const auto holds = [&](const char* name) { return ::access(fmt::format("{}/{}", home, name).c_str(), F_OK) == 0; };
    std::error_code ignored;
    if (!std::filesystem::is_empty(home, ignored) && !holds("locks") && !holds("config.json")) {
      return fail(ErrorCode::kPermissionDenied,
                  "{} is no home of boxlite: it holds other things, and is open to other users; use another --home DIR", home);
    }
    return fail(ErrorCode::kPermissionDenied, "home {} is open to other users (mode {:04o}); run: chmod 700 {}", home,
                st.st_mode & 07777U, home);
  }
  return {};
}

}  // namespace

bool is_box_id(std::string_view text) {
  return text.size() == 12 && std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string HomePaths::join(std::string_view folder, std::string_view id, std::string_view rest) const {
  std::string path;
  path.reserve(home_.size() + folder.size() + id.size() + rest.size());
  return path.append(home_).append(folder).append(id).append(rest);
}

std::string HomePaths::base(const std::string& image_id) const { return join("/bases/", image::base_file_name(image_id), ""); }

std::string unfit_file_system(long type) {
  // f_type is sign-extended on some kernels: compare the low 32 bits.
  const auto low = static_cast<unsigned long>(type) & 0xffffffffUL;
  for (const UnfitFileSystem& unfit : kUnfit) {
    if (low == static_cast<unsigned long>(unfit.type)) return unfit.name;
  }
  return {};
}

Result<std::string> choose_home(const std::string& requested) {
  std::string home = requested;
  if (home.empty()) {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): read only
    if (const char* variable = std::getenv("BOXLITE_HOME"); variable != nullptr) home = variable;
  }
  if (home.empty()) {
    const char* user_home = std::getenv("HOME");  // NOLINT(concurrency-mt-unsafe)
    if (user_home == nullptr || *user_home == '\0') {
      return fail(ErrorCode::kInvalidArgument, "neither HOME nor BOXLITE_HOME is set; say where boxes are kept: --home DIR");
    }
    home = std::string(user_home) + "/.boxlite";
  }
  std::error_code error;
  std::filesystem::path absolute = std::filesystem::absolute(home, error).lexically_normal();
  if (error) return fail(ErrorCode::kInvalidArgument, "home {}: {}", home, error.message());
  std::string text = absolute.string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  if (text.find_first_of(std::string_view("\n\0", 2)) != std::string::npos) {
    return fail(ErrorCode::kInvalidArgument, "the home's path holds a line break or a NUL byte");
  }
  return text;
}

Result<HomePaths> open_home(const std::string& home) {
  HomePaths paths(home);
  const auto denied = [&](const Error& error) {
    const bool refused = error.code() == ErrorCode::kPermissionDenied;
    return std::unexpected(
        Error(error.code(), fmt::format("cannot use home {}: {}; {}", home, error.message(),
                                        refused ? "use one that this user may write to (--home DIR)" : kMoveHint)));
  };
  struct stat st = {};
  if (::stat(home.c_str(), &st) < 0) {
    // Nothing is left behind on a file system that is refused.
    const std::string parent = home.substr(0, std::max<std::size_t>(home.rfind('/'), 1));
    if (::stat(parent.c_str(), &st) == 0) TRY(check_file_system(parent, home));
    if (auto made = ensure_directory(home, 0700); !made) return denied(made.error());
  }
  TRY(check_owner_and_mode(home));
  TRY(check_file_system(home, home));
  if (::access(home.c_str(), W_OK | X_OK) < 0) return denied(Error::from_errno(errno, fmt::format("write to {}", home)));
  for (const std::string& folder : {paths.locks(), paths.boxes(), paths.images(), paths.bases(), paths.templates(), paths.tmp(),
                                    paths.trash(), paths.memo()}) {
    if (auto made = ensure_directory(folder, 0700); !made) return denied(made.error());
  }
  return paths;
}

}  // namespace boxlite
