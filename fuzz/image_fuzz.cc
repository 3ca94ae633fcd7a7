// What a registry, an image or a user's argument says in text: manifests and indexes, image configurations, references, the
// challenge of a 401, a redirect's address.
//
// The first byte chooses, the rest is the text. What is accepted is held to what those who use it rely on: bounds, digests of one
// form, names that can be no path, a reference that means the same when it is written and read again.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <variant>

#include "image/auth_challenge.h"
#include "image/image_config.h"
#include "image/manifest.h"
#include "image/reference.h"
#include "image/url.h"

namespace boxlite::image {
namespace {

void check(bool condition) {
  if (!condition) std::abort();
}

void check_digest(const Digest& digest) {
  const auto again = Digest::parse(digest.text(), "fuzz");
  check(again && again->text() == digest.text());
  check(digest.text().find('/') == std::string::npos && digest.text().find("..") == std::string::npos);
}

void manifest(std::string_view text, std::string_view announced_type) {
  const auto parsed = parse_manifest(text, announced_type, "fuzz");
  if (!parsed) return;
  if (const auto* image = std::get_if<Manifest>(&*parsed)) {
    check(image->layers.size() <= kMaxLayers);
    check_digest(image->config.digest);
    for (const Descriptor& layer : image->layers) check_digest(layer.digest);
  } else {
    const auto& index = std::get<Index>(*parsed);
    for (const Descriptor& entry : index.manifests) check_digest(entry.digest);
    if (const auto chosen = select_platform(index, {.os = "linux", .architecture = "amd64", .variant = ""}, "fuzz")) {
      check_digest(chosen->digest);
    }
  }
}

void config(std::string_view text) {
  const auto parsed = parse_image_config(text, "fuzz");
  if (!parsed) return;
  for (const Digest& digest : parsed->diff_ids) check_digest(digest);
}

void reference(std::string_view text) {
  const auto parsed = parse_reference(text);
  if (!parsed) return;
  const auto again = parse_reference(to_string(*parsed));
  check(again && to_string(*again) == to_string(*parsed));
  if (const auto* of_registry = std::get_if<RegistryReference>(&*parsed)) {
    check(is_registry_host(of_registry->registry) && is_repository_name(of_registry->repository));
    check(of_registry->repository.find("..") == std::string::npos);
    check(of_registry->tag.find('/') == std::string::npos);
  }
}

void url(const std::string& text) {
  const auto base = parse_url("https://registry.example/v2/");
  for (const auto& parsed : {parse_url(text), resolve_url(*base, text)}) {
    if (!parsed) continue;
    check(parsed->scheme == "http" || parsed->scheme == "https");
    check(!parsed->host.empty() && !parsed->port.empty() && parsed->host.find('@') == std::string::npos);
  }
}

}  // namespace
}  // namespace boxlite::image

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace boxlite::image;
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 8) {
    case 0:
      manifest(text, "");
      break;
    case 1:
      manifest(text, "application/vnd.oci.image.index.v1+json");
      break;
    case 2:
      manifest(text, "application/vnd.docker.distribution.manifest.v2+json");
      break;
    case 3:
      config(text);
      break;
    case 4:
      reference(text);
      break;
    case 5:
      (void)parse_challenge(text);
      break;
    case 6:
      url(text);
      break;
    default:
      (void)parse_platform(text);
  }
  return 0;
}
