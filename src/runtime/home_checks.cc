// Theory of operation. Whenever nobody is at work in a home these are equal: rows, directories, locks with an owner; leases held,
// shims, VMs; network processes, volume servers and listeners, and what the boxes that run were made with. Each check looks at
// one of these, without waiting, and passes over a box whose operation lock is held: its owner knows. Whoever calls this looks
// again before he believes that something is wrong (doctor.cc).
//
// What killed commands leave undone is swept by the next that make a box or get an image (removal.cc, image/job_directory.h),
// and a repair does nothing else; it is a problem all the same, since nothing promises that there will be a next.
#include "runtime/home_checks.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/ofd_lock.h"
#include "image/box_archive.h"
#include "image/job_directory.h"
#include "runtime/box_cgroup.h"
#include "runtime/garbage.h"
#include "runtime/image_archive.h"
#include "runtime/image_checks.h"
#include "runtime/lease.h"
#include "runtime/listing.h"
#include "runtime/observe.h"
#include "runtime/port_holder.h"
#include "runtime/process_tree.h"
#include "runtime/removal.h"
#include "runtime/shim_kill.h"
#include "runtime/templates.h"
#include "runtime/volumes.h"

namespace boxlite {
namespace {

bool is_worked_on(const HomePaths& paths, const std::string& id) { return OfdLock::held(paths.op_lock(id)).value_or(false); }

void check_database(const Database& database, Findings& findings) {
  const auto faults = database.faults();
  if (!faults) return findings.problem("database", faults.error());
  for (const std::string& fault : *faults)
    findings.problem("database", fault, "keep a copy of boxlite.db, and report this: boxlite does not do such a thing by itself");
  if (faults->empty()) findings.ok("database", "whole");
}

// ---- Boxes

struct Parts {
  std::size_t vms = 0;
  std::size_t networks = 0;
  std::size_t volume_servers = 0;
  bool operator==(const Parts&) const = default;
};

// What runs below a shim, by name: bubblewrap and its children besides.
struct Running {
  Parts parts;
  pid_t network = 0;
};

Running running_below(pid_t shim) {
  Running running;
  for (const pid_t pid : process_tree(shim)) {
    const std::string name = process_name(pid);
    if (name.starts_with("qemu-system")) ++running.parts.vms;
    if (name == "boxlite-volume") ++running.parts.volume_servers;
    if (name != "boxlite-net") continue;
    ++running.parts.networks;
    running.network = pid;
  }
  return running;
}

class BoxChecks {
 public:
  BoxChecks(const Context& context, Findings& findings)
      : paths_(context.paths), database_(context.database), findings_(findings) {}

  void run() {
    const auto boxes = list_boxes(paths_, database_);
    if (!boxes) return findings_.problem("boxes", boxes.error());
    const auto unfinished = unfinished_boxes(paths_, database_);
    if (!unfinished) return findings_.problem("boxes", unfinished.error());
    for (const BoxInfo& box : *boxes) {
      if (!unfinished->contains(box.id) && !is_worked_on(paths_, box.id)) check(box);
    }
    for (const std::string& id : *unfinished) {
      if (!is_worked_on(paths_, id)) check_unfinished(id);
    }
    if (!fine_) return;
    findings_.ok("boxes",
                 fmt::format("{} with a row, a directory and a disk each; {} of them run: as many leases, shims and VMs, "
                             "{} network processes, {} volume servers, {} published ports",
                             boxes->size(), total_.vms, total_.networks, total_.volume_servers, ports_));
  }

 private:
  void problem(const std::string& subject, std::string text, std::string remedy) {
    fine_ = false;
    findings_.problem(subject, std::move(text), std::move(remedy));
  }

  void check(const BoxInfo& box) {
    const std::string subject = "box " + box.name;
    check_files(box, subject);
    const auto alive = OfdLock::held(paths_.lease(box.id));
    const auto vm = OfdLock::held(paths_.vm_lock(box.id));
    if (!alive || !vm) return problem(subject, (alive ? vm : alive).error().message(), "");
    if (!*alive && *vm) return problem(subject, "processes of its VM go on without their shim", kRepair);
    const auto cgroup = left_cgroup(paths_, box.id);
    if (!*alive && !*vm && cgroup) return problem(subject, "its shim was killed, and has left the cgroup " + *cgroup, kRepair);
    if (!*alive) return;
    if (const auto shim = open_lease_holder(paths_, box.id); !shim) problem(subject, shim.error().message(), "");
    if (box.status == BoxStatus::kUnresponsive) {
      problem(subject, fmt::format("its shim, pid {}, does not answer: {}", box.shim_pid.value_or(0), box.reason),
              fmt::format("if somebody has stopped it: kill -CONT {}; else boxlite stop {}", box.shim_pid.value_or(0), box.name));
    }
    if ((box.status == BoxStatus::kRunning || box.status == BoxStatus::kPaused) && box.shim_pid) check_running(box, subject);
  }

