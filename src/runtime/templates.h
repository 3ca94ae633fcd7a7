// Templates: booted VMs that belong to no box, of which new boxes go on instead of booting (docs/formats/checkpoint.md).
//
// Theory of operation.
//
// A template is a directory, templates/<name>, that comes to be by a rename and never changes: the guest's memory, the state of
// the VM's devices, and for one with a mounted root the disk to it. Its name stands for everything that must match, and its
// record has it in full: the same QEMU, kernel, agent, machine, disk size and, for one of an image, the same image; and the same
// boot of the host, since nothing of it is made durable. So a template never has to be judged: there is the right one, or there
// is none.
//
// Two kinds. For a restart, or where nothing better is there: of a shape, with no disk mounted. For the first start of a box: of
// an image, with its root mounted and the container built as far as it is every box's; the box's disk, which nobody has written
// to yet, becomes a copy of the template's, since a mounted file system goes on with the very disk that it was mounted from.
//
// No user's code has run in it, and it has been told nothing of any box: environment, secrets, names, entropy and clock come with
// Configure, after the restore.
//
// Whoever finds none makes it, under the lock of templates/lock: others wait and then find it. A making that fails is noted
// beside it and not tried again in this boot; the box boots then, as with --cold. Those that were not used for longest go when
// there are many.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "runtime/paths.h"
#include "runtime/programs.h"
#include "vmm/vm_config.h"

namespace boxlite {

struct Template {
  std::string stem;       // path without what tells it from others that stand for the same
  std::string directory;  // of this one alone, also when it is gone
  std::string memory;
  std::string device_state;
  std::string process_image;  // "": it has none
  std::string disk;           // "": of a shape
};

struct TemplateWish {
  vmm::VmConfig vm;  // complete but for its disk's overlay
  bool nic = false;
  std::uint64_t disk_bytes = 0;
  std::string image_id;                    // "": of a shape
  bool privileged = false;                 // with image_id: such a container
  std::vector<std::string> commands = {};  // with image_id, and not to be matched: what boxes of it are likely to run
};

/// Finds it or makes it. nullopt: the box is to boot.
std::optional<Template> ensure_template(const HomePaths& paths, const StartPrograms& programs, const std::string& boot,
                                        const TemplateWish& wish);

/// A box could not go on from it: it goes. The next start makes another. When a box cannot go on from that one either, its image
/// goes, and the third time it is not made again in this boot of the host.
void drop_template(const HomePaths& paths, const Template& bad, const std::string& reason);

struct TemplateUsage {
  std::size_t count = 0;
  std::uint64_t bytes = 0;            // on the disk
  std::vector<std::string> failures;  // why some could not be made, one line each
};
TemplateUsage template_usage(const HomePaths& paths);

/// Those of earlier boots, those that need what is not there any more (an image's base, a QEMU), and what a making that was
/// killed has left, as paths. None while one is being made.
std::vector<std::string> superfluous_templates(const HomePaths& paths, const std::string& boot);
/// Removes them. Returns the space they took. What boxes have been restored from stays theirs.
std::uint64_t collect_templates(const HomePaths& paths, const std::string& boot);

}  // namespace boxlite
