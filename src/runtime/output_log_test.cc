#include "runtime/output_log.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/process.h"
#include "base/sys.h"

namespace boxlite {
namespace {

constexpr std::uint64_t kLarge = 64U << 20U;

class OutputLogTest : public ::testing::Test {
 protected:
  TempDir dir_ = *TempDir::create("/tmp", "boxlite-output-log-test-");
  std::string path_ = dir_.path() + "/output.log";

  OutputLogWriter writer(std::uint64_t limit = kLarge) { return *OutputLogWriter::open(path_, limit); }
  std::vector<LogRecord> read() {
    std::vector<LogRecord> records;
    const auto result = read_log(path_, std::nullopt, {}, [&](const LogRecord& record) {
      records.push_back(record);
      return true;
    });
    EXPECT_TRUE(result) << result.error().message();
    return records;
  }
  std::string read_text() {
    std::string text;
    for (const LogRecord& record : read()) text += record.data;
    return text;
  }
  std::string raw() { return *read_file(path_, kLarge); }
};

/// A child that lives until told to end.
class Child {
 public:
  Child() : child_(*ChildProcess::spawn({.program = *find_program("cat"), .argv = {"cat"}, .stdin_fd = pipe_.read_end.get()})) {
    pipe_.read_end.reset();
  }
  ~Child() {
    end();
    static_cast<void>(child_.wait());
  }
  void end() { pipe_.write_end.reset(); }
  int pidfd() const { return child_.pidfd(); }

 private:
  sys::Pipe pipe_ = *sys::pipe();
  ChildProcess child_;
};

TEST_F(OutputLogTest, LinesArePutDownInTheFormatOfTheContainerRuntimeInterface) {
  ASSERT_TRUE(writer().append(OutputStream::kStdout, "one\ntw"));
  const std::string text = raw();
  ASSERT_EQ(text.size(), 2 * 40 + 3 + 2 + 2U);
  EXPECT_EQ(text[10], 'T');
  EXPECT_EQ(text.substr(29, 15), "Z stdout F one\n");
  EXPECT_EQ(text.substr(44 + 29), "Z stdout P tw\n");
  const auto records = read();
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].data, "one\n");
  EXPECT_EQ(records[0].time, text.substr(0, 30));
  EXPECT_EQ(records[1].data, "tw");
}

TEST_F(OutputLogTest, PartsOfALineKeepTheirStreamWhenTheyAreMixed) {
  auto log = writer();
  ASSERT_TRUE(log.append(OutputStream::kStdout, "ou"));
  ASSERT_TRUE(log.append(OutputStream::kStderr, "er"));
  ASSERT_TRUE(log.append(OutputStream::kStdout, "t\n"));
  ASSERT_TRUE(log.append(OutputStream::kStderr, "r\n\n"));
  std::string out, err;
  for (const LogRecord& record : read()) (record.stream == OutputStream::kStdout ? out : err) += record.data;
  EXPECT_EQ(out, "out\n");
  EXPECT_EQ(err, "err\n\n");
}

TEST_F(OutputLogTest, AnyBytesComeBack) {
  std::string bytes;
  for (int i = 0; i < 1000; ++i) bytes += static_cast<char>(i * 7);
  bytes += "\r\n \xff\xfe stdout F \n\n";
  ASSERT_TRUE(writer().append(OutputStream::kStderr, bytes));
  EXPECT_EQ(read_text(), bytes);
}

TEST_F(OutputLogTest, ALineOfAnyLengthComesBack) {
  for (const std::size_t size : {kMaxLogText - 1, kMaxLogText, kMaxLogText + 1, 3 * kMaxLogText, std::size_t{1'000'000}}) {
    ASSERT_TRUE(remove_tree(path_));
    const std::string line = std::string(size, 'x') + "\nnext\n";
    ASSERT_TRUE(writer().append(OutputStream::kStdout, line));
    EXPECT_TRUE(read_text() == line) << size;
  }
}

TEST_F(OutputLogTest, NothingIsWrittenForNothing) {
  ASSERT_TRUE(writer().append(OutputStream::kStdout, ""));
  EXPECT_EQ(raw(), "");
  EXPECT_TRUE(read().empty());
}

