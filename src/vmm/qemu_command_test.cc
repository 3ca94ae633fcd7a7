#include "vmm/qemu_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace boxlite::vmm {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

VmConfig tcg() {
  VmConfig config;
  config.cpus = 2;
  config.memory_mib = 768;
  config.kernel = "/home/user/.boxlite/kernel";
  config.initramfs = "/home/user/.boxlite/initramfs";
  config.base_image = "/home/user/.boxlite/base";
  config.overlay = "/home/user/.boxlite/overlay";
  config.tsc_khz = 2596131;
  return config;
}

VmConfig kvm() {
  VmConfig config = tcg();
  config.accelerator = Accelerator::kKvm;
  return config;
}

const QemuDescriptors kFds = {.portal = 10, .console = 11, .qmp = 12, .base_image = 13, .overlay = 14};

std::vector<std::string> values_of(const std::vector<std::string>& argv, const std::string& option) {
  std::vector<std::string> values;
  for (std::size_t i = 0; i + 1 < argv.size(); ++i) {
    if (argv[i] == option) values.push_back(argv[i + 1]);
  }
  return values;
}

std::string value_of(const std::vector<std::string>& argv, const std::string& option) {
  const auto values = values_of(argv, option);
  EXPECT_EQ(values.size(), 1U) << option;
  return values.empty() ? "" : values[0];
}

TEST(QemuCommandTest, TheShapeOfTheMachineIsTheConfigurations) {
  const auto argv = qemu_command(tcg(), "/usr/bin/qemu-system-x86_64", kFds);
  EXPECT_EQ(argv[0], "/usr/bin/qemu-system-x86_64");
  EXPECT_EQ(value_of(argv, "-smp"), "2");
  EXPECT_EQ(value_of(argv, "-m"), "768M");
  EXPECT_THAT(value_of(argv, "-M"), AllOf(HasSubstr("microvm"), HasSubstr("dump-guest-core=off")));
}

TEST(QemuCommandTest, ANetworkCardIsADatagramSocketAndOnlyThereWhenThereIsOne) {
  QemuDescriptors fds = kFds;
  fds.nic = {.fd = 15, .mac = "5a:94:ef:e4:0c:ee", .mtu = 65520};
  const auto with = qemu_command(tcg(), "q", fds);
  EXPECT_THAT(values_of(with, "-netdev"), Contains("dgram,id=net,local.type=fd,local.str=15"));
  EXPECT_THAT(values_of(with, "-device"), Contains("virtio-net-device,netdev=net,mac=5a:94:ef:e4:0c:ee,host_mtu=65520"));
  const auto without = qemu_command(tcg(), "q", kFds);
  EXPECT_TRUE(values_of(without, "-netdev").empty());
  EXPECT_THAT(values_of(without, "-device"), Not(Contains(HasSubstr("net"))));
}

