// boxlite images: the images of the home.
#include "cli/box_json.h"
#include "cli/flag_set.h"
#include "cli/format.h"
#include "cli/output.h"

namespace boxlite::cli {
namespace {

constexpr std::string_view kNone = "<none>";  // docker's

struct RepositoryAndTag {
  std::string repository;
  std::string tag;
};

RepositoryAndTag split_reference(std::string_view reference) {
  const std::string shown = familiar_reference(reference);
  if (shown.starts_with("oci:")) return {shown, std::string(kNone)};
  if (const std::size_t at = shown.find('@'); at != std::string::npos) return {shown.substr(0, at), std::string(kNone)};
  const std::size_t colon = shown.rfind(':');  // one before a slash belongs to a port
  if (colon == std::string::npos || shown.find('/', colon) != std::string::npos) return {shown, std::string(kNone)};
  return {shown.substr(0, colon), shown.substr(colon + 1)};
}

}  // namespace

Result<int> verb_images(Invocation& invocation) {
  FlagSet flags(invocation, "images", "[OPTIONS]", "List the images that are here");
  bool quiet = false;
  std::optional<std::string> format;
  flags.flag("-q,--quiet", quiet, "Only ids");
  flags.value("--format", "json", format, "A JSON array instead of a table");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (!operands->empty()) return flags.usage_error(fmt::format("images takes no operand, got {}", operands->front()));
  TRY(require_json(format));

  TRY_ASSIGN(const Runtime runtime, open_runtime(invocation));
  TRY_ASSIGN(const std::vector<ImageInfo> images, runtime.images());
  if (quiet) {
    std::string ids;
    for (const ImageInfo& image : images) ids += short_digest(image.id) + "\n";
    TRY(print(ids));
  } else if (format) {
    Json rows = Json::array();
    for (const ImageInfo& image : images) rows.push_back(image_json(image));
    TRY(print_json(rows));
  } else {
    const Time now = std::chrono::system_clock::now();
    Table table({"REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"});
    for (const ImageInfo& image : images) {
      const auto [repository, tag] = split_reference(image.reference);
      const std::string age = human_age(image.created, now);
      table.add({repository, tag, short_digest(image.id), age.empty() ? "N/A" : age, human_size(image.unpacked_bytes)});
    }
    TRY(print(table.text()));
  }
  return 0;
}

}  // namespace boxlite::cli
