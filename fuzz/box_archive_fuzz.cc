// What somebody sends as the archive of a box, behind zstd: the input is the tar. And as a layer of its disk.
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/sys.h"
#include "disk/qcow2.h"
#include "image/box_archive.h"
#include "image/box_archive_job.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace boxlite;  // NOLINT(google-build-using-namespace)
  static const TempDir parent = *TempDir::create("/dev/shm", "boxlite-fuzz-");
  std::vector<char> compressed(ZSTD_compressBound(size));
  compressed.resize(ZSTD_compress(compressed.data(), compressed.size(), data, size, 1));
  const UniqueFd archive(::memfd_create("archive", MFD_CLOEXEC));
  const std::string head = fmt::format("{}{}{}", image::kBoxArchiveFrame, image::kBoxArchiveText, image::kBoxArchiveVersion);
  if (!sys::write_all(archive.get(), head) ||
      !sys::write_all(archive.get(), std::string_view(compressed.data(), compressed.size())))
    std::abort();
  ::lseek(archive.get(), 0, SEEK_SET);

  const std::string directory = parent.path() + "/tmp";
  (void)remove_tree(directory);
  if (!sys::mkdir(directory, 0700)) std::abort();
  image::JobRequest request;
  request.archive_fd = archive.get();
  request.archive_name = "fuzz";
  request.directory = directory;
  image::JobMonitor monitor([](const image::JobProgress&) -> Result<void> { return {}; }, [] { return false; });
  (void)image::unpack_box(request, monitor);

  const std::string layer = parent.path() + "/layer";
  if (!write_file_volatile(layer, std::string_view(reinterpret_cast<const char*>(data), size), 0600)) std::abort();
  (void)disk::check_layer(layer);
  return 0;
}
