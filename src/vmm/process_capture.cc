// Theory of operation.
//
// A VM that stands still has its threads in system calls that wait: for a descriptor, for one another. Each is stopped there by
// ptrace(2); one that is not there yet goes on to where it would make its next call. A thread in a system call needs no more than
// its general registers: the calling convention keeps nothing in the vector registers across a call, and nobody changes the
// floating point modes. A call that the stop interrupted is made again.
//
// Memory is what /proc/<pid>/maps says, and one of:
//  - the guest's memory: the template's file, whose contents are there already;
//  - pages of a file that nobody has written to (programs, libraries): the same file again;
//  - the process's own pages: in the image, but for those that are zero;
//  - the kernel's (vdso), which every process has.
// Descriptors are eventfds and signalfds, which can be made anew, devices of the jail, and what was handed to QEMU, which will be
// handed to boxlite-vm-resume. What cannot be told is refused; the template has no image then.
#include "vmm/process_capture.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <sstream>
#include <vector>

#include "base/file.h"
#include "base/sys.h"

namespace boxlite::vmm {
namespace {

constexpr std::uint64_t kPageBytes = 4096;
constexpr std::uint64_t kWordsOfPage = kPageBytes / 8;
constexpr std::size_t kMostText = std::size_t{4} << 20U;
// Runs of the process's own pages that are closer than this are mapped as one.
constexpr std::uint64_t kClosePages = 16;
// What the main thread's stack may grow to; the kernel makes the one of a program that is started grow by itself.
constexpr std::uint64_t kStackBytes = std::uint64_t{8} << 20U;
constexpr std::uint64_t kStackGap = std::uint64_t{1} << 20U;
// Where the C library (2.4 and later, x86-64) keeps a thread's number: tid in struct pthread, which the thread pointer points to.
// Not documented, so it is looked at.
constexpr std::uint64_t kTidOffset = 0x2d0;
// Linux's own results of an interrupted call, from include/linux/errno.h.
constexpr std::array<long, 4> kRestarts = {-512, -513, -514, -516};
constexpr std::uint64_t kSyscallBytes = 2;  // of the instruction

std::uint64_t parse_hex(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return value;
}

// The value behind "Name:" in /proc/<pid>/status and fdinfo.
std::string field(const std::string& text, std::string_view name) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(name) || line.size() <= name.size() || line[name.size()] != ':') continue;
    const std::size_t begin = line.find_first_not_of(" \t", name.size() + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

// Without its device, which on btrfs and overlayfs is not the one that stat(2) tells.
struct Mapping {
  std::uint64_t begin = 0, end = 0, offset = 0, inode = 0;
  std::uint32_t protection = 0;
  bool shared = false;
  std::string name;
};

std::vector<Mapping> parse_maps(const std::string& text) {
  std::vector<Mapping> found;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string range, rights, offset, device;
    Mapping mapping;
    words >> range >> rights >> offset >> device >> mapping.inode;
    std::getline(words >> std::ws, mapping.name);
    const std::size_t dash = range.find('-');
    if (dash == std::string::npos || rights.size() < 4) continue;
    mapping.begin = parse_hex(std::string_view(range).substr(0, dash));
    mapping.end = parse_hex(std::string_view(range).substr(dash + 1));
    mapping.offset = parse_hex(offset);
    mapping.protection =
        (rights[0] == 'r' ? PROT_READ : 0U) | (rights[1] == 'w' ? PROT_WRITE : 0U) | (rights[2] == 'x' ? PROT_EXEC : 0U);
    mapping.shared = rights[3] == 's';
    found.push_back(std::move(mapping));
  }
  return found;
}

bool same_file(const struct stat& a, const struct stat& b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

// The threads of a process, stopped while this lives.
class StoppedThreads {
 public:
  explicit StoppedThreads(pid_t process) : process_(process) {}
  StoppedThreads(const StoppedThreads&) = delete;
  StoppedThreads& operator=(const StoppedThreads&) = delete;
  ~StoppedThreads() {
    for (const pid_t thread : stopped_) ::ptrace(PTRACE_DETACH, thread, nullptr, nullptr);
  }

  const std::vector<pid_t>& ids() const { return stopped_; }
  /// It has been stopped before it made its call.
  bool is_before_call(pid_t thread) const { return before_call_.contains(thread); }

  Result<void> stop() {
    // Whoever runs may make another, so until there is none that is not stopped.
    for (bool more = true; more;) {
      more = false;
      for (const pid_t thread : threads()) {
        if (std::ranges::find(stopped_, thread) != stopped_.end()) continue;
        more = true;
        const auto stopped = stop_one(thread);
        if (stopped) continue;
        std::erase(stopped_, thread);
        // One that had nothing to do for long ends by itself.
        if (thread == process_ || is_there(thread)) return stopped;
      }
    }
    if (stopped_.empty()) return fail(ErrorCode::kUnavailable, "process {} has ended", process_);
    return {};
  }

 private:
  // The main thread first.
  std::vector<pid_t> threads() const {
    std::vector<pid_t> found;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", process_), error)) {
      found.push_back(static_cast<pid_t>(std::strtol(entry.path().filename().c_str(), nullptr, 10)));
    }
    std::ranges::sort(found, [this](pid_t a, pid_t b) { return std::pair(a != process_, a) < std::pair(b != process_, b); });
    return found;
  }

  bool is_there(pid_t thread) const { return ::access(fmt::format("/proc/{}/task/{}", process_, thread).c_str(), F_OK) == 0; }

  Result<void> stop_one(pid_t thread) {
    constexpr unsigned long kTellCalls = PTRACE_O_TRACESYSGOOD;
    if (::ptrace(PTRACE_SEIZE, thread, nullptr, kTellCalls) < 0) return fail_errno("trace thread {} of QEMU", thread);
    stopped_.push_back(thread);
    if (::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) < 0) return fail_errno("stop thread {} of QEMU", thread);
    TRY(await_stop(thread));
    user_regs_struct registers = {};
    if (::ptrace(PTRACE_GETREGS, thread, nullptr, &registers) < 0) return fail_errno("registers of QEMU's thread {}", thread);
    if (static_cast<long>(registers.orig_rax) >= 0) return {};
    // It was on its way to its next call. Whom it may wait for meanwhile waits in a call himself, and so will it.
    for (int signal = 0;;) {
      if (::ptrace(PTRACE_SYSCALL, thread, nullptr, static_cast<unsigned long>(signal)) < 0)
        return fail_errno("trace thread {} of QEMU", thread);
      TRY_ASSIGN(const int stop, await_stop(thread));
      if (stop == (SIGTRAP | 0x80)) break;
      signal = stop == SIGTRAP ? 0 : stop;
    }
    before_call_.insert(thread);
    return {};
  }

