#pragma once

#include <cstdint>
#include <string>

namespace boxlite {

/// The space on the disk that a file, or a directory with all below it, takes; what cannot be seen does not count.
std::uint64_t disk_usage(const std::string& path);

}  // namespace boxlite
