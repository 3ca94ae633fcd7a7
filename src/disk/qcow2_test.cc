#include "disk/qcow2.h"

#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/sys.h"

namespace boxlite::disk {
namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;

class Qcow2Test : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(sys::mkdir(dir_.path() + "/bases", 0700));
    ASSERT_TRUE(sys::mkdir(dir_.path() + "/boxes", 0700));
    ASSERT_TRUE(sys::mkdir(dir_.path() + "/boxes/a", 0700));
    ASSERT_TRUE(write_file_volatile(dir_.path() + "/bases/x.ext4", std::string(4 * kMiB, 'b'), 0444));
  }

  /// Exit code and standard output of qemu-img.
  std::pair<int, std::string> qemu_img(const std::vector<std::string>& arguments) {
    std::vector<std::string> argv = {"qemu-img"};
    for (const std::string& argument : arguments) argv.push_back(argument);
    auto pipe = sys::pipe();
    const ProcessSpec spec{.program = *find_program("qemu-img"), .argv = argv, .stdout_fd = pipe->write_end.get()};
    auto child = ChildProcess::spawn(spec);
    pipe->write_end.reset();
    std::string output(65536, '\0');
    output.resize(*sys::read_full(pipe->read_end.get(), std::as_writable_bytes(std::span(output))));
    return {child->wait()->code, output};
  }

  TempDir dir_ = *TempDir::create("/tmp", "boxlite-qcow2-test-");
  std::string overlay_ = dir_.path() + "/boxes/a/disk.qcow2";
  std::string base_ = "../../bases/x.ext4";
};

TEST_F(Qcow2Test, QemuFindsNothingWrongWithAnOverlay) {
  for (const std::uint64_t size : {4 * kMiB, 10240 * kMiB, 10240 * kMiB + 512, kMaxVirtualSize}) {
    ASSERT_TRUE(create_overlay(overlay_, size, base_, "raw"));
    EXPECT_EQ(qemu_img({"check", "-f", "qcow2", overlay_}).first, 0) << size;
    ASSERT_TRUE(sys::unlink(overlay_));
  }
}

TEST_F(Qcow2Test, QemuReadsSizeBaseAndFormatFromTheHeader) {
  ASSERT_TRUE(create_overlay(overlay_, 10240 * kMiB, base_, "raw"));
  const auto [code, text] = qemu_img({"info", "--output=json", "-f", "qcow2", overlay_});
  ASSERT_EQ(code, 0);
  const Json info = *parse_json(text, "qemu-img info");
  EXPECT_EQ(info.at("virtual-size"), 10240 * kMiB);
  EXPECT_EQ(info.at("cluster-size"), 65536);
  EXPECT_EQ(info.at("backing-filename"), base_);
  EXPECT_EQ(info.at("backing-filename-format"), "raw");
  EXPECT_EQ(info.at("format-specific").at("data").at("compat"), "1.1");
}

TEST_F(Qcow2Test, AnOverlayReadsAsItsBaseAndThenZeros) {
  ASSERT_TRUE(create_overlay(overlay_, 8 * kMiB, base_, "raw"));
  const std::string expected = dir_.path() + "/expected";
  ASSERT_TRUE(write_file_volatile(expected, std::string(4 * kMiB, 'b') + std::string(4 * kMiB, '\0'), 0600));
  EXPECT_EQ(qemu_img({"compare", "-f", "qcow2", "-F", "raw", overlay_, expected}).first, 0);
}

TEST_F(Qcow2Test, AnOverlayIsPrivateAndSmall) {
  ASSERT_TRUE(create_overlay(overlay_, 10240 * kMiB, base_, "raw"));
  const struct stat st = *sys::stat(overlay_);
  EXPECT_EQ(st.st_mode & 07777, 0600U);
  EXPECT_LE(st.st_blocks * 512, 65536);
}

TEST_F(Qcow2Test, AnExistingFileIsLeftAlone) {
  ASSERT_TRUE(write_file_volatile(overlay_, "precious", 0600));
  EXPECT_FALSE(create_overlay(overlay_, 4 * kMiB, base_, "raw"));
  EXPECT_EQ(*read_file(overlay_, 100), "precious");
}

TEST_F(Qcow2Test, AbsoluteBasesAndImpossibleSizesAreRefusedWithoutAFile) {
  EXPECT_FALSE(create_overlay(overlay_, 4 * kMiB, "/bases/x.ext4", "raw"));
  EXPECT_FALSE(create_overlay(overlay_, 4 * kMiB, std::string(1024, 'a'), "raw"));
  EXPECT_FALSE(create_overlay(overlay_, 0, base_, "raw"));
  EXPECT_FALSE(create_overlay(overlay_, 1000, base_, "raw"));
  EXPECT_FALSE(create_overlay(overlay_, kMaxVirtualSize + 512, base_, "raw"));
  EXPECT_NE(::access(overlay_.c_str(), F_OK), 0);
}

TEST_F(Qcow2Test, AnOverlayIsALayerThatMayComeFromElsewhere) {
  ASSERT_TRUE(create_overlay(overlay_, 10240 * kMiB, base_, "raw"));
  EXPECT_TRUE(check_layer(overlay_));
  const std::string upper = dir_.path() + "/boxes/a/upper.qcow2";
  ASSERT_TRUE(create_overlay(upper, 10240 * kMiB, "layer-3.qcow2", "qcow2"));
  EXPECT_TRUE(check_layer(upper));
}

TEST_F(Qcow2Test, WhatLeadsElsewhereIsNoLayer) {
  for (const std::string base :
       {"etc/passwd", "../x.ext4", "../../bases/../boxlite.db", "nbd:x.ext4", "json:{}.ext4", "layer-1.raw"}) {
    ASSERT_TRUE(create_overlay(overlay_, 10240 * kMiB, base, "raw"));
    EXPECT_EQ(check_layer(overlay_).error().code(), ErrorCode::kCorrupt) << base;
    ASSERT_TRUE(sys::unlink(overlay_));
  }
  const std::string plain = dir_.path() + "/plain";
  const std::string size = "16M";
  for (const std::vector<std::string>& options :
       {std::vector<std::string>{}, {"-o", "data_file=" + plain}, {"-o", "compat=0.10"}, {"-o", "cluster_size=4096"}}) {
    std::vector<std::string> arguments = {"create", "-q", "-f", "qcow2"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    arguments.insert(arguments.end(), {overlay_, size});
    ASSERT_EQ(qemu_img(arguments).first, 0);
    EXPECT_EQ(check_layer(overlay_).error().code(), ErrorCode::kCorrupt);
    ASSERT_TRUE(sys::unlink(overlay_));
  }
  ASSERT_TRUE(write_file_volatile(overlay_, "QFI\xfb", 0600));
  EXPECT_EQ(check_layer(overlay_).error().code(), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace boxlite::disk
