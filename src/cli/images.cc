// boxlite images: the images of the home.
#include <fnmatch.h>

#include <algorithm>

#include "cli/box_json.h"
#include "cli/flag_set.h"
#include "cli/format.h"
#include "cli/image_name.h"
#include "cli/output.h"

namespace boxlite::cli {
namespace {

// docker's rule: a pattern for the name, or for name and tag; "*" does not go over a "/".
bool matches(const ImageInfo& image, const std::string& pattern) {
  const auto [repository, tag] = split_reference(image);
  const auto fits = [&](const std::string& name) { return ::fnmatch(pattern.c_str(), name.c_str(), FNM_PATHNAME) == 0; };
  return has_name(image) && (fits(repository) || fits(repository + ":" + tag) || fits(image.reference));
}

struct Columns {
  bool digests = false;
  bool whole_ids = false;
};

std::string table_text(const std::vector<ImageInfo>& images, const Columns& columns) {
  const Time now = std::chrono::system_clock::now();
  std::vector<std::string> header = {"REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"};
  if (columns.digests) header.insert(header.begin() + 2, "DIGEST");
  Table table(std::move(header));
  for (const ImageInfo& image : images) {
    const auto [repository, tag] = split_reference(image);
    const std::string age = human_age(image.created, now);
    std::vector<std::string> row = {repository, tag, columns.whole_ids ? image.id : short_digest(image.id),
                                    age.empty() ? "N/A" : age, human_size(image.unpacked_bytes)};
    if (columns.digests) row.insert(row.begin() + 2, image.manifest_digest);
    table.add(std::move(row));
  }
  return table.text();
}

}  // namespace

Result<int> verb_images(Invocation& invocation) {
  FlagSet flags(invocation, "images", "[OPTIONS] [NAME[:TAG]]", "List the images that are here");
  bool quiet = false;
  bool all = false;
  Columns columns;
  std::optional<std::string> format;
  flags.flag("-a,--all", all, "All images, which is what is listed anyway: there are no intermediate ones");
  flags.flag("-q,--quiet", quiet, "Only ids");
  flags.flag("--digests", columns.digests, "A column with the digests of the manifests");
  flags.flag("--no-trunc", columns.whole_ids, "Whole ids");
  flags.value("--format", "json", format, "A JSON array instead of a table");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->size() > 1) return flags.usage_error(fmt::format("images takes one NAME, got {} too", operands->at(1)));
  TRY(require_json(format));

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(std::vector<ImageInfo> images, runtime.images());
  if (!operands->empty()) std::erase_if(images, [&](const ImageInfo& image) { return !matches(image, operands->front()); });
  if (quiet) {
    std::string ids;
    for (const ImageInfo& image : images) ids += (columns.whole_ids ? image.id : short_digest(image.id)) + "\n";
    TRY(print(ids));
  } else if (format) {
    Json rows = Json::array();
    for (const ImageInfo& image : images) rows.push_back(image_json(image));
    TRY(print_json(rows));
  } else {
    TRY(print(table_text(images, columns)));
  }
  return 0;
}

}  // namespace boxlite::cli
