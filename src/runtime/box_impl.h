// What a Box is inside: a name for a row, and the context to look it up in.
#pragma once

#include <string>

#include "boxlite/box.h"
#include "runtime/context.h"

namespace boxlite {

class Box::Impl {
 public:
  ContextPtr context;
  std::string id;
  std::string name;

  /// kNotFound once the box is removed.
  Result<BoxRow> row() const;
};

}  // namespace boxlite
