#include "runtime/disk_usage.h"

#include <sys/stat.h>

#include <filesystem>

namespace boxlite {
namespace {

std::uint64_t usage_of_one(const std::string& path) {
  struct stat st = {};
  return ::lstat(path.c_str(), &st) == 0 ? static_cast<std::uint64_t>(st.st_blocks) * 512 : 0;
}

}  // namespace

std::uint64_t disk_usage(const std::string& path) {
  std::uint64_t sum = usage_of_one(path);
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator it(path, error), end; !error && it != end; it.increment(error))
    sum += usage_of_one(it->path().string());
  return sum;
}

}  // namespace boxlite
