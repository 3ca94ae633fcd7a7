// boxlite-vm-resume: becomes the QEMU process of an image (process_image.h), in the jail, in the place of QEMU.
//
//   boxlite-vm-resume IMAGE MEMORY FILTER LOCK CHANNEL…
//
//   IMAGE    path of the image
//   MEMORY   path of the guest's memory, which is mapped privately and never written
//   FILTER   descriptor of a seccomp program (sandbox_filter() of vm_filter.h), in the place of the one that QEMU gives itself
//   LOCK     descriptor that stays open, or -1
//   CHANNEL  descriptors, in the order of Channel; -1 where the image has none
//
// It maps everything at the addresses where it was, makes the descriptors under the numbers that they had, starts the threads and
// lets each make the system call again that it was in. Since all memory of this process is replaced, it has no C library and no
// memory but its own program's: a position-independent one, which the kernel puts somewhere else each time. Where that is in the
// image's way it starts itself again. Whatever fails before the first thread runs ends it with a message, and the box is started
// in another way.
#include <asm/prctl.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "vmm/process_image.h"

namespace boxlite::vmm {
namespace {

constexpr int kFailed = 125;  // as boxlite-vm-init
constexpr std::uint64_t kPageBytes = 4096;
constexpr std::uint64_t kMostKernelBytes = 64 * kPageBytes;  // vdso, vvar and its parts
constexpr std::uint64_t kUserEnd = 0x7ffffffff000;           // of addresses with four levels of page tables
constexpr std::size_t kChannels = static_cast<std::size_t>(Channel::kCount);
constexpr std::size_t kThreadStack = 2048;
constexpr std::size_t kMostFilter = 4096;

alignas(16) char thread_stacks[kMostThreads][kThreadStack];
alignas(kPageBytes) char tables[kMostTableBytes];
alignas(kPageBytes) char kernel_pages[kMostKernelBytes];
sock_filter filter[kMostFilter];

long call(long number, unsigned long a = 0, unsigned long b = 0, unsigned long c = 0, unsigned long d = 0, unsigned long e = 0,
          unsigned long f = 0) {
  long result;
  register unsigned long r10 asm("r10") = d;
  register unsigned long r8 asm("r8") = e;
  register unsigned long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

unsigned long address(const void* pointer) { return reinterpret_cast<unsigned long>(pointer); }

std::size_t length(const char* text) {
  std::size_t count = 0;
  while (text[count] != '\0') ++count;
  return count;
}

void say(const char* text) { call(SYS_write, 2, address(text), length(text)); }

[[noreturn]] void die(const char* what, long result = 0) {
  say("boxlite-vm-resume: ");
  say(what);
  if (result < 0) {
    char digits[24];
    char* at = digits + sizeof digits;
    *--at = '\0';
    for (long rest = -result; rest > 0; rest /= 10) *--at = static_cast<char>('0' + rest % 10);
    say(": error ");
    say(at);
  }
  say("\n");
  for (;;) call(SYS_exit_group, kFailed);
}

long check(const char* what, long result) {
  if (result < 0) die(what, result);
  return result;
}

int parse_descriptor(const char* text) {
  if (text[0] == '-') return -1;
  int value = 0;
  constexpr int kMost = 1 << 20;
  for (; *text >= '0' && *text <= '9' && value < kMost; ++text) value = value * 10 + (*text - '0');
  if (*text != '\0' || value >= kMost) die("a descriptor's number is none");
  return value;
}

// This program, from its first page to its last: the linker's own names.
extern "C" const char __ehdr_start[];
extern "C" const char _end[];
extern "C" [[gnu::visibility("hidden")]] const Elf64_Dyn _DYNAMIC[];
std::uint64_t own_begin() { return address(__ehdr_start); }
std::uint64_t own_end() { return (address(_end) + kPageBytes - 1) / kPageBytes * kPageBytes; }

bool starts_whole_page(std::uint64_t value) { return value % kPageBytes == 0; }

struct Image {
  const ImageHeader* header;
  const Segment* segments;
  const Thread* threads;
  const Descriptor* descriptors;
  const MappedFile* files;
  const char* paths;
};

Image read_tables(int file) {
  ImageHeader header = {};
  if (call(SYS_pread64, static_cast<unsigned long>(file), address(&header), sizeof header, 0) != sizeof header ||
      header.magic != kImageMagic)
    die("the image is none of this version");
  if (header.segments > kMostSegments || header.threads == 0 || header.threads > kMostThreads ||
      header.descriptors > kMostDescriptors || header.files > kMostFiles || header.paths_bytes > kMostTableBytes)
    die("the image has too much of something");
  struct stat now = {};
  check("the image", call(SYS_fstat, static_cast<unsigned long>(file), address(&now)));
  const auto size = static_cast<std::uint64_t>(now.st_size);
  const std::uint64_t needed = sizeof header + header.segments * sizeof(Segment) + header.threads * sizeof(Thread) +
                               header.descriptors * sizeof(Descriptor) + header.files * sizeof(MappedFile) + header.paths_bytes;
  if (needed != header.table_bytes || needed > kMostTableBytes || needed > size) die("the image's tables are not whole");
  if (call(SYS_pread64, static_cast<unsigned long>(file), address(tables), needed, 0) != static_cast<long>(needed))
    die("the image's tables are not whole");
  Image image;
  image.header = reinterpret_cast<const ImageHeader*>(tables);
  image.segments = reinterpret_cast<const Segment*>(image.header + 1);
  image.threads = reinterpret_cast<const Thread*>(image.segments + header.segments);
  image.descriptors = reinterpret_cast<const Descriptor*>(image.threads + header.threads);
  image.files = reinterpret_cast<const MappedFile*>(image.descriptors + header.descriptors);
  image.paths = reinterpret_cast<const char*>(image.files + header.files);
  if (header.paths_bytes > 0 && image.paths[header.paths_bytes - 1] != '\0') die("the image's tables are not whole");
  for (std::uint32_t i = 0; i < header.segments; ++i) {
    const Segment& segment = image.segments[i];
    const std::uint64_t end = segment.address + segment.length;
    if (!starts_whole_page(segment.address) || !starts_whole_page(segment.length) || segment.length == 0 ||
        segment.address >= kUserEnd || end > kUserEnd)
      die("a segment of the image is where none can be");
    if (segment.source == Source::kImage && (segment.offset > size || segment.length > size - segment.offset))
      die("the image's pages are not whole");
    if (segment.source == Source::kFile && segment.file >= header.files) die("a segment of the image is of no file");
  }
  return image;
}

bool is_in_the_way(const Image& image) {
  for (std::uint32_t i = 0; i < image.header->segments; ++i) {
    const Segment& segment = image.segments[i];
    if (segment.address + segment.length > own_begin() && segment.address < own_end()) return true;
  }
  return false;
}

// The kernel's own pages lie in the same order in every process, but somewhere else.
void move_kernel_pages(const Image& image, std::uint64_t vdso, bool to_their_place) {
  std::uint64_t aside = address(kernel_pages);
  for (std::uint32_t i = 0; i < image.header->segments; ++i) {
    const Segment& segment = image.segments[i];
    if (segment.source != Source::kKernel) continue;
    if (segment.length > address(kernel_pages) + sizeof kernel_pages - aside) die("the kernel has more pages than expected");
    const std::uint64_t now = vdso + (segment.address - image.header->vdso);  // those below wrap around, twice
    check("move the kernel's pages", call(SYS_mremap, to_their_place ? aside : now, segment.length, segment.length,
                                          MREMAP_MAYMOVE | MREMAP_FIXED, to_their_place ? segment.address : aside));
    aside += segment.length;
  }
}

int open_mapped(const Image& image, std::uint32_t index) {
  const MappedFile& file = image.files[index];
  if (file.path >= image.header->paths_bytes) die("a file of the image has no name");
  const char* path = image.paths + file.path;
  const long opened = call(SYS_open, address(path), O_RDONLY | O_CLOEXEC);
  if (opened < 0) die(path, opened);
  struct stat now = {};
  check(path, call(SYS_fstat, static_cast<unsigned long>(opened), address(&now)));
  if (now.st_dev != file.device || now.st_ino != file.inode || static_cast<std::uint64_t>(now.st_size) != file.size ||
      now.st_mtim.tv_sec != file.mtime_seconds || now.st_mtim.tv_nsec != file.mtime_nanoseconds) {
    say(path);
    die(" is not what it was when the image was made");
  }
  return static_cast<int>(opened);
}

// On a file system that no program may be run from.
void copy_segment(const Segment& segment, int file) {
  check("memory", call(SYS_mmap, segment.address, segment.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                       static_cast<unsigned long>(-1), 0));
  for (std::uint64_t done = 0; done < segment.length;) {
    const long count = check("read the image", call(SYS_pread64, static_cast<unsigned long>(file), segment.address + done,
                                                    segment.length - done, segment.offset + done));
    if (count == 0) die("the image is too short");
    done += static_cast<std::uint64_t>(count);
  }
  check("mprotect", call(SYS_mprotect, segment.address, segment.length, segment.protection));
}

void map_segments(const Image& image, int image_file, int memory_file) {
  int file = -1;
  std::uint32_t file_index = 0;
  for (std::uint32_t i = 0; i < image.header->segments; ++i) {
    const Segment& segment = image.segments[i];
    if (segment.source == Source::kKernel) continue;
    unsigned long flags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE;
    int from = -1;
    if (segment.source == Source::kImage) from = image_file;
    if (segment.source == Source::kMemory) from = memory_file;
    if (segment.source == Source::kAnonymous) flags |= MAP_ANONYMOUS;
    if (segment.source == Source::kFile) {
      if (file < 0 || file_index != segment.file) {
        if (file >= 0) call(SYS_close, static_cast<unsigned long>(file));
        file = open_mapped(image, segment.file);
        file_index = segment.file;
      }
      from = file;
    }
    const long mapped = call(SYS_mmap, segment.address, segment.length, segment.protection, flags,
                             static_cast<unsigned long>(from), segment.offset);
    if (mapped == -EPERM && segment.source == Source::kImage && (segment.protection & PROT_EXEC) != 0) {
      copy_segment(segment, image_file);
    } else {
      check("map a segment of the image", mapped);
    }
  }
  if (file >= 0) call(SYS_close, static_cast<unsigned long>(file));
}

void set_boundaries(const Boundaries& kept) {
  prctl_mm_map map = {};
  map.start_code = kept.start_code;
  map.end_code = kept.end_code;
  map.start_data = kept.start_data;
  map.end_data = kept.end_data;
  map.start_brk = kept.start_brk;
  map.brk = kept.brk;
  map.start_stack = kept.start_stack;
  map.arg_start = kept.arg_start;
  map.arg_end = kept.arg_end;
  map.env_start = kept.env_start;
  map.env_end = kept.env_end;
  map.exe_fd = static_cast<std::uint32_t>(-1);
  // The C library gives the heap's memory back by brk(2).
  check("PR_SET_MM_MAP", call(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, address(&map), sizeof map, 0));
}

int move_high(int descriptor) {
  if (descriptor < 0) return -1;
  return static_cast<int>(
      check("a descriptor", call(SYS_fcntl, static_cast<unsigned long>(descriptor), F_DUPFD_CLOEXEC, kHighDescriptor)));
}

int make_descriptor(const Descriptor& wanted, const int* channels, int memory_file) {
  switch (wanted.kind) {
    case DescriptorKind::kEventfd:
      return static_cast<int>(check("eventfd", call(SYS_eventfd2, wanted.value, wanted.flags)));
    case DescriptorKind::kSignalfd:
      return static_cast<int>(check("signalfd", call(SYS_signalfd4, static_cast<unsigned long>(-1), address(&wanted.value),
                                                     sizeof wanted.value, wanted.flags)));
    case DescriptorKind::kEpoll:
      return static_cast<int>(check("epoll", call(SYS_epoll_create1, wanted.flags & O_CLOEXEC)));
    case DescriptorKind::kDevice: {
      if (wanted.value == 0)
        return static_cast<int>(check("/dev/null", call(SYS_open, address("/dev/null"), O_RDWR | wanted.flags)));
      return static_cast<int>(check("/dev/urandom", call(SYS_open, address("/dev/urandom"), O_RDONLY | wanted.flags)));
    }
    case DescriptorKind::kMemory:
      return static_cast<int>(check("dup", call(SYS_dup, static_cast<unsigned long>(memory_file))));
    case DescriptorKind::kChannel: {
      if (wanted.value >= kChannels || channels[wanted.value] < 0) die("a descriptor of the image was not handed over");
      const auto given = static_cast<unsigned long>(channels[wanted.value]);
      if ((wanted.flags & O_NONBLOCK) != 0) check("O_NONBLOCK", call(SYS_fcntl, given, F_SETFL, O_NONBLOCK));
      return static_cast<int>(check("dup", call(SYS_dup, given)));
    }
  }
  die("a descriptor of the image is of no known kind");
}

// In the order of their numbers: what is made has the lowest free one, which is the wanted one or below.
void make_descriptors(const Image& image, const int* channels, int memory_file) {
  for (std::uint32_t i = 0; i < image.header->descriptors; ++i) {
    const Descriptor& wanted = image.descriptors[i];
    if (wanted.number <= 2 || wanted.number >= kHighDescriptor) die("a descriptor of the image has an impossible number");
    const int made = make_descriptor(wanted, channels, memory_file);
    if (made > wanted.number) die("the image's descriptors are not in order");
    if (made == wanted.number) continue;
    check("dup3",
          call(SYS_dup3, static_cast<unsigned long>(made), static_cast<unsigned long>(wanted.number), wanted.flags & O_CLOEXEC));
    call(SYS_close, static_cast<unsigned long>(made));
  }
}

void enter_sandbox(int file) {
  const long bytes = check("read the filter", call(SYS_read, static_cast<unsigned long>(file), address(filter), sizeof filter));
  const sock_fprog program = {static_cast<unsigned short>(static_cast<unsigned long>(bytes) / sizeof filter[0]), filter};
  check("the filter of system calls", call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, address(&program)));
}

// Offsets of Thread.
static_assert(offsetof(Thread, rbx) == 8 && offsetof(Thread, rsp) == 48 && offsetof(Thread, r10) == 72 &&
              offsetof(Thread, rip) == 112);

extern "C" [[noreturn]] void boxlite_enter(const Thread* thread);
extern "C" long boxlite_clone(unsigned long flags, void* stack, std::uint64_t tid_address, std::uint64_t fs_base,
                              const Thread* thread);
extern "C" [[noreturn]] void boxlite_begin(const Thread* thread) {
  call(SYS_prctl, PR_SET_NAME, address(thread->name));
  call(SYS_rt_sigprocmask, SIG_SETMASK, address(&thread->blocked), 0, sizeof thread->blocked);
  boxlite_enter(thread);
}

// rcx and r11 are lost in a system call: with rcx the thread is entered.
asm(R"(
.globl boxlite_enter
boxlite_enter:
  mov %rdi, %rcx
  mov (%rcx), %rax
  mov 8(%rcx), %rbx
  mov 16(%rcx), %rdx
  mov 24(%rcx), %rsi
  mov 32(%rcx), %rdi
  mov 40(%rcx), %rbp
  mov 48(%rcx), %rsp
  mov 56(%rcx), %r8
  mov 64(%rcx), %r9
  mov 72(%rcx), %r10
  mov 80(%rcx), %r12
  mov 88(%rcx), %r13
  mov 96(%rcx), %r14
  mov 104(%rcx), %r15
  mov 112(%rcx), %rcx
  jmp *%rcx

.globl boxlite_clone
boxlite_clone:
  push %rbx
  mov %r8, %rbx
  mov %rcx, %r8
  mov %rdx, %r10
  mov $56, %eax
  syscall
  test %rax, %rax
  jz 1f
  pop %rbx
  ret
1:
  mov %rbx, %rdi
  xor %ebp, %ebp
  call boxlite_begin
  hlt

.globl _start
_start:
  mov %rsp, %rdi
  lea boxlite_stack_end(%rip), %rsp
  xor %ebp, %ebp
  call boxlite_resume
  hlt

.bss
.balign 16
  .skip 65536
boxlite_stack_end:
.text
)");

void start_threads(const Image& image) {
  constexpr unsigned long kFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                                   CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
  for (std::uint32_t i = 1; i < image.header->threads; ++i) {
    const Thread& thread = image.threads[i];
    check("clone", boxlite_clone(kFlags, thread_stacks[i] + kThreadStack, thread.tid_address, thread.fs_base, &thread));
  }
}

}  // namespace

// Somewhere else, and a limited number of times: how often is its name then, a digit.
[[noreturn]] void start_again(const long* stack, std::uint64_t program) {
  auto** const arguments = reinterpret_cast<const char**>(const_cast<long*>(stack) + 1);
  static char again[2] = {'0', '\0'};
  const char before = arguments[0][0];
  if (before == '9') die("it is in the image's way wherever it is put");
  again[0] = before >= '0' && before < '9' ? static_cast<char>(before + 1) : '1';
  arguments[0] = again;
  const long* const environment = stack + 1 + stack[0] + 1;
  call(SYS_execve, program, address(arguments), address(environment));
  die("start again");
}

// What a loader does for others: constants that are addresses. Before anything else, and itself without any.
void relocate() {
  std::uint64_t at = 0;
  std::uint64_t bytes = 0;
  for (const Elf64_Dyn* entry = _DYNAMIC; entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag == DT_RELA) at = own_begin() + entry->d_un.d_ptr;
    if (entry->d_tag == DT_RELASZ) bytes = entry->d_un.d_val;
  }
  const auto* const relocations = reinterpret_cast<const Elf64_Rela*>(at);
  for (std::uint64_t i = 0; i < bytes / sizeof(Elf64_Rela); ++i) {
    if (ELF64_R_TYPE(relocations[i].r_info) != R_X86_64_RELATIVE) die("it was linked wrongly");
    *reinterpret_cast<std::uint64_t*>(own_begin() + relocations[i].r_offset) =
        own_begin() + static_cast<std::uint64_t>(relocations[i].r_addend);
  }
}

