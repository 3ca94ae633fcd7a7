// Made-up box names, as docker has them: "quiet_heron".
#pragma once

#include <string>

namespace boxlite {

std::string random_box_name();

}  // namespace boxlite