  // The signal, as ptrace(2) tells it.
  static Result<int> await_stop(pid_t thread) {
    int status = 0;
    while (::waitpid(thread, &status, __WALL) < 0) {
      if (errno != EINTR) return fail_errno("wait for thread {} of QEMU", thread);
    }
    if (!WIFSTOPPED(status)) return fail(ErrorCode::kUnavailable, "QEMU has ended");
    return WSTOPSIG(status);
  }

  pid_t process_;
  std::vector<pid_t> stopped_;
  std::set<pid_t> before_call_;
};

class ProcessCapture {
 public:
  ProcessCapture(pid_t process, const CaptureSources& sources, int file)
      : process_(process), sources_(sources), file_(file), threads_(process) {}

  Result<void> run() {
    TRY(check_host());
    TRY(threads_.stop());
    TRY_ASSIGN(memory_, sys::open(proc("mem"), O_RDONLY));
    TRY_ASSIGN(pagemap_, sys::open(proc("pagemap"), O_RDONLY));
    TRY_ASSIGN(guest_memory_, sys::stat(sources_.memory));
    TRY_ASSIGN(base_image_, sys::stat(sources_.base_image));
    TRY_ASSIGN(overlay_, sys::stat(sources_.overlay));
    TRY_ASSIGN(device_state_, sys::stat(sources_.device_state));
    TRY(read_process());
    for (const pid_t thread : threads_.ids()) TRY(read_thread(thread));
    TRY(read_descriptors());
    TRY_ASSIGN(const std::string maps, read_file(proc("maps"), kMostText));
    const std::vector<Mapping> mappings = parse_maps(maps);
    // How large the tables are is known only at the end: the pages begin behind their limit.
    end_of_pages_ = kFirstPage;
    for (std::size_t i = 0; i < mappings.size(); ++i) TRY(read_mapping(mappings[i], i == 0 ? 0 : mappings[i - 1].end));
    return write_tables();
  }