TEST_F(OutputLogTest, ALogThatDoesNotExistIsEmpty) { EXPECT_TRUE(read().empty()); }

TEST_F(OutputLogTest, ARecordCutShortIsSkippedAndTheNextWriterBeginsALineOfItsOwn) {
  ASSERT_TRUE(writer().append(OutputStream::kStdout, "whole\n"));
  ASSERT_TRUE(writer().append(OutputStream::kStdout, "cut\n"));
  const std::string text = raw();
  for (std::size_t size = 46; size < text.size(); ++size) {
    ASSERT_TRUE(write_file_atomic(path_, text.substr(0, size), 0600));
    EXPECT_EQ(read_text(), "whole\n") << size;
    ASSERT_TRUE(writer().append(OutputStream::kStdout, "later\n"));
    const std::string after = read_text();
    // A record cut within its text keeps what there is of it.
    const std::string kept = size >= 46 + 40 ? std::string("cut").substr(0, size - 46 - 40) + "\n" : "";
    EXPECT_EQ(after, "whole\n" + kept + "later\n") << size;
  }
}

TEST_F(OutputLogTest, LinesThatAreNoRecordsAreSkipped) {
  const std::string good = "2026-01-02T03:04:05.123456789Z stdout F good\n";
  std::string text = good + "\n" + "noise\n" + std::string(1 << 20, 'x') + "\n" + good;
  text += "2026-01-02T03:04:05.123456789Z stdin  F bad\n";
  text += "2026-01-02T03:04:05.123456789Z stdout X bad\n";
  text += "2026-01-02T03:04:05.123456789Z stdout Fbad\n";
  text += "2026-01-02T03:04:05Z stdout F too short a time\n";
  text += good;
  ASSERT_TRUE(write_file_atomic(path_, text, 0600));
  EXPECT_EQ(read_text(), "good\ngood\ngood\n");
}

