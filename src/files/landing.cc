#include "files/landing.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/sys.h"

namespace boxlite::files {
namespace {

bool names_directory(const std::string& path) { return path.ends_with('/') || path.ends_with("/."); }

std::string without_slashes(std::string path) {
  for (;;) {
    if (path.size() > 1 && path.ends_with('/')) {
      path.pop_back();
    } else if (path.size() > 2 && path.ends_with("/.")) {
      path.resize(path.size() - 2);
    } else {
      return path;
    }
  }
}

}  // namespace

std::string root_name(const std::string& source) {
  std::string path = source;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  const std::string name = path.substr(path.rfind('/') + 1);
  return name.empty() || name == ".." ? "." : name;
}

Result<UniqueFd> open_directory(const std::string& path) { return sys::open(path, O_PATH | O_DIRECTORY); }

Result<Landing> land(const std::string& destination, const std::string& root, bool source_is_directory) {
  auto directory = open_directory(destination);
  if (directory) return Landing{std::move(*directory), root};
  const int error = directory.error().error_number();
  if (error != ENOENT && error != ENOTDIR) return std::unexpected(directory.error());

  const std::string path = without_slashes(destination);
  const std::size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  Landing landing;
  landing.name = path.substr(slash + 1);
  if (landing.name.empty() || landing.name == "..") return std::unexpected(directory.error());
  auto opened = open_directory(parent);
  if (!opened) return std::unexpected(opened.error().context("the destination's directory"));
  landing.base = std::move(*opened);

  struct stat st = {};
  if (::fstatat(landing.base.get(), landing.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) < 0) {
    if (errno != ENOENT) return fail_errno("{}", destination);
    if (!source_is_directory && names_directory(destination)) {
      return fail(ErrorCode::kNotFound, "there is no directory {} to copy a file into; make it first", destination);
    }
    return landing;
  }
  if (S_ISLNK(st.st_mode)) {
    return fail(ErrorCode::kInvalidArgument, "{} is a symbolic link that leads to no directory; name the file itself",
                destination);
  }
  if (source_is_directory || names_directory(destination)) {
    return fail(ErrorCode::kInvalidArgument, "{} is not a directory", destination);
  }
  if (!S_ISREG(st.st_mode)) return fail(ErrorCode::kInvalidArgument, "{} is neither a file nor a directory", destination);
  return landing;
}

}  // namespace boxlite::files