 private:
  static constexpr std::uint64_t kFirstPage = kMostTableBytes;

  std::string proc(std::string_view name) const { return fmt::format("/proc/{}/{}", process_, name); }

  static Error unsupported(const std::string& what) {
    return Error(ErrorCode::kUnsupported, fmt::format("its QEMU cannot be gone on from: {}", what));
  }

  // What boxlite-vm-resume cannot do without.
  static Result<void> check_host() {
    unsigned size = 0;
    if (::prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0) < 0)
      return std::unexpected(unsupported("the kernel was built without CONFIG_CHECKPOINT_RESTORE"));
    rlimit files = {};
    if (::getrlimit(RLIMIT_NOFILE, &files) < 0) return fail_errno("getrlimit");
    if (files.rlim_max < 2 * kHighDescriptor)
      return std::unexpected(unsupported(fmt::format("a process may have {} files open (ulimit -Hn)", files.rlim_max)));
    return {};
  }

  Result<void> read_process() {
    TRY_ASSIGN(const std::string status, read_file(proc("status"), kMostText));
    header_.ignored_signals = parse_hex(field(status, "SigIgn"));
    header_.memory_inode = guest_memory_.st_ino;
    TRY_ASSIGN(const std::string slack, read_file(proc("timerslack_ns"), kMostText));
    header_.timer_slack = std::strtoull(slack.c_str(), nullptr, 10);
    const std::string name = field(status, "Name");
    name.copy(header_.name, sizeof header_.name - 1);
    TRY_ASSIGN(const std::string stat, read_file(proc("stat"), kMostText));
    // proc(5): the first field after the name is number 3.
    std::istringstream words(stat.substr(std::min(stat.rfind(')') + 1, stat.size())));
    std::vector<std::string> fields(3);
    for (std::string word; words >> word;) fields.push_back(word);
    if (fields.size() < 52) return std::unexpected(unsupported("/proc/<pid>/stat has too few fields"));
    const auto number = [&](std::size_t index) { return std::strtoull(fields[index].c_str(), nullptr, 10); };
    header_.boundaries = {.start_code = number(26),
                          .end_code = number(27),
                          .start_data = number(45),
                          .end_data = number(46),
                          .start_brk = number(47),
                          .brk = number(47),
                          .start_stack = number(28),
                          .arg_start = number(48),
                          .arg_end = number(49),
                          .env_start = number(50),
                          .env_end = number(51)};
    return {};
  }

  Result<void> read_thread(pid_t id) {
    user_regs_struct registers = {};
    if (::ptrace(PTRACE_GETREGS, id, nullptr, &registers) < 0) return fail_errno("registers of QEMU's thread {}", id);
    if (registers.cs != 0x33) return std::unexpected(unsupported("it is no 64-bit program"));
    Thread thread = {};
    thread.rax = registers.rax;
    thread.rip = registers.rip;
    if (threads_.is_before_call(id) || std::ranges::find(kRestarts, static_cast<long>(registers.rax)) != kRestarts.end()) {
      thread.rax = registers.orig_rax;
      thread.rip -= kSyscallBytes;
    }
    thread.rbx = registers.rbx;
    thread.rdx = registers.rdx;
    thread.rsi = registers.rsi;
    thread.rdi = registers.rdi;
    thread.rbp = registers.rbp;
    thread.rsp = registers.rsp;
    thread.r8 = registers.r8;
    thread.r9 = registers.r9;
    thread.r10 = registers.r10;
    thread.r12 = registers.r12;
    thread.r13 = registers.r13;
    thread.r14 = registers.r14;
    thread.r15 = registers.r15;
    thread.fs_base = registers.fs_base;
    thread.tid_address = thread.fs_base + kTidOffset;
    if (::ptrace(static_cast<__ptrace_request>(PTRACE_GETSIGMASK), id, sizeof thread.blocked, &thread.blocked) < 0)
      return fail_errno("signals of QEMU's thread {}", id);
    const std::string directory = proc(fmt::format("task/{}", id));
    TRY_ASSIGN(const std::string status, read_file(directory + "/status", kMostText));
    const std::string name = field(status, "Name");
    name.copy(thread.name, sizeof thread.name - 1);
    // The last is the one in its own PID namespace.
    const std::string numbers = field(status, "NSpid");
    const auto own =
        static_cast<std::uint32_t>(std::strtoul(numbers.substr(numbers.find_last_of("\t ") + 1).c_str(), nullptr, 10));
    std::uint32_t kept = 0;
    TRY(read_memory(thread.tid_address, std::as_writable_bytes(std::span(&kept, 1))));
    if (kept != own) return std::unexpected(unsupported("its C library keeps the number of a thread somewhere else"));
    tables_.threads.push_back(thread);
    return {};
  }

  Result<void> read_descriptors() {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(proc("fd"), error)) {
      const int number = static_cast<int>(std::strtol(entry.path().filename().c_str(), nullptr, 10));
      if (number <= STDERR_FILENO) continue;  // as boxlite-vm-resume has them
      TRY(read_descriptor(number));
    }
    if (error) return fail(ErrorCode::kIo, "{}: {}", proc("fd"), error.message());
    std::ranges::sort(tables_.descriptors, {}, &Descriptor::number);
    return {};
  }

  Result<void> read_descriptor(int number) {
    TRY_ASSIGN(const std::string info, read_file(proc(fmt::format("fdinfo/{}", number)), kMostText));
    const std::string path = proc(fmt::format("fd/{}", number));
    std::error_code error;
    const std::string target = std::filesystem::read_symlink(path, error).string();
    const std::uint64_t flags = std::strtoull(field(info, "flags").c_str(), nullptr, 8);
    Descriptor descriptor = {};
    descriptor.number = number;
    descriptor.flags = static_cast<std::uint32_t>(flags) & (O_NONBLOCK | O_CLOEXEC);
    TRY_ASSIGN(const struct stat file, sys::stat(path));
    const auto channel = std::ranges::find(sources_.channels, number);
    const auto become = [&](DescriptorKind kind, std::uint64_t value) {
      descriptor.kind = kind;
      descriptor.value = value;
      tables_.descriptors.push_back(descriptor);
      return Result<void>();
    };
    if (channel != sources_.channels.end() && S_ISSOCK(file.st_mode)) {
      return become(DescriptorKind::kChannel, static_cast<std::uint64_t>(channel - sources_.channels.begin()));
    }
    if (same_file(file, base_image_)) return become(DescriptorKind::kChannel, static_cast<std::uint64_t>(Channel::kBaseImage));
    if (same_file(file, overlay_)) return become(DescriptorKind::kChannel, static_cast<std::uint64_t>(Channel::kOverlay));
    if (same_file(file, guest_memory_)) return become(DescriptorKind::kMemory, 0);
    if (same_file(file, device_state_)) return become(DescriptorKind::kDevice, 0);
    if (S_ISCHR(file.st_mode) && file.st_rdev == makedev(1, 3)) return become(DescriptorKind::kDevice, 0);
    if (S_ISCHR(file.st_mode) && file.st_rdev == makedev(1, 9)) return become(DescriptorKind::kDevice, 1);
    if (target == "anon_inode:[eventfd]") {
      // proc(5): in hexadecimal.
      return become(DescriptorKind::kEventfd, parse_hex(field(info, "eventfd-count")));
    }
    if (target == "anon_inode:[signalfd]") return become(DescriptorKind::kSignalfd, parse_hex(field(info, "sigmask")));
    if (target == "anon_inode:[eventpoll]" && field(info, "tfd").empty()) return become(DescriptorKind::kEpoll, 0);
    return std::unexpected(unsupported("descriptor " + target));
  }

  Result<void> read_mapping(const Mapping& mapping, std::uint64_t end_before) {
    Segment segment = {};
    segment.address = mapping.begin;
    segment.length = mapping.end - mapping.begin;
    segment.protection = mapping.protection;
    if (mapping.name == "[vsyscall]") return {};
    if (mapping.name == "[vdso]" || mapping.name.starts_with("[vvar")) {
      if (mapping.name == "[vdso]") header_.vdso = mapping.begin;
      segment.source = Source::kKernel;
      tables_.segments.push_back(segment);
      return {};
    }
    if (mapping.shared && mapping.inode == guest_memory_.st_ino) {
      segment.source = Source::kMemory;
      segment.offset = mapping.offset;
      tables_.segments.push_back(segment);
      return {};
    }
    if (mapping.shared) return std::unexpected(unsupported("memory that it shares: " + mapping.name));
    if (mapping.name == "[heap]") header_.boundaries.brk = mapping.end;
    if (mapping.name == "[stack]" && segment.length < kStackBytes) {
      const std::uint64_t lowest = std::max(mapping.end - kStackBytes, end_before + kStackGap);
      if (lowest < mapping.begin) {
        Segment growth = segment;
        growth.address = lowest;
        growth.length = mapping.begin - lowest;
        growth.source = Source::kAnonymous;
        tables_.segments.push_back(growth);
      }
    }
    TRY_ASSIGN(const std::vector<std::uint64_t> pages, pages_of(mapping));
    if (mapping.inode == 0) return read_own(mapping, segment, pages);
    const bool written = std::ranges::any_of(pages, is_own);
    if (!written) {
      if (const auto file = mapped_file(mapping)) {
        segment.source = Source::kFile;
        segment.offset = mapping.offset;
        segment.file = *file;
        tables_.segments.push_back(segment);
        return {};
      }
    }
    return add_pages(segment, mapping.begin, mapping.end);
  }

  // https://docs.kernel.org/admin-guide/mm/pagemap.html
  static bool is_own(std::uint64_t entry) { return (entry & (std::uint64_t{3} << 62U)) != 0 && (entry >> 61U & 1U) == 0; }

  Result<std::vector<std::uint64_t>> pages_of(const Mapping& mapping) const {
    std::vector<std::uint64_t> entries((mapping.end - mapping.begin) / kPageBytes);
    const std::size_t size = entries.size() * sizeof entries[0];
    const ssize_t got =
        ::pread(pagemap_.get(), entries.data(), size, static_cast<off_t>(mapping.begin / kPageBytes * sizeof entries[0]));
    if (got < 0) return fail_errno("{}", proc("pagemap"));
    if (static_cast<std::size_t>(got) != size) return fail(ErrorCode::kUnavailable, "QEMU has ended");
    return entries;
  }

  // Pages that were never touched, and those that are zero, are zeros again; in between they are the image's.
  Result<void> read_own(const Mapping& mapping, Segment segment, const std::vector<std::uint64_t>& pages) {
    std::vector<bool> needed(pages.size());
    for (std::size_t page = 0; page < pages.size(); ++page) {
      if (!is_own(pages[page])) continue;
      TRY_ASSIGN(needed[page], holds_something(mapping.begin + page * kPageBytes));
    }
    const auto add_zeros = [&](std::size_t from, std::size_t to) {
      if (from == to) return;
      segment.address = mapping.begin + from * kPageBytes;
      segment.length = (to - from) * kPageBytes;
      segment.source = Source::kAnonymous;
      tables_.segments.push_back(segment);
    };
    std::size_t done = 0;
    for (std::size_t page = 0; page < needed.size(); ++page) {
      if (!needed[page]) continue;
      std::size_t end = page + 1;
      for (std::size_t next = end; next < needed.size() && next <= end + kClosePages; ++next) {
        if (needed[next]) end = next + 1;
      }
      add_zeros(done, page);
      TRY(add_pages(segment, mapping.begin + page * kPageBytes, mapping.begin + end * kPageBytes));
      done = end;
      page = end - 1;
    }
    add_zeros(done, needed.size());
    return {};
  }

  Result<bool> holds_something(std::uint64_t address) {
    TRY(read_memory(address, std::as_writable_bytes(std::span(buffer_).first(kWordsOfPage))));
    return std::ranges::any_of(std::span(buffer_).first(kWordsOfPage), [](std::uint64_t word) { return word != 0; });
  }

  Result<void> add_pages(Segment segment, std::uint64_t begin, std::uint64_t end) {
    segment.address = begin;
    segment.length = end - begin;
    segment.source = Source::kImage;
    segment.offset = end_of_pages_;
    tables_.segments.push_back(segment);
    for (std::uint64_t at = begin; at < end; at += kPageBytes) {
      TRY_ASSIGN(const bool something, holds_something(at));
      if (something) TRY(write_at(std::as_bytes(std::span(buffer_).first(kWordsOfPage)), end_of_pages_ + (at - begin)));
    }
    end_of_pages_ += segment.length;
    return {};
  }

  // nullopt: it is not there any more.
  std::optional<std::uint32_t> mapped_file(const Mapping& mapping) {
    if (const auto known = file_index_.find(mapping.name); known != file_index_.end()) return known->second;
    const auto file = sys::stat(mapping.name);
    if (!file || file->st_ino != mapping.inode) return std::nullopt;
    const auto index = static_cast<std::uint32_t>(tables_.files.size());
    tables_.files.push_back({.path = tables_.paths.size(),
                             .device = file->st_dev,
                             .inode = file->st_ino,
                             .size = static_cast<std::uint64_t>(file->st_size),
                             .mtime_seconds = file->st_mtim.tv_sec,
                             .mtime_nanoseconds = file->st_mtim.tv_nsec});
    tables_.paths += mapping.name;
    tables_.paths += '\0';
    file_index_.emplace(mapping.name, index);
    return index;
  }

  Result<void> read_memory(std::uint64_t address, std::span<std::byte> to) const {
    const ssize_t got = ::pread(memory_.get(), to.data(), to.size(), static_cast<off_t>(address));
    if (got < 0) return fail_errno("read QEMU's memory at {:x}", address);
    if (static_cast<std::size_t>(got) != to.size()) return fail(ErrorCode::kUnavailable, "QEMU has ended");
    return {};
  }

  Result<void> write_at(std::span<const std::byte> data, std::uint64_t offset) const {
    while (!data.empty()) {
      const ssize_t count = ::pwrite(file_, data.data(), data.size(), static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return fail_errno("write the image of QEMU");
      data = data.subspan(static_cast<std::size_t>(count));
      offset += static_cast<std::uint64_t>(count);
    }
    return {};
  }

  Result<void> write_tables() {
    if (tables_.segments.size() > kMostSegments || tables_.threads.size() > kMostThreads || tables_.files.size() > kMostFiles ||
        tables_.descriptors.size() > kMostDescriptors)
      return std::unexpected(unsupported("it has too much of something"));
    if (header_.vdso == 0) return std::unexpected(unsupported("it has no vdso"));
    header_.magic = kImageMagic;
    header_.segments = static_cast<std::uint32_t>(tables_.segments.size());
    header_.threads = static_cast<std::uint32_t>(tables_.threads.size());
    header_.descriptors = static_cast<std::uint32_t>(tables_.descriptors.size());
    header_.files = static_cast<std::uint32_t>(tables_.files.size());
    header_.paths_bytes = tables_.paths.size();
    std::vector<std::byte> bytes;
    const auto add = [&bytes](std::span<const std::byte> part) { bytes.insert(bytes.end(), part.begin(), part.end()); };
    add(std::as_bytes(std::span(&header_, 1)));
    add(std::as_bytes(std::span(tables_.segments)));
    add(std::as_bytes(std::span(tables_.threads)));
    add(std::as_bytes(std::span(tables_.descriptors)));
    add(std::as_bytes(std::span(tables_.files)));
    add(std::as_bytes(std::span(tables_.paths)));
    if (bytes.size() > kMostTableBytes) return std::unexpected(unsupported("it has too much of everything"));
    header_.table_bytes = bytes.size();
    std::memcpy(bytes.data(), &header_, sizeof header_);
    TRY(write_at(bytes, 0));
    if (::ftruncate(file_, static_cast<off_t>(end_of_pages_)) < 0) return fail_errno("write the image of QEMU");
    return {};
  }

  struct Tables {
    std::vector<Segment> segments;
    std::vector<Thread> threads;
    std::vector<Descriptor> descriptors;
    std::vector<MappedFile> files;
    std::string paths;
  };

  pid_t process_;
  const CaptureSources& sources_;
  int file_;
  StoppedThreads threads_;
  UniqueFd memory_;
  UniqueFd pagemap_;
  struct stat guest_memory_ = {};
  struct stat base_image_ = {};
  struct stat overlay_ = {};
  struct stat device_state_ = {};
  ImageHeader header_ = {};
  Tables tables_;
  std::map<std::string, std::uint32_t> file_index_;
  std::uint64_t end_of_pages_ = 0;
  std::vector<std::uint64_t> buffer_ = std::vector<std::uint64_t>(kWordsOfPage);
};

}  // namespace

