#include "cli/env_file.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "base/file.h"
#include "cli/user_path.h"
#include "cli/values.h"

namespace boxlite::cli {
namespace {

constexpr std::size_t kMaxFile = std::size_t{4} * 1024 * 1024;
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr std::string_view kBlank = " \t\v\f\r";

std::string_view take_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

Result<void> read_env_file(const std::string& path, std::vector<std::string>& environment) {
  TRY_ASSIGN(const std::string content, check_path(read_file(path, kMaxFile)));
  std::string_view text = content;
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  for (int number = 1; !text.empty(); ++number) {
    std::string_view line = take_line(text);
    line.remove_prefix(std::min(line.find_first_not_of(kBlank), line.size()));
    if (line.empty() || line.starts_with('#')) continue;
    const std::string name(line.substr(0, line.find('=')));
    // The text stays out of the message: it may be a secret.
    if (name.empty()) return fail(ErrorCode::kInvalidArgument, "--env-file {}: line {} has no name before \"=\"", path, number);
    if (name.find_first_of(kBlank) != std::string::npos) {
      return fail(ErrorCode::kInvalidArgument, "--env-file {}: line {} has white space in the name; write NAME=value", path,
                  number);
    }
    if (name.size() < line.size()) {
      environment.emplace_back(line);
    } else if (const char* here = std::getenv(name.c_str()); here != nullptr) {
      environment.push_back(name + "=" + here);
    }
  }
  return {};
}

}  // namespace

Result<std::vector<std::string>> read_environment(const std::vector<std::string>& files, const std::vector<std::string>& values) {
  TRY_ASSIGN(const std::vector<std::string> given, resolve_environment("--env", values));
  std::vector<std::string> environment;
  for (const std::string& path : files) {
    if (auto read = read_env_file(path, environment); !read) {
      if (read.error().code() == ErrorCode::kInvalidArgument) return std::unexpected(std::move(read).error());
      return std::unexpected(std::move(read).error().context("--env-file " + path));
    }
  }
  environment.insert(environment.end(), given.begin(), given.end());
  return environment;
}

}  // namespace boxlite::cli