// The arguments as the kernel puts them on the stack.
extern "C" [[noreturn]] void boxlite_resume(const long* stack) {
  relocate();
  const long count = stack[0];
  const char* const* arguments = reinterpret_cast<const char* const*>(stack + 1);
  if (count != static_cast<long>(5 + kChannels)) die("usage: boxlite-vm-resume IMAGE MEMORY FILTER LOCK CHANNEL...");
  const long* end = stack + 1 + count + 1;
  while (*end != 0) ++end;  // the environment
  std::uint64_t vdso = 0;
  std::uint64_t program = 0;  // a path
  for (const auto* entry = reinterpret_cast<const Elf64_auxv_t*>(end + 1); entry->a_type != AT_NULL; ++entry) {
    if (entry->a_type == AT_SYSINFO_EHDR) vdso = entry->a_un.a_val;
    if (entry->a_type == AT_EXECFN) program = entry->a_un.a_val;
  }
  if (vdso == 0) die("the kernel gave no vdso");

  const int image_file = move_high(static_cast<int>(check("open the image", call(SYS_open, address(arguments[1]), O_RDONLY))));
  const int memory_file = move_high(static_cast<int>(check("open the memory", call(SYS_open, address(arguments[2]), O_RDONLY))));
  constexpr std::size_t kGiven = 2 + kChannels;
  int given[kGiven];
  int moved[kGiven];
  for (std::size_t i = 0; i < kGiven; ++i) {
    given[i] = parse_descriptor(arguments[3 + i]);
    moved[i] = move_high(given[i]);
  }
  const int filter_file = moved[0];
  const int* const channels = moved + 2;

  const Image image = read_tables(image_file);
  if (is_in_the_way(image)) start_again(stack, program);
  struct stat memory = {};
  check("the memory", call(SYS_fstat, static_cast<unsigned long>(memory_file), address(&memory)));
  if (memory.st_ino != image.header->memory_inode) die("the image and the memory are not of one template");
  move_kernel_pages(image, vdso, false);
  // From here on there are no arguments.
  check("munmap", call(SYS_munmap, 0, own_begin()));
  check("munmap", call(SYS_munmap, own_end(), kUserEnd - own_end()));
  map_segments(image, image_file, memory_file);
  move_kernel_pages(image, vdso, true);
  set_boundaries(image.header->boundaries);

  check("close", call(SYS_close_range, 3, kHighDescriptor - 1, 0));
  for (const int fd : given) {
    if (fd >= kHighDescriptor) call(SYS_close, static_cast<unsigned long>(fd));
  }
  make_descriptors(image, channels, memory_file);
  for (int number = 1; number < 64; ++number) {
    if ((image.header->ignored_signals >> (number - 1) & 1U) == 0 || number == SIGKILL || number == SIGSTOP) continue;
    const unsigned long action[4] = {address(reinterpret_cast<const void*>(SIG_IGN)), 0, 0, 0};
    check("sigaction", call(SYS_rt_sigaction, static_cast<unsigned long>(number), address(action), 0, 8));
  }
  check("PR_SET_TIMERSLACK", call(SYS_prctl, PR_SET_TIMERSLACK, image.header->timer_slack));
  enter_sandbox(filter_file);
  const int used[] = {image_file, memory_file, filter_file};
  for (const int fd : used) call(SYS_close, static_cast<unsigned long>(fd));
  for (std::size_t i = 0; i < kChannels; ++i) {
    if (channels[i] >= 0) call(SYS_close, static_cast<unsigned long>(channels[i]));
  }

  const Thread& main = image.threads[0];
  check("FS", call(SYS_arch_prctl, ARCH_SET_FS, main.fs_base));
  *reinterpret_cast<int*>(main.tid_address) = static_cast<int>(call(SYS_set_tid_address, main.tid_address));
  start_threads(image);
  boxlite_begin(&main);
}

}  // namespace boxlite::vmm

// What the compiler may call.
extern "C" void* memset(void* to, int value, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) static_cast<volatile char*>(to)[i] = static_cast<char>(value);
  return to;
}
extern "C" void* memcpy(void* to, const void* from, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) static_cast<volatile char*>(to)[i] = static_cast<const char*>(from)[i];
  return to;
}
