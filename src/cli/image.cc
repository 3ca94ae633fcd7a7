// boxlite image VERB: the verbs for images under docker's second names.
#include <array>

#include "cli/verb_group.h"

namespace boxlite::cli {
namespace {

constexpr std::array kImageVerbs = {
    Verb{"ls", verb_images, "List images (also: images, list)"},
    Verb{"list", verb_images, ""},
    Verb{"inspect", verb_image_inspect, "Print all about images as JSON"},
    Verb{"prune", verb_image_prune, "Remove images that nobody needs"},
    Verb{"pull", verb_pull, "Get an image"},
    Verb{"load", verb_load, "Take the images of an archive"},
    Verb{"save", verb_save, "Write images into an archive"},
    Verb{"import", verb_import, "Make an image of the tar of a root file system"},
    Verb{"tag", verb_tag, "Give an image one more name"},
    Verb{"rm", verb_rmi, "Remove images (also: rmi, remove)"},
    Verb{"remove", verb_rmi, ""},
};

}  // namespace

Result<int> verb_image(Invocation& invocation) { return run_verb_group(invocation, "image", "Work with images", kImageVerbs); }

}  // namespace boxlite::cli
