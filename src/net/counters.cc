#include "net/counters.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <new>

namespace boxlite::net {
namespace {

constexpr std::size_t kPage = 4096;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW;

}  // namespace

Result<UniqueFd> create_counters() {
  UniqueFd fd(::memfd_create("boxlite-net-counters", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return fail_errno("memfd_create");
  if (::ftruncate(fd.get(), kPage) < 0) return fail_errno("size of the network's counters");
  if (::fcntl(fd.get(), F_ADD_SEALS, kSeals | F_SEAL_SEAL) < 0) return fail_errno("seal the network's counters");
  return fd;
}

Result<CounterMap> CounterMap::map(int fd, Access access) {
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals)
    return fail(ErrorCode::kInvalidArgument, "the network's counters are not sealed memory");
  if (::lseek(fd, 0, SEEK_END) != static_cast<off_t>(kPage))
    return fail(ErrorCode::kInvalidArgument, "the network's counters are not one page");
  void* page = ::mmap(nullptr, kPage, access == Access::kWrite ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
  if (page == MAP_FAILED) return fail_errno("map the network's counters");
  return CounterMap(static_cast<NetCounters*>(page));
}

CounterMap::~CounterMap() {
  if (page_ != nullptr) ::munmap(page_, kPage);
}

}  // namespace boxlite::net
