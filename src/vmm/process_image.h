// The image of a QEMU process that stands still, from which others go on (docs/formats/process-image.md): its memory, its threads
// and its descriptors, with all the guest code that it has translated. Plain structures in the byte order of the machine: an
// image is valid for one boot of one host.
//
//   file := ImageHeader, Segment[segments], Thread[threads], Descriptor[descriptors], MappedFile[files], paths, pages
//
// Written by process_capture.cc, read by boxlite-vm-resume (vm_resume.cc), which has no C library: hence no types of it here.
#pragma once

#include <cstdint>

namespace boxlite::vmm {

inline constexpr std::uint64_t kImageMagic = 0x31474d4950584f42;  // "BOXPIMG1"
inline constexpr std::uint32_t kMostSegments = 4096;
inline constexpr std::uint32_t kMostThreads = 256;
inline constexpr std::uint32_t kMostDescriptors = 256;
inline constexpr std::uint32_t kMostFiles = 512;
inline constexpr std::uint64_t kMostTableBytes = 1 << 20;
/// Descriptors from here on are boxlite-vm-resume's while it works. QEMU has about twenty.
inline constexpr int kHighDescriptor = 500;

/// Boundaries that the kernel keeps of a process, as prctl(2) PR_SET_MM_MAP takes them.
struct Boundaries {
  std::uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack, arg_start, arg_end, env_start, env_end;
};

struct ImageHeader {
  std::uint64_t magic;
  std::uint64_t table_bytes;  // of everything before the pages
  std::uint32_t segments, threads, descriptors, files;
  std::uint64_t paths_bytes;
  std::uint64_t vdso;             // address of the kernel's code page
  std::uint64_t memory_inode;     // of the guest's memory, which belongs to the image
  std::uint64_t timer_slack;      // nanoseconds
  std::uint64_t ignored_signals;  // bit n-1: signal n
  Boundaries boundaries;
  char name[16];  // of the process, as in /proc/<pid>/comm
};

enum class Source : std::uint32_t {
  kImage,      // pages of the image
  kAnonymous,  // zeros
  kMemory,     // the guest's memory, the template's file
  kFile,       // MappedFile[file]
  kKernel,     // vdso, vvar: the kernel's, of the same size in every process
};

struct Segment {
  std::uint64_t address, length;  // bytes, both multiples of the page
  std::uint64_t offset;           // in what it is mapped from
  std::uint32_t protection;       // PROT_…
  Source source;
  std::uint32_t file;  // with kFile
  std::uint32_t reserved;
};

/// A thread in a system call, which it makes again or has just made. The first is the main thread.
struct Thread {
  // The order is known to the assembly of vm_resume.cc.
  std::uint64_t rax, rbx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r12, r13, r14, r15, rip;
  std::uint64_t fs_base;
  std::uint64_t tid_address;  // where the C library keeps its number
  std::uint64_t blocked;      // signals; bit n-1: signal n
  char name[16];
};

enum class DescriptorKind : std::uint32_t {
  kEventfd,   // value: its count
  kSignalfd,  // value: its signals
  kEpoll,     // that watches nothing
  kDevice,    // of the jail's /dev; value: 0 /dev/null, 1 /dev/urandom
  kMemory,    // the guest's memory, opened for reading
  kChannel,   // handed to boxlite-vm-resume; value: index in its command line
};

struct Descriptor {
  std::int32_t number;
  DescriptorKind kind;
  std::uint64_t value;
  std::uint32_t flags;  // O_NONBLOCK, O_CLOEXEC
  std::uint32_t reserved;
};

/// What a mapping was made of. Found again by its path in the jail, and taken if it is the same.
struct MappedFile {
  std::uint64_t path;  // offset in paths, of a text that ends with 0
  std::uint64_t device, inode, size;
  std::int64_t mtime_seconds, mtime_nanoseconds;
};

/// The order of descriptors in the command line of boxlite-vm-resume; -1: none.
enum class Channel : std::uint32_t { kPortal, kConsole, kQmp, kVolumes, kNic, kBaseImage, kOverlay, kCount };

}  // namespace boxlite::vmm
