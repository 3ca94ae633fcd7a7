// boxlite image VERB: the verbs for images under docker's second names.
#include <algorithm>
#include <array>

#include "cli/flag_set.h"

namespace boxlite::cli {
namespace {

struct ImageVerb {
  std::string_view name;
  Result<int> (*run)(Invocation&);
  std::string_view summary;  // "": an alias
};

constexpr std::array kImageVerbs = {
    ImageVerb{"ls", verb_images, "List images (also: images, list)"},
    ImageVerb{"list", verb_images, ""},
    ImageVerb{"inspect", verb_image_inspect, "Print all about images as JSON"},
    ImageVerb{"prune", verb_image_prune, "Remove images that nobody needs"},
    ImageVerb{"pull", verb_pull, "Get an image"},
    ImageVerb{"load", verb_load, "Take the images of an archive"},
    ImageVerb{"save", verb_save, "Write images into an archive"},
    ImageVerb{"import", verb_import, "Make an image of the tar of a root file system"},
    ImageVerb{"tag", verb_tag, "Give an image one more name"},
    ImageVerb{"rm", verb_rmi, "Remove images (also: rmi, remove)"},
    ImageVerb{"remove", verb_rmi, ""},
};

std::string verbs_help() {
  std::string text = "Commands:\n";
  for (const ImageVerb& verb : kImageVerbs) {
    if (!verb.summary.empty()) text += fmt::format("  {:<10}{}\n", verb.name, verb.summary);
  }
  return text + "\nboxlite image COMMAND --help tells more.";
}

}  // namespace

Result<int> verb_image(Invocation& invocation) {
  FlagSet flags(invocation, "image", "COMMAND [ARG...]", "Work with images");
  flags.footer(verbs_help());
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kEndFlags));
  if (!operands) return 0;
  if (operands->empty()) return flags.usage_error("no COMMAND was given; boxlite image --help lists them");
  const std::string& name = operands->front();
  const auto* const verb = std::ranges::find(kImageVerbs, name, &ImageVerb::name);
  if (verb == kImageVerbs.end()) {
    return fail(ErrorCode::kInvalidArgument, "unknown command image {}; boxlite image --help lists the commands", name);
  }
  invocation.arguments.assign(operands->begin() + 1, operands->end());
  return verb->run(invocation);
}

}  // namespace boxlite::cli
