#include "runtime/checkpoint.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/file.h"

namespace boxlite {
namespace {

class CheckpointTest : public ::testing::Test {
 protected:
  void write(const std::string& name, std::string_view text) {
    ASSERT_TRUE(write_file_volatile(directory_.path() + "/" + name, text, 0600));
  }
  TempDir directory_ = *TempDir::create("/tmp", "boxlite-checkpoint-");
};

CheckpointRecord example() {
  CheckpointRecord record;
  record.machine = {{"qemu", "1 bytes, CRC-32 00000001"},
                    {"accelerator", "tcg"},
                    {"cpus", 1},
                    {"memory_mib", 512},
                    {"nic", true},
                    {"portal", 1},
                    {"tsc_khz", 2'000'000}};
  record.memory_bytes = 4096;
  record.device_state_crc32 = 0xcbf43926;  // of "123456789"
  record.memory_crc32 = 0x12345678;
  record.stdout_offset = 7;
  record.stderr_offset = std::uint64_t{1} << 40U;
  record.boot_id = "b";
  record.box_id = "0123456789ab";
  record.created_at = "2026-11-29T00:00:00Z";
  return record;
}

TEST_F(CheckpointTest, ARecordIsReadBackAsItWasWritten) {
  EXPECT_FALSE(read_checkpoint(directory_.path())->has_value());
  write("checkpoint.json", dump_json(to_json(example())));
  const auto got = read_checkpoint(directory_.path());
  ASSERT_TRUE(got && *got);
  EXPECT_EQ(to_json(**got), to_json(example()));
}

TEST_F(CheckpointTest, TheChecksumOfAMemoryIsOfItsPagesHoweverSparseItIs) {
  std::string text(std::size_t{4} << 20U, '\0');
  text[5000] = 'x';
  text[text.size() - 1] = 'y';
  write("full", text);
  const std::string sparse = directory_.path() + "/sparse";
  const UniqueFd file(::open(sparse.c_str(), O_RDWR | O_CREAT, 0600));
  ASSERT_EQ(::ftruncate(file.get(), static_cast<off_t>(text.size())), 0);
  ASSERT_EQ(*memory_checksum(sparse), 0U) << "nothing is in it";
  for (const off_t at : {off_t{5000}, static_cast<off_t>(text.size()) - 1})
    ASSERT_EQ(::pwrite(file.get(), &text[static_cast<std::size_t>(at)], 1, at), 1);
  const std::uint32_t sum = *memory_checksum(sparse);
  EXPECT_EQ(*memory_checksum(directory_.path() + "/full"), sum);
  ASSERT_EQ(::pwrite(file.get(), "z", 1, 5001), 1);
  EXPECT_NE(*memory_checksum(sparse), sum) << "another byte";
  text[5000] = '\0';
  text[5000 + 4096] = 'x';
  write("full", text);
  EXPECT_NE(*memory_checksum(directory_.path() + "/full"), sum) << "another place";
}

TEST_F(CheckpointTest, WhatCannotBeUnderstoodIsNotThoughtMissing) {
  for (const char* text : {"", "{", "[]", "{}", R"({"version":2})", R"({"version":1,"machine":{}})"}) {
    write("checkpoint.json", text);
    EXPECT_FALSE(read_checkpoint(directory_.path())) << text;
  }
}

TEST_F(CheckpointTest, FilesThatAreNotTheRecordsAreFound) {
  write("device-state", "123456789");
  write("memory", std::string(4096, 'x'));
  EXPECT_TRUE(check_files(directory_.path(), example()));
  write("device-state", "123456780");
  EXPECT_EQ(check_files(directory_.path(), example()).error().code(), ErrorCode::kCorrupt);
  write("device-state", "123456789");
  write("memory", std::string(4095, 'x'));
  EXPECT_EQ(check_files(directory_.path(), example()).error().code(), ErrorCode::kCorrupt);
}

TEST_F(CheckpointTest, EveryPartOfTheMachineMustBeTheSameAndTheClockNearly) {
  const Json machine = example().machine;
  EXPECT_TRUE(check_machine(machine, machine));
  for (const char* key : {"qemu", "accelerator", "cpus", "memory_mib", "nic", "portal"}) {
    Json other = machine;
    other[key] = "other";
    EXPECT_EQ(check_machine(machine, other).error().code(), ErrorCode::kUnsupported) << key;
    other.erase(key);
    EXPECT_FALSE(check_machine(machine, other)) << key;
  }
  Json other = machine;
  other["cpu"] = "another";
  EXPECT_FALSE(check_machine(machine, other));
  other = machine;
  other["tsc_khz"] = 2'001'900;
  EXPECT_TRUE(check_machine(machine, other));
  other["tsc_khz"] = 2'003'000;
  EXPECT_FALSE(check_machine(machine, other));
  EXPECT_FALSE(check_machine(Json(), machine));
}

TEST_F(CheckpointTest, LayersAreThoseWithoutAGap) {
  EXPECT_TRUE(layers_in(directory_.path()).empty());
  for (const char* name : {"layer-0.qcow2", "layer-1.qcow2", "layer-3.qcow2"}) write(name, "");
  EXPECT_EQ(layers_in(directory_.path()),
            (std::vector<std::string>{directory_.path() + "/layer-0.qcow2", directory_.path() + "/layer-1.qcow2"}));
}

}  // namespace
}  // namespace boxlite