TEST_F(OutputLogTest, TheNewestRecordsAreKeptAndReadInOrder) {
  auto log = writer(10'000);
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(log.append(OutputStream::kStdout, fmt::format("line {}\n", i)));
  EXPECT_LE(sys::stat(path_)->st_size, 10'000);
  EXPECT_LE(sys::stat(path_ + ".1")->st_size, 10'000);
  const auto records = read();
  ASSERT_GT(records.size(), 200U);
  ASSERT_LT(records.size(), 500U);
  for (std::size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(records[i].data, fmt::format("line {}\n", 1000 - records.size() + i));
  }
}

TEST_F(OutputLogTest, TheOlderFileAloneIsRead) {
  ASSERT_TRUE(writer().append(OutputStream::kStdout, "older\n"));
  ASSERT_TRUE(sys::rename(path_, path_ + ".1"));
  EXPECT_EQ(read_text(), "older\n");
}

TEST_F(OutputLogTest, TheTailIsTheLastLinesOfBothStreamsAndAnUnendedOneCounts) {
  auto log = writer();
  ASSERT_TRUE(log.append(OutputStream::kStdout, "one\ntwo\n"));
  ASSERT_TRUE(log.append(OutputStream::kStderr, "three\n"));
  ASSERT_TRUE(log.append(OutputStream::kStdout, std::string(kMaxLogText + 5, 'x') + "\nhalf"));
  const auto tail = [&](std::size_t lines) {
    std::string text;
    LogOptions options;
    options.tail = lines;
    EXPECT_TRUE(read_log(path_, std::nullopt, options, [&](const LogRecord& record) {
      text += record.data;
      return true;
    }));
    return text;
  };
  const std::string long_line = std::string(kMaxLogText + 5, 'x') + "\n";
  EXPECT_EQ(tail(0), "");
  EXPECT_EQ(tail(1), "half");
  EXPECT_EQ(tail(2), long_line + "half");
  EXPECT_EQ(tail(3), "three\n" + long_line + "half");
  EXPECT_EQ(tail(100), "one\ntwo\nthree\n" + long_line + "half");
}

TEST_F(OutputLogTest, ASinkThatWantsNoMoreEndsTheReading) {
  auto log = writer(2000);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(log.append(OutputStream::kStdout, "x\n"));
  Child child;
  for (const auto follow : {std::optional<int>(), std::optional(child.pidfd())}) {
    int count = 0;
    ASSERT_TRUE(read_log(path_, follow, {}, [&](const LogRecord&) { return ++count < 3; }));
    EXPECT_EQ(count, 3);
  }
}

/// Follows in a thread; collects the text.
class Follower {
 public:
  Follower(const std::string& path, int pidfd)
      : thread_([this, path, pidfd] {
          result_ = read_log(path, pidfd, {}, [this](const LogRecord& record) {
            const std::lock_guard lock(mutex_);
            text_ += record.data;
            changed_.notify_all();
            return true;
          });
        }) {}
  std::string wait_for(std::size_t size) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(60), [&] { return text_.size() >= size; });
    return text_;
  }
  std::string join() {
    thread_.join();
    EXPECT_TRUE(result_) << result_.error().message();
    return text_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string text_;
  Result<void> result_;
  std::thread thread_;
};

TEST_F(OutputLogTest, FollowingGivesEachLineWhenItIsWrittenAndEndsWithTheProcess) {
  Child child;
  Follower follower(path_, child.pidfd());
  auto log = writer();
  std::string expected;
  for (int i = 0; i < 20; ++i) {
    const std::string line = fmt::format("line {}\n", i);
    expected += line;
    ASSERT_TRUE(log.append(OutputStream::kStdout, line));
    EXPECT_EQ(follower.wait_for(expected.size()), expected);
  }
  ASSERT_TRUE(log.append(OutputStream::kStdout, "last\n"));
  child.end();
  EXPECT_EQ(follower.join(), expected + "last\n");
}

TEST_F(OutputLogTest, FollowingAProcessThatHasEndedGivesAllAndReturns) {
  ASSERT_TRUE(writer().append(OutputStream::kStdout, "all\n"));
  Child child;
  child.end();
  ASSERT_TRUE(*wait_process_end(child.pidfd(), std::chrono::seconds(60)));
  Follower follower(path_, child.pidfd());
  EXPECT_EQ(follower.join(), "all\n");
}

TEST_F(OutputLogTest, FollowingLosesAndRepeatsNothingOverRotations) {
  Child child;
  auto log = writer(20'000);
  Follower follower(path_, child.pidfd());
  std::string expected;
  for (int i = 0; i < 3000; ++i) {
    const std::string line = fmt::format("line {}\n", i);
    expected += line;
    ASSERT_TRUE(log.append(OutputStream::kStdout, line));
    // Never more than a file ahead: what is rotated away twice before it is read is lost by design.
    if (i % 100 == 0) {
      ASSERT_EQ(follower.wait_for(expected.size()).size(), expected.size());
    }
  }
  child.end();
  EXPECT_TRUE(follower.join() == expected);
  EXPECT_TRUE(sys::stat(path_ + ".1"));
}

TEST_F(OutputLogTest, AFollowerThatFallsBehindGoesOnWithTheOldestThatIsKept) {
  Child child;
  auto log = writer(5'000);
  ASSERT_TRUE(log.append(OutputStream::kStdout, "begin\n"));
  std::mutex gate;
  std::vector<std::string> lines;
  std::unique_lock hold(gate);
  std::thread reader([&] {
    ASSERT_TRUE(read_log(path_, child.pidfd(), {}, [&](const LogRecord& record) {
      const std::lock_guard lock(gate);
      lines.push_back(record.data);
      return true;
    }));
  });
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(log.append(OutputStream::kStdout, fmt::format("{:06}\n", i)));
  child.end();
  hold.unlock();
  reader.join();
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(lines.back(), "000999\n");
  if (lines.front() == "begin\n") lines.erase(lines.begin());
  EXPECT_TRUE(std::ranges::is_sorted(lines));
  EXPECT_EQ(std::ranges::adjacent_find(lines), lines.end());
}

}  // namespace
}  // namespace boxlite