  void check_files(const BoxInfo& box, const std::string& subject) {
    const std::string lost = fmt::format("its files are lost; boxlite rm {} removes the rest of it", box.name);
    if (!exists(paths_.box(box.id))) return problem(subject, "its directory is missing: " + paths_.box(box.id), lost);
    for (const std::string& file : {paths_.disk(box.id), paths_.secrets(box.id)}) {
      if (!exists(file)) problem(subject, file + " is missing", lost);
    }
    const std::string base = paths_.base(box.image_id);
    if (exists(base)) return;
    const bool from_directory = box.image.starts_with(kDirectoryImage);
    problem(subject, fmt::format("the base of its disk is missing: {}", base),
            box.image_id.starts_with(image::kImportedBase)
                ? fmt::format("it was imported: boxlite rm {}, and import it again", box.name)
            : from_directory ? fmt::format("it was made of a directory: boxlite rm {}, and make it anew", box.name)
                             : "get it again: boxlite pull " + box.image);
  }

  void check_running(const BoxInfo& box, const std::string& subject) {
    const Running running = running_below(*box.shim_pid);
    const Parts wanted = {.vms = 1, .networks = box.options.network == "none" ? 0U : 1U, .volume_servers = box.mounts.size()};
    const std::string restart = "boxlite restart " + box.name;
    if (running.parts != wanted) {
      return problem(subject,
                     fmt::format("of VMs, network processes and volume servers it has {}, {} and {} instead of {}, {} and {}",
                                 running.parts.vms, running.parts.networks, running.parts.volume_servers, wanted.vms,
                                 wanted.networks, wanted.volume_servers),
                     restart);
    }
    for (const PublishedPort& port : box.ports) {
      if (!is_served(running.network, port.host_ip, port.host_port, port.protocol == "tcp")) {
        problem(subject, fmt::format("nobody listens at its published port {} of {}", port.host_port, port.host_ip), restart);
      }
    }
    total_.vms += running.parts.vms;
    total_.networks += running.parts.networks;
    total_.volume_servers += running.parts.volume_servers;
    ports_ += box.ports.size();
  }

  void check_unfinished(const std::string& id) {
    const auto lease = probe_lease(paths_, id);
    if (lease && lease->held) {
      problem("box " + id, "a shim runs it, and it is half removed or has no row",
              lease->record ? fmt::format("kill {}, then {}", lease->record->pid, kRepair) : kRepair);
    } else {
      problem("box " + id, "a command that made or removed it was killed, and has left files, locks or a row", kRepair);
    }
  }

