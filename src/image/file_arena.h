// Memory for a tree that may be larger than what a job should hold: an arena in a file without a name, mapped, of which only a
// part stays resident. The kernel's page cache does the rest, and gives it back when memory is short.
//
// Nothing is freed before the arena is, and no destructor is called: what lives here must own nothing outside of it. Addresses
// stay. Room on the disk is taken before it is written to: a full disk is an error here and never a signal. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <memory_resource>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite::image {

class FileArena final : public std::pmr::memory_resource {
 public:
  struct Limits {
    std::size_t total = std::size_t{2} << 30;      // bytes, also of the file
    std::size_t resident = std::size_t{24} << 20;  // bytes of files the process may have in memory, this one and its libraries
  };

  /// `path` must not exist, and is gone again when this returns. `what` names the image in errors.
  static Result<std::unique_ptr<FileArena>> create(const std::string& path, const std::string& what, const Limits& limits);
  static Result<std::unique_ptr<FileArena>> create(const std::string& path, const std::string& what);
  FileArena(const FileArena&) = delete;
  FileArena& operator=(const FileArena&) = delete;
  ~FileArena() override;

  /// After it, `bytes` can be allocated. kResourceExhausted: more than the limit, or the disk is full.
  Result<void> reserve(std::size_t bytes);

  template <typename T, typename... Arguments>
  Result<T*> make(Arguments&&... arguments) {
    static_assert(alignof(T) <= kAlignment);
    TRY(reserve(sizeof(T) + kAlignment));
    return ::new (allocate(sizeof(T), alignof(T))) T(std::forward<Arguments>(arguments)...);
  }

  /// A copy that lives as long as the arena.
  Result<std::string_view> keep(std::string_view text);

  /// Says that an object in here was looked at, which has brought its pages into memory: now and then some are sent away.
  void visit() {
    if (++visits_ % kVisitsPerLook == 0 && used_ > limits_.resident) send_away();
  }

 private:
  static constexpr std::size_t kAlignment = alignof(std::max_align_t);
  static constexpr std::uint32_t kVisitsPerLook = 16;

  FileArena(UniqueFd file, UniqueFd statm, std::byte* begin, std::string path, std::string what, const Limits& limits);
  void send_away();
  void* do_allocate(std::size_t bytes, std::size_t alignment) override;
  void do_deallocate(void* /*memory*/, std::size_t /*bytes*/, std::size_t /*alignment*/) override {}
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }

  UniqueFd file_;
  UniqueFd statm_;  // /proc/self/statm
  std::byte* begin_;
  std::string path_;
  std::string what_;
  Limits limits_;
  std::size_t used_ = 0;
  std::size_t room_ = 0;  // bytes of the file so far
  std::uint32_t visits_ = 0;
};

}  // namespace boxlite::image
