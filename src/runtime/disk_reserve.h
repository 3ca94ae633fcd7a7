// Space set aside in the home, so that boxes can be listed, stopped and removed when the disk is full: a database that nobody has
// open needs a few blocks to be opened, and a deletion is written before it frees anything.
#pragma once

#include <string>

namespace boxlite {

class DiskReserve {
 public:
  /// Sets the space aside where there is enough; where there is not, frees it for as long as this lives: for one
  /// step, since others on the same disk may want the space too.
  explicit DiskReserve(std::string path);
  DiskReserve(const DiskReserve&) = delete;
  DiskReserve& operator=(const DiskReserve&) = delete;
  /// Sets it aside again, or what there is left of it.
  ~DiskReserve();

 private:
  std::string path_;
  bool released_ = false;
};

}  // namespace boxlite
