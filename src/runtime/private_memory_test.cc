#include "runtime/private_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "base/file.h"
#include "base/sys.h"

namespace boxlite {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kPages = 600;  // more than are copied at once

// A file that is mapped privately, and a copy of it for what the mapping has of its own.
class PrivateMemoryTest : public ::testing::Test {
 protected:
  PrivateMemoryTest() {
    below_ = *sys::open(directory_.path() + "/below", O_RDWR | O_CREAT | O_EXCL, 0600);
    copy_ = *sys::open(directory_.path() + "/copy", O_RDWR | O_CREAT | O_EXCL, 0600);
    EXPECT_EQ(::ftruncate(below_.get(), kPages * kPage), 0);
    EXPECT_EQ(::ftruncate(copy_.get(), kPages * kPage), 0);
  }
  void put(std::size_t page, char value) {
    const std::string text(kPage, value);
    EXPECT_EQ(::pwrite(below_.get(), text.data(), kPage, static_cast<off_t>(page * kPage)), kPage);
  }
  char* map() {
    void* at = ::mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, below_.get(), 0);
    EXPECT_NE(at, MAP_FAILED);
    return static_cast<char*>(at);
  }
  std::string copied() const { return *read_file(directory_.path() + "/copy", kPages * kPage); }
  std::size_t blocks() const { return static_cast<std::size_t>(sys::fstat(copy_.get())->st_blocks) * 512; }

  TempDir directory_ = *TempDir::create("/tmp", "boxlite-memory-");
  UniqueFd below_;
  UniqueFd copy_;
};

TEST_F(PrivateMemoryTest, WhatWasWrittenIsCopiedOverWhatLiesBelow) {
  put(3, 'a');
  put(5, 'b');
  put(400, 'c');
  char* memory = map();
  std::string read;
  for (const std::size_t page : {3, 5, 10}) read += memory[page * kPage];  // read, and so mapped, and not private
  memory[5 * kPage] = 'B';
  memory[300 * kPage + 7] = 'x';
  memory[(kPages - 1) * kPage] = 'y';
  std::memset(memory + 400 * kPage, 0, kPage);
  ASSERT_TRUE(copy_sparse(below_.get(), copy_.get(), kPages * kPage));
  const auto done = copy_private_pages(::getpid(), reinterpret_cast<std::uintptr_t>(memory), kPages * kPage, copy_.get());
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_EQ(copied(), std::string(memory, kPages * kPage));
  EXPECT_LE(blocks(), 6 * kPage) << "zeros take no space";
  ::munmap(memory, kPages * kPage);
}

TEST_F(PrivateMemoryTest, NothingThatWasNotWrittenIsCopied) {
  put(3, 'a');
  char* memory = map();
  EXPECT_EQ(memory[3 * kPage], 'a');
  ASSERT_TRUE(copy_private_pages(::getpid(), reinterpret_cast<std::uintptr_t>(memory), kPages * kPage, copy_.get()));
  EXPECT_EQ(copied(), std::string(kPages * kPage, '\0'));
  ::munmap(memory, kPages * kPage);
}

TEST_F(PrivateMemoryTest, AnAddressThatIsNoMemoryCopiesNothing) {
  EXPECT_FALSE(copy_private_pages(::getpid(), 4097, kPage, copy_.get()));
  EXPECT_FALSE(copy_private_pages(0x7ffffff0, kPage, kPage, copy_.get())) << "there is no such process";
  const auto done = copy_private_pages(::getpid(), std::uint64_t{1} << 62U, kPage, copy_.get());
  EXPECT_EQ(copied(), std::string(kPages * kPage, '\0'));
}

}  // namespace
}  // namespace boxlite
