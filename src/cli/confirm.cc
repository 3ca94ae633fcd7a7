#include "cli/confirm.h"

#include <iostream>

#include "cli/output.h"

namespace boxlite::cli {

Result<bool> confirm_removal(const std::string& what) {
  TRY(print(fmt::format("WARNING! This will remove all {}.\nAre you sure you want to continue? [y/N] ", what)));
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

}  // namespace boxlite::cli
