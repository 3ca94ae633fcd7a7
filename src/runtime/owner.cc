#include "runtime/owner.h"

#include <poll.h>

#include <mutex>
#include <utility>
#include <vector>

#include "runtime/fork_guard.h"

namespace boxlite {
namespace {

struct Owned {
  UniqueFd socket;
  ForkGuard guard;  // after the socket, so that it goes first
};

// Never destroyed: not the Runtime but the process is the owner, and its end closes what is in here.
struct Sockets {
  std::mutex mutex;
  std::vector<Owned> owned;
};

Sockets& sockets() {
  static Sockets* const instance = new Sockets;
  return *instance;
}

bool shim_has_ended(const Owned& owned) {
  struct pollfd polled = {owned.socket.get(), 0, 0};
  return ::poll(&polled, 1, 0) == 1 && (polled.revents & POLLHUP) != 0;
}

}  // namespace

void keep_owner_socket(UniqueFd socket) {
  Sockets& all = sockets();
  const std::lock_guard lock(all.mutex);
  std::erase_if(all.owned, shim_has_ended);
  const int fd = socket.get();
  all.owned.push_back({std::move(socket), ForkGuard(fd)});
}

}  // namespace boxlite
