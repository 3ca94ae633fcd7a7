// What `doctor` says about a home's images.
#pragma once

#include <sys/types.h>

#include "runtime/context.h"
#include "runtime/findings.h"

namespace boxlite {

/// Boxes share base disks.
inline constexpr mode_t kBaseDiskMode = 0444;

/// Whether everything that images consist of is there.
void check_images(const Context& context, Findings& findings);

/// Space that nobody needs: files of images, and temporary ones.
void check_garbage(const Context& context, Findings& findings);

/// Reads every blob, base disk, and memory of a suspended box or a snapshot.
void check_contents(const Context& context, Findings& findings);

}  // namespace boxlite
