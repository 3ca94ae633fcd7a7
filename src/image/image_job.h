// The work of the program boxlite-image: get an image and make the read-only base disk of it; log in to a registry, and out.
//
// Registry, archive and file system libraries, and every byte that comes from a registry or a layer, stay in that program: a
// process of its own per job, which the runtime starts, feeds and reads (docs/decisions/001-image-helper.md). One JobRequest as
// JSON on its stdin, then end-of-file; JobEvents as JSON lines on its stdout, the last one `result` or `error`. Secrets (the
// password) are in the request only, never in argv, environment or a message. It writes only below <home>/images, <home>/bases
// and <home>/tmp, and <home>/auth.json, and knows nothing of the database.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "boxlite/image.h"

namespace boxlite::image {

struct JobRequest {
  /// "pull"; "login" checks username and password with the registry and keeps them, "logout" forgets them.
  std::string action = "pull";
  std::string home;
  /// "registry/name:tag", "name@sha256:…", or "oci:DIR" / "oci:DIR:TAG" (an OCI image layout directory).
  /// For login and logout the registry: HOST or HOST:PORT.
  std::string reference;
  std::string platform = "linux/amd64";
  std::uint64_t disk_bytes = 0;          // size of the base disk
  std::uint64_t max_unpacked_bytes = 0;  // refuse an image that unpacks to more
  /// Files in the format of docker's config.json with registry credentials, looked at after <home>/auth.json; they may be
  /// missing.
  std::vector<std::string> auth_files;
  /// The caller's environment ("NAME=value"), for credential helpers only.
  std::vector<std::string> helper_environment;
  /// Instead of the files, for embedding programs; goes to the registry itself, never to a mirror.
  std::optional<std::string> username;
  std::optional<std::string> password;
};

struct JobProgress {
  std::string what;         // "layer sha256:…", "unpack" (counts layers), "disk", or what is waited for
  std::uint64_t done = 0;   // bytes
  std::uint64_t total = 0;  // bytes; 0: unknown
};

Json to_json(const JobRequest& request);
Result<JobRequest> job_request_from_json(const Json& json);
/// One line of the job's output, the member "event" included.
Json to_json(const JobProgress& progress);
Json to_json(const ImageInfo& image);
Result<ImageInfo> image_info_from_json(const Json& json);

/// The base disk's file name below <home>/bases for an image id ("sha256:…").
std::string base_file_name(const std::string& image_id);

}  // namespace boxlite::image
