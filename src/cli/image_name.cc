#include "cli/image_name.h"

#include "cli/format.h"
#include "cli/output.h"

namespace boxlite::cli {

RepositoryAndTag split_reference(const ImageInfo& image) {
  const std::string none(kNoName);
  if (!has_name(image)) return {none, none};
  const std::string shown = familiar_reference(image.reference);
  if (shown.starts_with("oci:")) return {shown, none};
  if (const std::size_t at = shown.find('@'); at != std::string::npos) return {shown.substr(0, at), none};
  const std::size_t colon = shown.rfind(':');  // one before a slash belongs to a port
  if (colon == std::string::npos || shown.find('/', colon) != std::string::npos) return {shown, none};
  return {shown.substr(0, colon), shown.substr(colon + 1)};
}

std::string removal_text(const ImageRemoval& removal, bool capital) {
  std::string text;
  for (const std::string& name : removal.untagged) {
    text += fmt::format("{}: {}\n", capital ? "Untagged" : "untagged", one_line(familiar_reference(name)));
  }
  for (const std::string& id : removal.deleted) text += fmt::format("{}: {}\n", capital ? "Deleted" : "deleted", id);
  return text;
}

}  // namespace boxlite::cli