TEST(QemuCommandTest, EverythingIsDeniedByTheSandbox) {
  EXPECT_EQ(value_of(qemu_command(tcg(), "q", kFds), "-sandbox"),
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
}

TEST(QemuCommandTest, NothingTheUserHasNotNamedIsAdded) {
  const auto argv = qemu_command(tcg(), "q", kFds);
  for (const char* flag : {"-nodefaults", "-no-user-config", "-no-reboot"}) EXPECT_THAT(argv, Contains(flag));
  EXPECT_THAT(argv, Not(Contains(HasSubstr("net"))));
}

TEST(QemuCommandTest, NoPathOfTheHostIsInTheCommand) {
  EXPECT_THAT(qemu_command(tcg(), "q", kFds), Not(Contains(HasSubstr("/home/user"))));
}

TEST(QemuCommandTest, DisksAreDescriptorsWithDriversAndBackingSpelledOut) {
  const auto argv = qemu_command(tcg(), "q", kFds);
  EXPECT_EQ(values_of(argv, "-add-fd"), (std::vector<std::string>{"fd=13,set=1", "fd=14,set=2"}));
  const auto nodes = values_of(argv, "-blockdev");
  EXPECT_THAT(nodes, Contains("driver=file,node-name=base-file,filename=/dev/fdset/1,read-only=on"));
  EXPECT_THAT(nodes, Contains("driver=raw,node-name=base,file=base-file,read-only=on"));
  EXPECT_THAT(nodes, Contains(AllOf(HasSubstr("driver=qcow2"), HasSubstr("backing=base"))));
  EXPECT_THAT(nodes, Not(Contains(HasSubstr("locking=off"))));
}

TEST(QemuCommandTest, FrozenLayersAreReadOnlyEachOnTheOneBelow) {
  QemuDescriptors fds = kFds;
  fds.layers = {20, 21};
  const auto argv = qemu_command(tcg(), "q", fds);
  EXPECT_THAT(values_of(argv, "-add-fd"), AllOf(Contains("fd=20,set=3"), Contains("fd=21,set=4")));
  const auto nodes = values_of(argv, "-blockdev");
  EXPECT_THAT(nodes, Contains("driver=file,node-name=layer0-file,filename=/dev/fdset/3,read-only=on"));
  EXPECT_THAT(nodes, Contains("driver=qcow2,node-name=layer0,file=layer0-file,backing=base,read-only=on"));
  EXPECT_THAT(nodes, Contains("driver=qcow2,node-name=layer1,file=layer1-file,backing=layer0,read-only=on"));
  EXPECT_THAT(nodes, Contains("driver=qcow2,node-name=disk,file=disk-file,backing=layer1,discard=unmap"));
}

TEST(QemuCommandTest, AVmWithoutADiskHasNoBlockDevice) {
  QemuDescriptors fds = kFds;
  fds.base_image = fds.overlay = -1;
  EXPECT_THAT(qemu_command(tcg(), "q", fds), Not(Contains(AnyOf(HasSubstr("blk"), HasSubstr("fdset")))));
}

TEST(QemuCommandTest, ChannelsAreInheritedDescriptors) {
  const auto chardevs = values_of(qemu_command(tcg(), "q", kFds), "-chardev");
  EXPECT_EQ(chardevs, (std::vector<std::string>{"socket,id=qmp,fd=12", "socket,id=console,fd=11", "socket,id=portal,fd=10"}));
}

TEST(QemuCommandTest, UnderTcgTheGuestIsToldTheClockInsteadOfMeasuringIt) {
  EXPECT_THAT(kernel_command_line(tcg()), HasSubstr(" tsc_early_khz=2596131 tsc=reliable lpj=10384524"));
  EXPECT_THAT(value_of(qemu_command(tcg(), "q", kFds), "-accel"), HasSubstr("tcg"));
}

TEST(QemuCommandTest, AVmThatIsRestoredHasNoKernelAndWaitsToBeTold) {
  VmConfig config = tcg();
  config.memory_file = MemoryFile{.path = "/home/user/.boxlite/templates/x/memory", .shared = false};
  config.device_state = "/home/user/.boxlite/templates/x/device-state";
  const auto argv = qemu_command(config, "q", kFds);
  EXPECT_THAT(argv, Not(Contains(AnyOf(std::string("-kernel"), std::string("-initrd"), std::string("-append")))));
  EXPECT_EQ(value_of(argv, "-incoming"), "defer");
  EXPECT_THAT(argv, Not(Contains("-S")));
  config.stand_still = true;
  EXPECT_THAT(qemu_command(config, "q", kFds), Contains("-S"));
  EXPECT_THAT(values_of(argv, "-object"),
              Contains("memory-backend-file,id=memory,mem-path=/boxlite/memory,size=768M,share=off,dump=off"));
  EXPECT_THAT(value_of(argv, "-M"), HasSubstr("memory-backend=memory"));
  EXPECT_THAT(argv, Not(Contains(HasSubstr("/home/user"))));
}

TEST(QemuCommandTest, AVmThatBecomesATemplateIsTheSameMachineWithMemoryThatIsKept) {
  VmConfig config = tcg();
  config.memory_file = MemoryFile{.path = "/m", .shared = true};
  auto saved = qemu_command(config, "q", kFds);
  EXPECT_THAT(values_of(saved, "-object"), Contains(HasSubstr("share=on")));
  EXPECT_THAT(values_of(saved, "-global"), Contains("migration.store-global-state=off"));
  config.memory_file->shared = false;
  config.device_state = "/s";
  auto restored = qemu_command(config, "q", kFds);
  for (const char* option : {"-global", "-M", "-accel", "-cpu", "-smp", "-m", "-device", "-serial"})
    EXPECT_EQ(values_of(saved, option), values_of(restored, option)) << option;
}

TEST(QemuCommandTest, ItsThreadsForTheDiskAreFew) {
  EXPECT_THAT(values_of(qemu_command(tcg(), "q", kFds), "-object"), Contains("main-loop,id=main,thread-pool-max=16"));
}

TEST(QemuCommandTest, UnderTcgTheGuestIsNotToldToCopyByTheByte) {
  EXPECT_EQ(value_of(qemu_command(tcg(), "q", kFds), "-cpu"), "max,erms=off,rdrand=off,rdseed=off");
}

TEST(QemuCommandTest, NothingThatIsDrawnComesFromQemusOwnGenerator) {
  const auto argv = qemu_command(tcg(), "q", kFds);
  EXPECT_THAT(values_of(argv, "-object"), Contains("rng-random,id=random,filename=/dev/urandom"));
  EXPECT_THAT(values_of(argv, "-device"), Contains("virtio-rng-device,rng=random"));
  EXPECT_THAT(value_of(argv, "-cpu"), AllOf(HasSubstr("rdrand=off"), HasSubstr("rdseed=off")));
}

TEST(QemuCommandTest, UnderKvmTheGuestHasTheHostsCpuAndItsOwnMitigations) {
  const auto argv = qemu_command(kvm(), "q", kFds);
  EXPECT_EQ(value_of(argv, "-accel"), "kvm");
  EXPECT_EQ(value_of(argv, "-cpu"), "host");
  EXPECT_THAT(kernel_command_line(kvm()), AllOf(Not(HasSubstr("tsc")), Not(HasSubstr("mitigations"))));
}

TEST(QemuCommandTest, APanickingGuestEndsInsteadOfHanging) {
  EXPECT_THAT(kernel_command_line(kvm()), AllOf(HasSubstr("panic=-1"), HasSubstr("reboot=t")));
}

}  // namespace
}  // namespace boxlite::vmm
