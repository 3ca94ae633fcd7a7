// Looks at files of the home that others may be taking away meanwhile.
#pragma once

#include <string>
#include <vector>

namespace boxlite {

/// By name or as a link to nowhere.
bool exists(const std::string& path);

/// Sorted; none of a directory that is not there.
std::vector<std::string> names_in(const std::string& directory);

}  // namespace boxlite
