// Where everything of a home directory is, and whether a directory may be a home at all.
//
//   <home>/boxlite.db            rows of boxes and images (database.h)
//   <home>/reserve              space for commands on a full disk (disk_reserve.h)
//   <home>/locks/<id>.{lease,op,vm}   outside the directories they guard: a lock outlives a rename of the box's directory
//   <home>/boxes/<id>/           one directory per box; its files are listed in records.h
//   <home>/images, bases         what boxlite-image keeps: manifests, and one read-only disk per image
//   <home>/volumes/<name>/data   named and anonymous volumes (volumes.cc)
//   <home>/templates/            booted VMs that new boxes go on from (templates.h)
//   <home>/tmp/box-<id>          a box being made
//   <home>/trash/<id>-<random>   a box being deleted
//   <home>/memo/                 answers worth remembering for one host boot
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace boxlite {

/// 12 lower-case hex digits. Whatever becomes a part of a path is checked with this first.
bool is_box_id(std::string_view text);

inline constexpr std::string_view kNewBoxPrefix = "box-";

class HomePaths {
 public:
  explicit HomePaths(std::string home) : home_(std::move(home)) {}

  const std::string& home() const { return home_; }
  std::string database() const { return home_ + "/boxlite.db"; }
  std::string reserve() const { return home_ + "/reserve"; }

  std::string locks() const { return home_ + "/locks"; }
  std::string lease(std::string_view id) const { return join("/locks/", id, ".lease"); }
  std::string op_lock(std::string_view id) const { return join("/locks/", id, ".op"); }
  std::string vm_lock(std::string_view id) const { return join("/locks/", id, ".vm"); }

  std::string boxes() const { return home_ + "/boxes"; }
  std::string box(std::string_view id) const { return join("/boxes/", id, ""); }
  std::string state(std::string_view id) const { return join("/boxes/", id, "/state.json"); }
  std::string exit_record(std::string_view id) const { return join("/boxes/", id, "/exit.json"); }
  std::string secrets(std::string_view id) const { return join("/boxes/", id, "/secrets"); }
  std::string disk(std::string_view id) const { return join("/boxes/", id, "/disk.qcow2"); }
  std::string console_log(std::string_view id) const { return join("/boxes/", id, "/console.log"); }
  std::string output_log(std::string_view id) const { return join("/boxes/", id, "/output.log"); }
  std::string net_log(std::string_view id) const { return join("/boxes/", id, "/net.log"); }
  std::string audit_log(std::string_view id) const { return join("/boxes/", id, "/audit.jsonl"); }
  std::string shim_log(std::string_view id) const { return join("/boxes/", id, "/shim.log"); }

  std::string images() const { return home_ + "/images"; }
  std::string bases() const { return home_ + "/bases"; }
  /// The read-only base disk of an image ("sha256:…").
  std::string base(const std::string& image_id) const;

  std::string volumes() const { return home_ + "/volumes"; }
  std::string volume(std::string_view name) const { return join("/volumes/", name, ""); }
  std::string volume_data(std::string_view name) const { return join("/volumes/", name, "/data"); }

  std::string templates() const { return home_ + "/templates"; }

  std::string tmp() const { return home_ + "/tmp"; }
  /// A box's directory while it is being made.
  std::string new_box(std::string_view id) const { return home_ + "/tmp/" + std::string(kNewBoxPrefix) + std::string(id); }
  std::string trash() const { return home_ + "/trash"; }
  std::string memo() const { return home_ + "/memo"; }
  std::string accelerator_memo() const { return home_ + "/memo/accelerator.json"; }
  std::string tsc_memo() const { return home_ + "/memo/tsc.json"; }

 private:
  std::string join(std::string_view folder, std::string_view id, std::string_view rest) const;
  std::string home_;
};

/// `requested`, else $BOXLITE_HOME, else ~/.boxlite, made absolute. Touches nothing.
Result<std::string> choose_home(const std::string& requested);

/// Creates the home (0700) and its folders where they are missing, and refuses a home that could lose boxes or give them away:
/// owned by another user, readable by others, not writable, or on a file system whose locks are not the kernel's own.
Result<HomePaths> open_home(const std::string& home);

/// Why no home may be on a file system of this type (statfs(2), f_type); "" when one may.
std::string unfit_file_system(long type);

}  // namespace boxlite
