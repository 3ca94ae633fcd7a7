// Takes the image of a QEMU process (process_image.h). Theory of operation: process_capture.cc.
#pragma once

#include <sys/types.h>

#include <array>
#include <string>

#include "base/result.h"
#include "vmm/process_image.h"

namespace boxlite::vmm {

struct CaptureSources {
  /// What QEMU has under which number; -1: nothing. Those of the disk are found by their files.
  std::array<int, static_cast<std::size_t>(Channel::kCount)> channels = {};
  std::string memory;  // paths of the host
  std::string base_image;
  std::string overlay;
  std::string device_state;  // which QEMU has written, and keeps open until its VM runs
};

/// Writes the image of process `qemu`, whose VM stands still, to `file`, opened O_RDWR and empty. The process goes on afterwards.
/// kUnsupported: it has something that cannot be had again, a kind of descriptor or of memory that we do not know. Whoever calls
/// must be allowed to trace it, has a single thread, and waits for no child of his meanwhile.
Result<void> capture_process(pid_t qemu, const CaptureSources& sources, int file);

/// kNotFound: a program or a library that the process of this image has mapped is not there any more, or another by now.
Result<void> check_mapped_files(const std::string& image);

}  // namespace boxlite::vmm
