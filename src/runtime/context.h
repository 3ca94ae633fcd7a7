// What every operation of one Runtime needs. Shared by the Runtime and its Boxes.
#pragma once

#include <memory>
#include <string>

#include "runtime/database.h"
#include "runtime/paths.h"

namespace boxlite {

struct Context {
  HomePaths paths;
  Database database;
  std::string accelerator;  // "": proven or remembered; "kvm", "tcg": forced
  bool home_exists = true;  // false: `database` is empty, and nowhere
};
using ContextPtr = std::shared_ptr<Context>;

}  // namespace boxlite
