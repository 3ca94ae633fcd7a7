// What every operation of one Runtime needs. Shared by the Runtime and its Boxes.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "boxlite/runtime.h"
#include "runtime/database.h"
#include "runtime/paths.h"

namespace boxlite {

struct Context {
  HomePaths paths;
  Database database;
  std::string accelerator;  // "": proven or remembered; "kvm", "tcg": forced
  bool cold_start = false;  // boxes boot
  bool home_exists = true;  // false: `database` is empty, and nowhere
};
using ContextPtr = std::shared_ptr<Context>;

/// `home` as choose_home() gives it; made if options.create_home.
Result<Context> open_context(const std::string& home, const RuntimeOptions& options);

}  // namespace boxlite
