#include "image/oci_layout.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/json.h"
#include "base/sys.h"
#include "image/sha256.h"

namespace boxlite::image {
namespace {

constexpr std::string_view kImageIndexType = "application/vnd.oci.image.index.v1+json";

std::string blob_path(const Digest& digest) { return "blobs/sha256/" + digest.hex(); }

Error no_layout(const Error& error, const std::string& directory) {
  if (error.error_number() == ENOENT)
    return Error(error.code(),
                 fmt::format("there is no directory {}; check the path, an OCI layout is named oci:DIR", directory));
  if (error.error_number() == ENOTDIR)
    return Error(error.code(), fmt::format("{} is not a directory; an OCI layout is one, and is named oci:DIR", directory));
  return error;
}

}  // namespace

Result<OciLayout> OciLayout::open(const LayoutReference& reference, const Platform& platform) {
  auto directory = sys::open(reference.directory, O_RDONLY | O_DIRECTORY);
  if (!directory) return std::unexpected(no_layout(directory.error(), reference.directory));
  OciLayout layout(reference, platform, std::move(*directory));
  auto marker = layout.read_small("oci-layout");
  if (!marker && marker.error().code() == ErrorCode::kNotFound) {
    return fail(ErrorCode::kInvalidArgument,
                "{} is not an OCI image layout, it has no file oci-layout; name the directory that has one, as oci:DIR",
                reference.directory);
  }
  if (!marker) return std::unexpected(marker.error());
  TRY_ASSIGN(const Json json, parse_json(*marker, reference.directory + "/oci-layout"));
  TRY_ASSIGN(const std::string version, json_get<std::string>(json, "imageLayoutVersion", reference.directory + "/oci-layout"));
  if (!version.starts_with("1."))
    return fail(ErrorCode::kUnsupported, "{} has layout version {}; 1.x is supported", reference.directory, version);
  return layout;
}

Result<UniqueFd> OciLayout::open_file(const std::string& path) const {
  open_how how = {};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, directory_.get(), path.c_str(), &how, sizeof how)));
  if (!fd) return fail_errno("open {}/{}", reference_.directory, path);
  TRY_ASSIGN(const struct stat st, sys::fstat(fd.get()));
  if (!S_ISREG(st.st_mode)) return fail(ErrorCode::kCorrupt, "{}/{} is not a regular file", reference_.directory, path);
  return fd;
}

Result<std::string> OciLayout::read_small(const std::string& path) const {
  TRY_ASSIGN(const UniqueFd fd, open_file(path));
  TRY_ASSIGN(const struct stat st, sys::fstat(fd.get()));
  if (static_cast<std::uint64_t>(st.st_size) > kMaxManifestBytes) {
    return fail(ErrorCode::kCorrupt, "{}/{} is larger than {} bytes", reference_.directory, path, kMaxManifestBytes);
  }
  std::string bytes(static_cast<std::size_t>(st.st_size), '\0');
  TRY_ASSIGN(const std::size_t count, sys::read_full(fd.get(), std::as_writable_bytes(std::span(bytes))));
  bytes.resize(count);
  return bytes;
}

Result<Document> OciLayout::top() {
  const std::string what = reference_.directory + "/index.json";
  TRY_ASSIGN(const std::string bytes, read_small("index.json"));
  TRY_ASSIGN(const auto parsed, parse_manifest(bytes, kImageIndexType, what));
  TRY_ASSIGN(const Descriptor descriptor, select(std::get<Index>(parsed)));
  return manifest(descriptor);
}

Result<Descriptor> OciLayout::select(const Index& index) const {
  Index candidates;
  std::string tags;
  bool all_have_platforms = true;
  for (const Descriptor& descriptor : index.manifests) {
    if (!descriptor.name.empty()) tags += (tags.empty() ? "" : ", ") + descriptor.name;
    if (!reference_.tag.empty() && descriptor.name != reference_.tag) continue;
    all_have_platforms = all_have_platforms && descriptor.platform.has_value();
    candidates.manifests.push_back(descriptor);
  }
  const std::string what = to_string(Reference(reference_));
  const std::string known = tags.empty() ? "none" : tags;
  if (candidates.manifests.empty()) return fail(ErrorCode::kNotFound, "image {} not found; tags there: {}", what, known);
  if (all_have_platforms) return select_platform(candidates, platform_, what);
  if (candidates.manifests.size() == 1) return candidates.manifests.front();
  return fail(ErrorCode::kInvalidArgument, "{} holds several images; name one with oci:DIR:TAG. Tags there: {}",
              reference_.directory, known);
}

Result<Document> OciLayout::manifest(const Descriptor& descriptor) {
  TRY_ASSIGN(std::string bytes, read_small(blob_path(descriptor.digest)));
  Digest actual = sha256(bytes);
  if (bytes.size() != descriptor.size || actual != descriptor.digest) {
    return fail(ErrorCode::kCorrupt, "{}/{} has the wrong digest: its contents are {}", reference_.directory,
                blob_path(descriptor.digest), actual.text());
  }
  return Document{.bytes = std::move(bytes), .media_type = descriptor.media_type, .digest = std::move(actual)};
}

Result<void> OciLayout::blob(const Descriptor& descriptor, const std::string& what,
                             const std::function<Result<void>(std::span<const std::byte>)>& sink) {
  const std::string path = blob_path(descriptor.digest);
  auto fd = open_file(path);
  if (!fd) return std::unexpected(fd.error().context(what));
  std::vector<std::byte> buffer(256 * 1024);
  for (;;) {
    auto count = sys::read(fd->get(), buffer);
    if (!count) return std::unexpected(count.error().context(fmt::format("{}/{}", reference_.directory, path)));
    if (*count == 0) return {};
    TRY(sink(std::span(buffer).first(*count)));
  }
}

}  // namespace boxlite::image
