// For a template: has the kernel read what the first command of a box will need, so that every box restored from it finds that in
// its memory. Reads files of the image, runs nothing of it.
#pragma once

#include <string>
#include <vector>

namespace boxlite::agent {

/// `commands`: names or paths of programs, as a command line begins with them; with those their interpreters and shared
/// libraries. A program that is not there, or is not ELF, is none to wait for. The root disk is mounted.
void warm_page_cache(const std::vector<std::string>& commands);

}  // namespace boxlite::agent
