// The work of the program boxlite-image: get images and make the read-only base disks of them; write images into archives; log in
// to a registry, and out.
//
// Registry, archive and file system libraries, and every byte that comes from a registry or a layer, stay in that program: a
// process of its own per job, which the runtime starts, feeds and reads (docs/decisions/001-image-helper.md). One JobRequest as
// JSON on its stdin, then end-of-file; JobEvents as JSON lines on its stdout, the last one `result` or `error`. Secrets (the
// password) are in the request only, never in argv, environment or a message. It writes only below <home>/images, <home>/bases
// and <home>/tmp, and <home>/auth.json, and knows nothing of the database.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "boxlite/image.h"

namespace boxlite::image {

enum class JobKind {
  kPull,       // `reference`
  kLoad,       // the images of an archive
  kSave,       // `images` into an archive
  kImport,     // an archive of a root file system, to be named `reference`
  kDirectory,  // a directory of the host as the root of one box: a base disk, no blobs
  kPackBox,    // `members` into the archive of a box
  kUnpackBox,  // an archive of a box into the directory `directory`
  kLogin,      // checks username and password with the registry `reference` and keeps them
  kLogout,     // forgets them
};

// The store's lock, <home>/images/lock. Whoever makes blobs and bases refer to each other holds it shared, from the moment its
// files are in place until what refers to them (the rows of images and boxes) is written; whoever removes what nobody refers to
// holds it exclusively. Never while bytes are fetched or disks built. A job takes it through a descriptor that the runtime gives
// it, and ends with it held: the runtime has it from then on.
inline constexpr std::chrono::minutes kStoreLockTimeout{2};
std::string store_lock_path(const std::string& home);

struct JobMember {
  std::string name;  // in the archive
  int fd = -1;       // inherited; read from its beginning
};

struct JobRequest {
  JobKind kind = JobKind::kPull;
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
  /// Inherited descriptor of the store's lock; -1: nobody removes anything from this home.
  int store_lock_fd = -1;
  /// Inherited descriptor of the archive, which is read or written from beginning to end; a pipe will do.
  int archive_fd = -1;
  std::string archive_name;          // for messages: "app.tar", "standard input"
  std::vector<ImageInfo> images;     // kSave: one for each name
  std::vector<std::string> changes;  // kImport: instructions of a Dockerfile ("CMD sh")
  std::string directory;             // kDirectory, kUnpackBox: absolute
  std::vector<JobMember> members;    // kPackBox
  bool keep_blobs = true;            // false: only the base disk is wanted
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
/// The last line: {"event":"result"}, with "images" and "image", the first of them, if there are any.
Json result_event(const std::vector<ImageInfo>& images);
Json to_json(const ImageInfo& image);
Result<ImageInfo> image_info_from_json(const Json& json);

/// The base disk's file name below <home>/bases for an image id ("sha256:…").
std::string base_file_name(const std::string& image_id);

}  // namespace boxlite::image
