// Who a command runs as: docker's --user, looked up in the image's own /etc/passwd and /etc/group.
//
//   ""            uid 0 and what passwd says about it           "name"       must be in passwd
//   "uid"         need not be in passwd; gid 0 then             "x:group"    the group instead of the primary one, alone
//   "x:gid"       need not be in group
//
// A name wins over a number: a user called "1000" is found by name first, in the order of the file. Without an explicit group the
// supplementary groups are those that list the user. The files are the image's: read inside its root, bounded.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace boxlite::agent {

struct User {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups = {};  // supplementary, the primary one first
  std::string home = "/";
};

/// kInvalidArgument with docker's words when a name is unknown or a number is out of range.
Result<User> resolve_user(int root, std::string_view spec);

/// Names of users, as passwd has them now.
class UserNames {
 public:
  /// A passwd that cannot be read has no names.
  explicit UserNames(int root);
  /// The number of one that has none.
  std::string name(uid_t uid) const;

 private:
  std::map<uid_t, std::string> names_;
};

}  // namespace boxlite::agent
