#include "runtime/names.h"

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include <fmt/core.h>

#include "base/sys.h"

namespace boxlite {
namespace {

constexpr std::array<std::string_view, 64> kAdjectives = {
    "agile",  "amber",  "apt",    "bold",   "brave",  "breezy", "bright", "brisk",  "calm",   "candid", "clever",
    "cosmic", "crisp",  "daring", "deft",   "eager",  "early",  "fair",   "fleet",  "fond",   "frank",  "fresh",
    "gentle", "glad",   "golden", "grand",  "happy",  "hardy",  "honest", "humble", "jolly",  "keen",   "kind",
    "lively", "loyal",  "lucid",  "lucky",  "mellow", "merry",  "mild",   "modest", "nimble", "noble",  "patient",
    "plucky", "polite", "prompt", "proud",  "quick",  "quiet",  "ready",  "sage",   "sharp",  "silent", "sincere",
    "snug",   "spry",   "steady", "sturdy", "sunny",  "swift",  "tidy",   "vivid",  "witty"};
constexpr std::array<std::string_view, 64> kNouns = {
    "acorn",  "alder", "aspen",   "badger",  "beacon",  "beech", "birch",   "bison",  "brook",  "canyon", "cedar",
    "cliff",  "comet", "coral",   "crane",   "delta",   "dune",  "eagle",   "elm",    "ember",  "falcon", "fern",
    "finch",  "fjord", "fox",     "geyser",  "glacier", "grove", "harbor",  "hawk",   "hazel",  "heron",  "ibis",
    "island", "ivy",   "juniper", "kestrel", "lagoon",  "lark",  "linden",  "lynx",   "maple",  "marten", "meadow",
    "mesa",   "moss",  "orchid",  "osprey",  "otter",   "owl",   "pebble",  "pine",   "puffin", "quartz", "raven",
    "reef",   "robin", "sparrow", "spruce",  "summit",  "tern",  "thistle", "tundra", "willow"};

}  // namespace

std::string random_box_name() {
  std::array<std::uint8_t, 2> random;
  sys::random_bytes(std::as_writable_bytes(std::span(random)));
  return fmt::format("{}_{}", kAdjectives[random[0] % kAdjectives.size()], kNouns[random[1] % kNouns.size()]);
}

}  // namespace boxlite
