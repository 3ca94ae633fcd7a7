// Who a volume's files belong to, as the box sees it.
//
// A server with root's capabilities changes owners for real: what belongs to uid 1000 in the box belongs to uid 1000 outside.
// An ordinary user's server cannot, and everything it makes is that user's. It presents the user's own files as those of the
// box's main user, everybody else's as nobody's, and keeps what the box has made of owner and mode in an extended attribute
// beside the file (as fuse-overlayfs and QEMU's mapped-xattr do):
//
//   user.boxlite.stat = "UID:GID:MODE"      decimal, decimal, octal (07777)
//
// Of MODE only the set-id bits, the sticky bit and the owner's bits count; group's and others' are always the file's own. The
// file itself keeps its owner's read and write bits (and, a directory, search), since root in the box may do all with a file of
// mode 0, and its owner outside must be able to remove it.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace boxlite::volume {

inline constexpr const char* kStatAttribute = "user.boxlite.stat";

struct Attributes {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  mode_t mode = 0;  // permissions, 07777
};

std::optional<Attributes> parse_mark(std::string_view text);
std::string format_mark(const Attributes& attributes);

/// What an unmarked file looks like to the box, and a marked one.
class Ownership {
 public:
  /// `owner`: who the server runs as; `shown`: who its files are shown to belong to.
  Ownership(bool mapped, Attributes owner) : mapped_(mapped), owner_(owner) {}
  void show_as(std::uint32_t uid, std::uint32_t gid) {
    shown_.uid = uid;
    shown_.gid = gid;
  }
  bool mapped() const { return mapped_; }

  Attributes present(const struct stat& st, const std::optional<Attributes>& mark) const;
  /// The permissions that the file itself gets for those asked for.
  mode_t own_mode(mode_t mode, bool directory) const;
  /// Whether a file with the permissions of own_mode() needs no mark to look like this.
  bool needs_mark(const Attributes& wanted, bool directory) const;

 private:
  bool mapped_;
  Attributes owner_;
  Attributes shown_;
};

}  // namespace boxlite::volume
