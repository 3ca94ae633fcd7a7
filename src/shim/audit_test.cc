#include "shim/audit.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/file.h"

namespace boxlite::shim {
namespace {

constexpr const char* kAuditedBox = "0123456789ab";
constexpr std::uint64_t kLimit = 1024 * 1024;

class AuditTest : public ::testing::Test {
 protected:
  AuditTest() : home_(*TempDir::create("/tmp", "audit-")), paths_(home_.path()) {
    std::filesystem::create_directories(paths_.box(kAuditedBox));
  }

  std::vector<Json> lines(const std::string& suffix = "") const {
    std::vector<Json> read;
    std::ifstream file(paths_.audit_log(kAuditedBox) + suffix);
    for (std::string line; std::getline(file, line);) read.push_back(*parse_json(line, "line"));
    return read;
  }

  TempDir home_;
  HomePaths paths_;
  Audit audit_{paths_, kAuditedBox, 7};
};

proto::Call exec_call(const std::vector<std::string>& words) {
  proto::Call call;
  for (const std::string& word : words) call.mutable_exec()->mutable_process()->add_args(word);
  return call;
}

TEST_F(AuditTest, AGuestThatIsDeniedWithoutEndDoesNotPushOutTheOthers) {
  audit_.called(exec_call({"first"}), {1, 2});
  for (int i = 0; i < 20'000; ++i) audit_.denied(fmt::format("tcp to 192.0.2.1:{}", i));
  audit_.called(exec_call({"last"}), {1, 2});
  const std::vector<Json> all = lines();
  ASSERT_EQ(all.size(), static_cast<std::size_t>(Audit::kMaxDenials) + 2);
  EXPECT_EQ(all.front()["command"], Json({"first"}));
  EXPECT_EQ(all[1]["connection"], "tcp to 192.0.2.1:0");
  EXPECT_FALSE(all[1].contains("last"));
  EXPECT_EQ(all[Audit::kMaxDenials]["last"], true);
  EXPECT_EQ(all.back()["command"], Json({"last"}));
}

TEST_F(AuditTest, TheLogIsBoundedAndTheNewestLinesAreThere) {
  const std::vector<std::string> words(100, std::string(100, 'x'));
  int execs = 0;
  for (; execs < 1000; ++execs) audit_.called(exec_call(words), {execs, 0});
  EXPECT_LE(std::filesystem::file_size(paths_.audit_log(kAuditedBox)), kLimit);
  EXPECT_LE(std::filesystem::file_size(paths_.audit_log(kAuditedBox) + ".1"), kLimit);
  EXPECT_EQ(lines().back()["pid"], execs - 1);
  EXPECT_EQ(lines(".1").back()["pid"].get<int>() + 1, lines().front()["pid"].get<int>()) << "none is lost in between";
}

TEST_F(AuditTest, WordsAreCutAtABoundAndWhatIsNotTextIsReplaced) {
  audit_.called(exec_call({"sh", std::string(10'000, 'y'), "unseen"}), {1, 2});
  audit_.called(exec_call({"\xff\n\x1b[2J"}), {1, 2});
  audit_.denied("tcp to \x1b[2J\n{\"event\":\"stop\"}" + std::string(1000, 'z'));
  const std::vector<Json> all = lines();
  ASSERT_EQ(all.size(), 3U) << "no line is forged";
  ASSERT_EQ(all[0]["command"].size(), 2U);
  EXPECT_LT(all[0]["command"][1].get<std::string>().size(), 4096U);
  EXPECT_EQ(all[1]["command"][0], "\uFFFD\n\x1b[2J");
  EXPECT_LE(all[2]["connection"].get<std::string>().size(), 200U);
}

TEST_F(AuditTest, CallsThatDoNotLeadIntoTheBoxAreNotTold) {
  proto::Call call;
  call.mutable_get_usage();
  audit_.called(call, {1, 2});
  call.mutable_tunnel()->set_port(80);
  audit_.called(call, {3, 4});
  ASSERT_EQ(lines().size(), 1U);
  const Json line = lines().front();
  EXPECT_EQ(line["event"], "tunnel");
  EXPECT_EQ(line["port"], 80);
  EXPECT_EQ(line["pid"], 3);
  EXPECT_EQ(line["uid"], 4);
  EXPECT_EQ(line["generation"], 7);
}

TEST_F(AuditTest, WhereThereIsNoSpaceTheBoxGoesOn) {
  std::filesystem::remove_all(paths_.box(kAuditedBox));
  audit_.denied("tcp to 192.0.2.1:80");  // as on a full disk, there is nowhere to write to
  EXPECT_FALSE(std::filesystem::exists(paths_.audit_log(kAuditedBox)));
}

}  // namespace
}  // namespace boxlite::shim
