// Images as the runtime knows them. Values only.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace boxlite {

/// What an image says about running it: the parts of the OCI image configuration (image-spec v1.1, config.md, "config") that a
/// box uses or shows.
struct ImageConfig {
  std::vector<std::string> env;  // "NAME=value"
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::string user;
  std::string working_dir;
  std::string stop_signal;                 // "" is SIGTERM
  std::vector<std::string> exposed_ports;  // "2375/tcp"; metadata: nothing is ever opened for it
  std::vector<std::string> volumes;
  std::map<std::string, std::string> labels;
};

struct ImageInfo {
  std::string reference;              // fully qualified: "docker.io/library/alpine:3.20"; the id for an image without a name
  std::string id;                     // digest of the configuration: "sha256:…"
  std::string manifest_digest;        // "sha256:…"
  std::string platform;               // "linux/amd64"
  std::string created;                // RFC 3339, as the image says; may be empty
  std::uint64_t size_bytes = 0;       // sum of the layers as transferred
  std::uint64_t unpacked_bytes = 0;   // sum of the file contents on the disk
  std::vector<std::string> layers;    // digests, lowest first
  std::vector<std::string> diff_ids;  // digests of the uncompressed layers
  ImageConfig config;
};

/// What a removal of images did.
struct ImageRemoval {
  std::vector<std::string> untagged;  // full references that are gone
  std::vector<std::string> deleted;   // ids of images that are gone
  std::uint64_t reclaimed_bytes = 0;  // space on the disk
};

/// How the archive of a root file system becomes an image.
struct ImportOptions {
  std::string reference;             // its name; "": none
  std::vector<std::string> changes;  // CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR as in a Dockerfile
};

/// Progress of a pull. Called on the pulling thread.
struct PullProgress {
  std::string what;  // "layer sha256:…", "disk", "unpack" (which counts layers), or what is waited for
  std::uint64_t done_bytes = 0;
  std::uint64_t total_bytes = 0;  // 0: unknown
};

/// Credentials for one pull, or to log in with; without them those of login(), podman and docker are looked for.
struct RegistryCredentials {
  std::string username;
  std::string password;
};

}  // namespace boxlite
