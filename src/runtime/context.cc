#include "runtime/context.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string_view>

namespace boxlite {
namespace {

bool cold_start(const RuntimeOptions& options) {
  const char* value = std::getenv("BOXLITE_COLD");  // NOLINT(concurrency-mt-unsafe): read only
  return options.cold_start || (value != nullptr && *value != '\0' && std::string_view(value) != "0");
}

}  // namespace

Result<Context> open_context(const std::string& home, const RuntimeOptions& options) {
  // What cannot be looked at is opened, which tells why.
  const bool exists = options.create_home || ::access(home.c_str(), F_OK) == 0 || errno != ENOENT;
  if (!exists) {
    TRY_ASSIGN(Database none, Database::open_empty());
    return Context{HomePaths(home), std::move(none), options.accelerator, cold_start(options), exists};
  }
  TRY_ASSIGN(HomePaths paths, open_home(home));
  TRY_ASSIGN(Database database, Database::open(paths.database()));
  return Context{std::move(paths), std::move(database), options.accelerator, cold_start(options), exists};
}

}  // namespace boxlite
