#include "agent/volume_mount.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "agent/boot.h"
#include "agent/in_root.h"
#include "agent/mount_api.h"
#include "base/sys.h"
#include "files/pack.h"
#include "files/unpack.h"

namespace boxlite::agent {
namespace {

constexpr const char* kFile = "file";

// cache=mmap: the page cache is used for files that are mapped shared and for nothing else, so that both sides see each other's
// writes at once. access=user: the server is told who makes a file. msize: half of the stream's window each way.
Result<UniqueFd> connect_volume(const VolumeMount& volume, const std::string& owner) {
  const std::string fd = std::to_string(volume.connection);
  const unsigned attributes = MOUNT_ATTR_NODEV | (volume.read_only ? MOUNT_ATTR_RDONLY : 0U);
  return new_mount("9p",
                   {{"source", "volume"},
                    {"trans", "fd"},
                    {"rfdno", fd.c_str()},
                    {"wfdno", fd.c_str()},
                    {"version", "9p2000.L"},
                    {"msize", "131072"},
                    {"cache", "mmap"},
                    {"access", "user"},
                    {"aname", owner.c_str()}},
                   attributes);
}

Result<void> send_image_content(int directory, int pipe) {
  if (::fchdir(directory) < 0) return fail_errno("enter");
  return files::pack(".", {}, [pipe](std::span<const std::byte> data) { return sys::write_all(pipe, data); });
}

Result<void> receive_image_content(int pipe) {
  files::TarReader reader([pipe](std::span<std::byte> buffer) { return sys::read(pipe, buffer); });
  return files::unpack_to(reader, kScratch, ".", {.archive = true, .devices = false, .temporary = ".boxlite-populating"});
}

// As docker does with a volume that is empty. The volume is mounted on kScratch.
Result<void> populate(int root, const VolumeMount& volume) {
  const auto source = open_in_root(root, volume.path, O_RDONLY | O_DIRECTORY);
  if (!source) return {};  // the image has nothing there
  TRY_ASSIGN(sys::Pipe pipe, sys::pipe());
  const pid_t sender = ::fork();
  if (sender < 0) return fail_errno("fork");
  if (sender == 0) {
    pipe.read_end.reset();
    ::_exit(send_image_content(source->get(), pipe.write_end.get()) ? 0 : 1);
  }
  pipe.write_end.reset();
  const auto received = receive_image_content(pipe.read_end.get());
  pipe.read_end.reset();
  int status = 0;
  while (::waitpid(sender, &status, 0) < 0 && errno == EINTR) {
  }
  if (!received) return received;
  if (status != 0) return fail(ErrorCode::kIo, "the image's files could not be read");
  TRY_ASSIGN(const struct stat st, sys::fstat(source->get()));
  if (::chown(kScratch, st.st_uid, st.st_gid) < 0 && errno != EPERM) return fail_errno("set owner");
  if (::chmod(kScratch, st.st_mode & 07777U) < 0) return fail_errno("set mode");
  return {};
}

Result<void> mount_on(int root, const VolumeMount& volume, const std::string& owner) {
  TRY_ASSIGN(UniqueFd mount, connect_volume(volume, owner));
  if (volume.file || volume.populate) TRY(attach_mount(mount.get(), kScratch));  // only what is attached can be cloned, or named
  if (volume.populate) {
    if (auto done = populate(root, volume); !done)
      return std::unexpected(std::move(done).error().context("copy the image's files"));
  }
  if (volume.file || volume.populate) {
    TRY_ASSIGN(mount, clone_mount(mount.get(), volume.file ? kFile : "", 0));
  }
  TRY_ASSIGN(const UniqueFd target, ensure_in_root(root, volume.path, volume.file ? EntryKind::kFile : EntryKind::kDirectory));
  return attach_mount(mount.get(), target.get());
}

}  // namespace

Result<void> mount_volume(int root, const VolumeMount& volume, const std::string& owner) {
  auto mounted = mount_on(root, volume, owner);
  if (!mounted) return std::unexpected(std::move(mounted).error().context("mount the volume " + volume.path));
  return {};
}

}  // namespace boxlite::agent