Result<void> capture_process(pid_t qemu, const CaptureSources& sources, int file) {
  return ProcessCapture(qemu, sources, file).run();
}

Result<void> check_mapped_files(const std::string& image) {
  TRY_ASSIGN(const UniqueFd file, sys::open(image, O_RDONLY | O_NOFOLLOW));
  ImageHeader header = {};
  TRY_ASSIGN(const std::size_t got, sys::read_full(file.get(), std::as_writable_bytes(std::span(&header, 1))));
  if (got != sizeof header || header.magic != kImageMagic || header.table_bytes > kMostTableBytes || header.files > kMostFiles)
    return {};  // boxlite-vm-resume says so
  std::string tables(header.table_bytes, '\0');
  if (::pread(file.get(), tables.data(), tables.size(), 0) != static_cast<ssize_t>(tables.size())) return {};
  const std::uint64_t after = header.files * sizeof(MappedFile) + header.paths_bytes;
  if (header.paths_bytes > tables.size() || after > tables.size()) return {};
  const std::string_view paths = std::string_view(tables).substr(tables.size() - header.paths_bytes);
  for (std::uint32_t i = 0; i < header.files; ++i) {
    MappedFile mapped = {};
    std::memcpy(&mapped, tables.data() + (tables.size() - after) + i * sizeof mapped, sizeof mapped);
    if (mapped.path >= paths.size()) return {};
    const std::string path(paths.substr(mapped.path, paths.find('\0', mapped.path) - mapped.path));
    const auto now = sys::stat(path);
    if (!now || now->st_dev != mapped.device || now->st_ino != mapped.inode ||
        static_cast<std::uint64_t>(now->st_size) != mapped.size || now->st_mtim.tv_sec != mapped.mtime_seconds ||
        now->st_mtim.tv_nsec != mapped.mtime_nanoseconds)
      return fail(ErrorCode::kNotFound, "{} is not what it was when {} was made", path, image);
  }
  return {};
}

}  // namespace boxlite::vmm
