// Where a place is looked for, in trees made for it. What the kernel makes of limits: tests/e2e/test_vm_cgroup.py.
#include "vmm/vm_cgroup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"

namespace boxlite::vmm {
namespace {

using testing::HasSubstr;

class CgroupPlaceTest : public testing::Test {
 protected:
  // `own`: what /proc/self/cgroup says of version 2.
  void make_host(const std::string& mount, const std::string& own) {
    put("/proc/self/mountinfo", "24 1 0:22 / /proc rw shared:5 - proc proc rw\n" + mount);
    put("/proc/self/cgroup", "1:name=systemd:/other\n" + own);
  }
  void make_cgroup(const std::string& directory, const std::string& handed_down,
                   const std::string& controllers = "cpu memory pids") {
    put(directory + "/cgroup.controllers", controllers + "\n");
    put(directory + "/cgroup.subtree_control", handed_down + "\n");
    put(directory + "/cgroup.procs", "");
  }
  std::string place() const { return find_cgroup_place(root_.path()).value_or(""); }
  std::string reason() const {
    const auto found = find_cgroup_place(root_.path());
    return found ? "" : found.error().message();
  }

 private:
  void put(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_.path() + path;
    std::filesystem::create_directories(file.parent_path());
    ASSERT_TRUE(write_file_volatile(file, text, 0644));
  }

  TempDir root_ = *TempDir::create("/tmp", "boxlite-cgroups-");
};

constexpr const char* kUnified = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 master:2 - cgroup2 cgroup2 rw,nsdelegate\n";

TEST_F(CgroupPlaceTest, IsTheHighestAncestorThatHandsMemoryAndPidsDown) {
  make_host(kUnified, "0::/user.slice/user@7.service/app.slice/run-1.scope\n");
  make_cgroup("/sys/fs/cgroup", "cpu");
  make_cgroup("/sys/fs/cgroup/user.slice", "cpu memory");
  make_cgroup("/sys/fs/cgroup/user.slice/user@7.service", "cpu memory pids");
  make_cgroup("/sys/fs/cgroup/user.slice/user@7.service/app.slice", "memory pids");
  make_cgroup("/sys/fs/cgroup/user.slice/user@7.service/app.slice/run-1.scope", "");
  EXPECT_EQ(place(), "/sys/fs/cgroup/user.slice/user@7.service");
  make_cgroup("/sys/fs/cgroup", "pids memory");
  EXPECT_EQ(place(), "/sys/fs/cgroup");
}

TEST_F(CgroupPlaceTest, IsTheRootOfAProcessThatIsInTheRoot) {
  make_host(kUnified, "0::/\n");
  make_cgroup("/sys/fs/cgroup", "memory pids");
  EXPECT_EQ(place(), "/sys/fs/cgroup");
}

TEST_F(CgroupPlaceTest, IsFoundWhereOnlyAPartOfTheHierarchyIsMounted) {
  make_host("30 24 0:26 /docker/a /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/docker/a/init\n");
  make_cgroup("/sys/fs/cgroup", "memory pids");
  make_cgroup("/sys/fs/cgroup/init", "");
  EXPECT_EQ(place(), "/sys/fs/cgroup");
  make_host("30 24 0:26 /docker/a /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/docker/ab\n");
  EXPECT_THAT(reason(), HasSubstr("/docker/ab, is not below /sys/fs/cgroup"));
}

TEST_F(CgroupPlaceTest, IsNoneAndWhyIsSaid) {
  make_host("", "0::/\n");
  EXPECT_THAT(reason(), HasSubstr("cgroup v2 is not mounted"));
  make_host("30 24 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", "0::/\n");
  make_cgroup("/sys/fs/cgroup/unified", "", "hugetlb");
  EXPECT_THAT(reason(), HasSubstr("no memory and pids controllers at /sys/fs/cgroup/unified"));
  make_host(kUnified, "");
  EXPECT_THAT(reason(), HasSubstr("in no cgroup of version 2"));
  make_host(kUnified, "0::/init\n");
  make_cgroup("/sys/fs/cgroup", "memory");
  make_cgroup("/sys/fs/cgroup/init", "");
  EXPECT_THAT(reason(), HasSubstr("no cgroup from /sys/fs/cgroup/init upwards"));
}

}  // namespace
}  // namespace boxlite::vmm
