// Files into and out of the container: what a child in the container's own view does with its stdin and stdout (proto CopyOut,
// CopyIn).
#pragma once

#include <string>

#include "agent.pb.h"

namespace boxlite::agent {

struct CopyJob {
  bool in = false;           // else out of the container
  std::string path = {};     // absolute, or relative to the working directory
  std::string root = {};     // in: see CopyIn
  bool archive = false;      // in
  bool follow_link = false;  // out
};
CopyJob copy_job(const proto::CopyOut& call);
CopyJob copy_job(const proto::CopyIn& call);

/// Does it and returns the exit code; an error has been written to stderr then.
int run_copy_job(const CopyJob& job);

}  // namespace boxlite::agent
