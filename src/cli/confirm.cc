#include "cli/confirm.h"

#include <iostream>

#include "cli/output.h"

namespace boxlite::cli {

Result<bool> confirm_removal(const std::string& what) {
  TRY(print(fmt::format("WARNING! This will remove all {}.\nAre you sure you want to continue? [y/N] ", what)));
  std::string answer;
  std::getline(std::cin, answer);
  if (std::cin.eof()) TRY(print("\n"));  // no newline was typed that would have ended the line of the question
  return answer == "y" || answer == "Y" || answer == "yes";
}

}  // namespace boxlite::cli
