#include "runtime/records.h"

#include <gtest/gtest.h>

namespace boxlite {
namespace {

ShimConfig example() {
  ShimConfig config;
  config.home = "/home/u\xFFser/.boxlite";
  config.box_id = "0123456789ab";
  config.generation = 7;
  config.attach = true;
  config.box.options.hostname = "web";
  config.box.args = {"sh", "-c", "printf '\xC3\xBC\xFF\n'"};
  config.env = {"SECRET=a\"b\\c\nd", std::string("BYTES=\x80\xFE\xFF")};
  config.box.working_dir = "/srv";
  config.box.user = "1000:1000";
  config.box.stop_signal = "SIGRTMIN+3";
  config.box.options.tty = true;
  config.rows = 24;
  config.columns = 80;
  config.box.options.disk_bytes = 10 * kGiB;
  config.vm.accelerator = vmm::Accelerator::kKvm;
  config.vm.cpus = 2;
  config.vm.memory_mib = 2048;
  config.vm.kernel = "/k";
  config.vm.initramfs = "/i";
  config.vm.base_image = "/b";
  config.vm.overlay = "/o";
  config.vm.tsc_khz = 2596000;
  config.vm.uid = 4242;
  config.programs = {.qemu = "/usr/bin/qemu-system-x86_64", .bwrap = "/usr/bin/bwrap", .vm_init = "/x/boxlite-vm-init"};
  return config;
}

// The way a record really goes: as text.
Json through_text(const Json& json) { return *parse_json(dump_json(json), "test"); }

TEST(RecordsTest, AShimConfigurationArrivesByteForByte) {
  const ShimConfig sent = example();
  const auto got = shim_config_from_json(through_text(to_json(sent)));
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(got->home, sent.home);
  EXPECT_EQ(got->box.args, sent.box.args);
  EXPECT_EQ(got->env, sent.env);
  EXPECT_EQ(got->vm.uid, sent.vm.uid);
  EXPECT_EQ(got->vm.accelerator, vmm::Accelerator::kKvm);
  // Whatever is not named above, and everything again: the second encoding must equal the first.
  EXPECT_EQ(to_json(*got), to_json(sent));
}

TEST(RecordsTest, WhatAVmIsRestoredFromIsPartOfItsConfiguration) {
  ShimConfig sent = example();
  sent.vm.memory_file = vmm::MemoryFile{.path = "/m\xff", .shared = false};
  sent.vm.device_state = "/s";
  sent.vm.stand_still = true;
  sent.vm.layers = {"/l\xff", "/m"};
  sent.resume = ResumeRecord{.stdout_offset = 1, .stderr_offset = std::uint64_t{1} << 40U, .another_box = true};
  const auto got = shim_config_from_json(through_text(to_json(sent)));
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(got->vm.memory_file->path, "/m\xff");
  EXPECT_EQ(to_json(*got), to_json(sent));
}

TEST(RecordsTest, TheJobOfATemplateArrivesByteForByte) {
  TemplateJob sent;
  sent.vm = example().vm;
  sent.vm.memory_file = vmm::MemoryFile{.path = "/m", .shared = true};
  sent.programs = example().programs;
  sent.nic = true;
  sent.device_state = "/s\xff";
  sent.console_log = "/c";
  sent.prepared = true;
  sent.privileged = true;
  sent.commands = {"sh", "/bin/\xff"};
  sent.disk_bytes = 10 * kGiB;
  const auto got = template_job_from_json(through_text(to_json(sent)));
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(got->commands, sent.commands);
  EXPECT_EQ(to_json(*got), to_json(sent));
}

TEST(RecordsTest, AConfigurationIsOneLine) { EXPECT_EQ(dump_json(to_json(example())).find('\n'), std::string::npos); }

TEST(RecordsTest, LeaseStateAndExitRecordsAreReadBackAsWritten) {
  const LeaseRecord lease{.pid = 42, .start_time = 1234567, .boot_id = "b", .pid_namespace = 4026531836, .generation = 3};
  const auto lease_back = lease_record_from_json(through_text(to_json(lease)));
  ASSERT_TRUE(lease_back) << lease_back.error().message();
  EXPECT_EQ(to_json(*lease_back), to_json(lease));

  for (const Phase phase : {Phase::kStarting, Phase::kRunning, Phase::kStopping}) {
    const StateRecord state{.generation = 3,
                            .phase = phase,
                            .started_at = "t",
                            .accelerator = "tcg",
                            .ports = {{.host_ip = "127.0.0.1", .host_port = 8080, .box_port = 80, .protocol = "tcp"}},
                            .cgroup_place = "/sys/fs/cgroup"};
    const auto state_back = state_record_from_json(through_text(to_json(state)));
    ASSERT_TRUE(state_back) << state_back.error().message();
    EXPECT_EQ(state_back->phase, phase);
    EXPECT_EQ(to_json(*state_back), to_json(state));
  }

  const ExitRecord exit{.generation = 3,
                        .failed = true,
                        .code = 137,
                        .signal = 9,
                        .oom_killed = true,
                        .reason = "r",
                        .finished_at = "t",
                        .suspended = true};
  const auto exit_back = exit_record_from_json(through_text(to_json(exit)));
  ASSERT_TRUE(exit_back) << exit_back.error().message();
  EXPECT_EQ(to_json(*exit_back), to_json(exit));
}

TEST(RecordsTest, ARecordOfANewerVersionIsRefused) {
  Json json = to_json(StateRecord{});
  json["version"] = kRecordVersion + 1;
  const auto state = state_record_from_json(json);
  ASSERT_FALSE(state);
  EXPECT_EQ(state.error().code(), ErrorCode::kUnsupported);
}

TEST(RecordsTest, MissingAndMistypedFieldsAreNamed) {
  const Json whole = to_json(example());
  for (const auto& [key, value] : whole.items()) {
    Json json = whole;
    json.erase(key);
    const auto config = shim_config_from_json(json);
    ASSERT_FALSE(config) << key;
    EXPECT_NE(config.error().message().find('"' + key + '"'), std::string::npos) << config.error().message();
  }
  Json negative = to_json(LeaseRecord{.pid = 1, .start_time = 1, .boot_id = "", .pid_namespace = 1, .generation = 1});
  negative["pid"] = -1;
  EXPECT_FALSE(lease_record_from_json(negative));
  Json wide = to_json(example());
  wide["box"]["args"] = {"\u0416"};
  EXPECT_FALSE(shim_config_from_json(wide));
}

}  // namespace
}  // namespace boxlite