  const HomePaths& paths_;
  const Database& database_;
  Findings& findings_;
  bool fine_ = true;
  Parts total_;
  std::size_t ports_ = 0;
};

// ---- Volumes

// Nothing but the directories that a volume begins with: nobody has written into it.
bool is_bare_volume(const HomePaths& paths, const std::string& name) {
  std::error_code error;
  if (!std::filesystem::is_directory(paths.volume(name), error)) return false;
  for (const std::string& part : names_in(paths.volume(name))) {
    if (part != "new" && part != "data") return false;
    if (!std::filesystem::is_empty(paths.volume(name) + "/" + part, error) || error) return false;
  }
  return true;
}

void check_volumes(const Context& context, Findings& findings) {
  const HomePaths& paths = context.paths;
  const std::vector<std::string> directories = names_in(paths.volumes());  // before the rows, as a volume is made with its row
  const auto rows = context.database.volumes();
  if (!rows) return findings.problem("volumes", rows.error());
  bool fine = true;
  const auto problem = [&](const std::string& name, std::string text, std::string remedy) {
    fine = false;
    findings.problem("volume " + name, std::move(text), std::move(remedy));
  };
  for (const VolumeRow& row : *rows) {
    if (exists(paths.volume_data(row.name))) continue;
    problem(row.name, fmt::format("its files are missing: {}", paths.volume_data(row.name)),
            fmt::format("bring them back from a backup, or {} makes it anew, empty", kRepair));
  }
  for (const std::string& name : directories) {
    if (std::ranges::find(*rows, name, &VolumeRow::name) != rows->end()) continue;
    if (is_bare_volume(paths, name)) {
      problem(name, "a command that made it was killed, and has left empty directories", kRepair);
    } else {
      problem(name, fmt::format("{} holds files, and there is no such volume", paths.volume(name)),
              fmt::format("they are never removed: boxlite volume create {} makes them its volume's, or move them away", name));
    }
  }
  if (fine) findings.ok("volumes", fmt::format("{} with a row and a directory each", rows->size()));
}

// ---- Templates

void check_templates(const Context& context, Findings& findings) {
  const TemplateUsage usage = template_usage(context.paths);
  for (const std::string& failure : usage.failures) {
    findings.note("templates", "one could not be made: " + failure,
                  "boxes that would go on from it boot, which takes longer; it is tried again after ten minutes, or after boxlite gc");
  }
  if (usage.failures.empty()) findings.ok("templates", fmt::format("{}, none could not be made", usage.count));
}

// ---- What else lies about

bool is_box_lock(const std::string& name) {
  const std::string_view suffix = std::string_view(name).substr(std::min<std::size_t>(name.size(), 12));
  return is_box_id(name.substr(0, 12)) && (suffix == ".lease" || suffix == ".op" || suffix == ".vm");
}

// Those in tmp/ and trash/ that are boxes' are told of by their ids.
void check_strays(const Context& context, Findings& findings) {
  const HomePaths& paths = context.paths;
  bool fine = true;
  const auto stray = [&](const std::string& path) {
    fine = false;
    findings.note("files", path + " is not boxlite's", "look at it, and remove it or move it away; boxlite leaves it alone");
  };
  const auto left = [&](const std::string& path) {
    fine = false;
    findings.problem("files", path + " was left by a command that was killed", kRepair);
  };
  static const std::set<std::string> kOwn = {"boxlite.db", "boxlite.db-wal", "boxlite.db-shm", "reserve",  "locks", "boxes",
                                             "images",     "bases",          "volumes",        "tmp",      "trash", "memo",
                                             "auth.json",  "auth.json.lock", "config.json",    "templates"};
  for (const std::string& name : names_in(paths.home())) {
    if (!kOwn.contains(name) && !is_temporary_name(name)) stray(paths.home() + "/" + name);
  }
  for (const std::string& name : names_in(paths.boxes())) {
    if (!is_box_id(name)) stray(paths.boxes() + "/" + name);
  }
  for (const std::string& name : names_in(paths.locks())) {
    if (!is_box_lock(name)) stray(paths.locks() + "/" + name);
  }
  const auto jobs = image::JobDirectory::abandoned(paths.home());
  if (jobs) std::ranges::for_each(*jobs, left);
  for (const std::string& name : names_in(paths.tmp())) {
    if (!name.starts_with(kNewBoxPrefix) && !name.starts_with("image-")) stray(paths.tmp() + "/" + name);
  }
  for (const std::string& name : names_in(paths.trash())) {
    const bool of_box = is_box_id(name.substr(0, 12)) && name.substr(12).starts_with("-");
    if (name.starts_with("volume-")) {
      left(paths.trash() + "/" + name);
    } else if (!of_box) {
      stray(paths.trash() + "/" + name);
    }
  }
  if (fine) findings.ok("files", "none that are nobody's");
}

// ---- Repair

Result<void> end_orphaned_vms(Context& context) {
  const HomePaths& paths = context.paths;
  std::set<std::string> ids;
  for (const std::string& name : names_in(paths.locks())) {
    if (is_box_lock(name)) ids.insert(name.substr(0, 12));
  }
  for (const std::string& id : ids) {
    TRY_ASSIGN(const bool runs, OfdLock::held(paths.vm_lock(id)));
    if (!runs) continue;
    TRY_ASSIGN(std::optional<OpLock> op, OpLock::try_acquire(paths, id));
    if (!op) continue;
    TRY_ASSIGN(const bool free, op->take_lease());
    if (free) TRY(wait_vm_gone(paths, id));
  }
  return {};
}

}  // namespace

void check_home(const Context& context, Findings& findings) {
  check_database(context.database, findings);
  BoxChecks(context, findings).run();
  check_volumes(context, findings);
  check_images(context, findings);
  check_garbage(context, findings);
  check_templates(context, findings);
  check_strays(context, findings);
}

Result<void> repair_home(Context& context) {
  const HomePaths& paths = context.paths;
  TRY(end_orphaned_vms(context));
  TRY(remove_left_cgroups(paths));
  TRY(sweep_home(paths, context.database));
  TRY(image::JobDirectory::sweep(paths.home()));
  TRY_ASSIGN(const std::vector<VolumeRow> volumes, context.database.volumes());
  for (const VolumeRow& row : volumes) {
    // Were it removed in this moment, empty directories would be left, which a sweep takes away.
    if (!exists(paths.volume_data(row.name))) TRY(make_volume_files(paths, row.name));
  }
  for (const std::string& name : names_in(paths.bases())) {
    const std::string path = paths.bases() + "/" + name;
    if (::chmod(path.c_str(), kBaseDiskMode) < 0 && errno != ENOENT) return fail_errno("set the mode of {}", path);
  }
  return {};
}

}  // namespace boxlite
