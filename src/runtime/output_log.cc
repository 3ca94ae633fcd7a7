#include "runtime/output_log.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <span>

#include "base/sys.h"

namespace boxlite {
namespace {

constexpr std::size_t kTimeLength = 30;  // 2026-01-02T03:04:05.123456789Z
constexpr std::size_t kHeaderLength = kTimeLength + std::string_view(" stdout F ").size();
constexpr std::size_t kBatch = 64U << 10U;  // records written at once

constexpr std::string_view stream_name(OutputStream stream) { return stream == OutputStream::kStdout ? "stdout" : "stderr"; }

Result<bool> ends_within_a_record(const std::string& path) {
  TRY_ASSIGN(const UniqueFd fd, sys::open(path, O_RDONLY | O_NOFOLLOW));
  TRY_ASSIGN(const struct stat st, sys::fstat(fd.get()));
  char last = '\n';
  if (st.st_size > 0 && ::pread(fd.get(), &last, 1, st.st_size - 1) < 0) return fail_errno("read {}", path);
  return last != '\n';
}

/// The record in a line without its newline. nullopt: it is none.
std::optional<LogRecord> parse_record(std::string_view line) {
  if (line.size() < kHeaderLength || line[kTimeLength - 1] != 'Z') return std::nullopt;
  LogRecord record;
  record.time = line.substr(0, kTimeLength);
  const std::string_view middle = line.substr(kTimeLength, kHeaderLength - kTimeLength);
  if (middle.starts_with(" stdout ")) {
    record.stream = OutputStream::kStdout;
  } else if (middle.starts_with(" stderr ")) {
    record.stream = OutputStream::kStderr;
  } else {
    return std::nullopt;
  }
  const std::string_view tag = middle.substr(8);
  if (tag != "F " && tag != "P ") return std::nullopt;
  record.data = line.substr(kHeaderLength);
  if (tag == "F ") record.data += '\n';
  return record;
}

/// Cuts one file into records as it grows.
class RecordReader {
 public:
  RecordReader() = default;
  explicit RecordReader(UniqueFd fd) : fd_(std::move(fd)) {}
  /// There is a file.
  explicit operator bool() const { return static_cast<bool>(fd_); }

  /// Reads to the present end. false: `sink` wants no more.
  Result<bool> drain(const std::function<bool(const LogRecord&)>& sink) {
    std::array<std::byte, 64U << 10U> buffer;
    for (;;) {
      TRY_ASSIGN(const std::size_t count, sys::read(fd_.get(), buffer));
      if (count == 0) return true;
      std::string_view rest(reinterpret_cast<const char*>(buffer.data()), count);
      for (auto end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
        add(rest.substr(0, end));
        rest.remove_prefix(end + 1);
        const auto record = too_long_ ? std::nullopt : parse_record(line_);
        line_.clear();
        too_long_ = false;
        if (record && !sink(*record)) return false;
      }
      add(rest);
    }
  }

  bool is(const struct stat& file) const {
    const auto mine = sys::fstat(fd_.get());
    return mine && mine->st_dev == file.st_dev && mine->st_ino == file.st_ino;
  }
  bool same_file(const RecordReader& other) const {
    const auto file = sys::fstat(other.fd_.get());
    return file && is(*file);
  }

 private:
  void add(std::string_view part) {
    too_long_ = too_long_ || line_.size() + part.size() > kHeaderLength + kMaxLogText;
    if (too_long_) {
      line_.clear();
    } else {
      line_ += part;
    }
  }

  UniqueFd fd_;
  std::string line_;  // the record so far; at most kHeaderLength + kMaxLogText
  bool too_long_ = false;
};

/// An empty descriptor when there is no such file.
Result<UniqueFd> open_if_there(const std::string& path) {
  auto fd = sys::open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!fd && fd.error().code() == ErrorCode::kNotFound) return UniqueFd();
  return fd;
}

Result<std::optional<struct stat>> stat_if_there(const std::string& path) {
  auto st = sys::stat(path);
  if (st) return std::optional(*st);
  if (st.error().code() == ErrorCode::kNotFound) return std::nullopt;
  return std::unexpected(std::move(st).error());
}

/// The two files of one moment: no rotation lies between them.
struct Generation {
  RecordReader older;
  RecordReader current;
};

Result<Generation> open_generation(const std::string& path) {
  constexpr int kTries = 1000;  // one takes microseconds, a rotation megabytes of output
  for (int i = 0; i < kTries; ++i) {
    TRY_ASSIGN(UniqueFd current, open_if_there(path));
    TRY_ASSIGN(UniqueFd older, open_if_there(path + ".1"));
    Generation result{.older = RecordReader(std::move(older)), .current = RecordReader(std::move(current))};
    // The open descriptor keeps the inode number from being used again, so "still the same" means "not rotated since".
    TRY_ASSIGN(const auto now, stat_if_there(path));
    if (result.current ? now && result.current.is(*now) : !now) return result;
  }
  return fail(ErrorCode::kUnavailable, "{} is replaced faster than it can be opened", path);
}

/// Wakes when a file is changed, made or renamed in a directory.
class DirectoryWatch {
 public:
  static Result<DirectoryWatch> begin(const std::string& directory) {
    UniqueFd fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!fd) return fail_errno("inotify_init1 (see fs.inotify.max_user_instances)");
    if (::inotify_add_watch(fd.get(), directory.c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) < 0) {
      return fail_errno("watch {}", directory);
    }
    return DirectoryWatch(std::move(fd));
  }

  /// True when the process has ended; false when something happened in the directory.
  Result<bool> wait(int pidfd) {
    pollfd polled[] = {{fd_.get(), POLLIN, 0}, {pidfd, POLLIN, 0}};
    while (::poll(polled, 2, -1) < 0) {
      if (errno != EINTR) return fail_errno("poll");
    }
    if (polled[1].revents != 0) return true;
    std::array<std::byte, 4096> events;  // what they say does not matter: the files are looked at
    while (::read(fd_.get(), events.data(), events.size()) > 0) {
    }
    return false;
  }

 private:
  explicit DirectoryWatch(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

using Sink = std::function<bool(const LogRecord&)>;

/// The last lines of what is given to it. A line that has not ended counts as one.
class Tail {
 public:
  explicit Tail(std::size_t lines) : lines_(lines) {}

  void add(const LogRecord& record) {
    records_.push_back(record);
    if (ends_line(record)) ++whole_;
    while (!records_.empty() && whole_ + open_lines() > lines_) {
      whole_ -= ends_line(records_.front()) ? 1 : 0;
      records_.pop_front();
    }
  }

  bool give(const Sink& sink) const { return std::ranges::all_of(records_, sink); }

 private:
  static bool ends_line(const LogRecord& record) { return record.data.ends_with('\n'); }
  std::size_t open_lines() const { return records_.empty() || ends_line(records_.back()) ? 0 : 1; }

  std::size_t lines_;
  std::size_t whole_ = 0;
  std::deque<LogRecord> records_;  // the log is bounded, and so is this
};

/// A reader that keeps its place over rotations.
class LogReader {
 public:
  explicit LogReader(std::string path) : path_(std::move(path)) {}

  /// All that is there now and was not read before. false: the sink wants no more.
  Result<bool> drain(const Sink& sink) {
    // Opened before the file we are in is read: if that has been replaced by now, it grows no more and is read to its very end.
    TRY_ASSIGN(Generation now, open_generation(path_));
    bool in_older = false;
    if (place_) {
      TRY_ASSIGN(const bool more, place_.drain(sink));
      if (!more) return false;
      if (now.current && place_.same_file(now.current)) return true;
      in_older = now.older && place_.same_file(now.older);
    }
    if (now.older && !in_older) {
      TRY_ASSIGN(const bool more, go_to(std::move(now.older), sink));
      if (!more) return false;
    }
    return now.current ? go_to(std::move(now.current), sink) : true;
  }

 private:
  Result<bool> go_to(RecordReader next, const Sink& sink) {
    place_ = std::move(next);
    return place_.drain(sink);
  }

  std::string path_;
  RecordReader place_;
};

}  // namespace

Result<OutputLogWriter> OutputLogWriter::open(const std::string& path, std::uint64_t limit) {
  TRY_ASSIGN(BoundedLog log, BoundedLog::open(path, limit));
  TRY_ASSIGN(const bool torn, ends_within_a_record(path));
  return OutputLogWriter(std::move(log), torn);
}

Result<void> OutputLogWriter::append(OutputStream stream, std::string_view data) {
  const std::string prefix = fmt::format("{} {} ", sys::utc_now(), stream_name(stream));
  std::string batch;
  while (!data.empty()) {
    const std::string_view head = data.substr(0, kMaxLogText + 1);
    const auto newline = head.find('\n');
    const bool whole = newline != std::string_view::npos;
    const std::string_view text = whole ? head.substr(0, newline) : head.substr(0, kMaxLogText);
    batch += prefix;
    batch += whole ? "F " : "P ";
    batch += text;
    batch += '\n';
    data.remove_prefix(text.size() + (whole ? 1 : 0));
    if (batch.size() >= kBatch || data.empty()) {
      TRY(write(batch));
      batch.clear();
    }
  }
  return {};
}

Result<void> OutputLogWriter::write(std::string_view records) {
  if (torn_) TRY(log_.append("\n"));
  torn_ = true;
  TRY(log_.append(records));
  torn_ = false;
  return {};
}

Result<void> read_log(const std::string& path, std::optional<int> follow, const LogOptions& options, const Sink& sink) {
  // Times of one width and zone: the order of the texts is the order of the times.
  const auto wanted = [&](const LogRecord& record) {
    return (options.since.empty() || record.time >= options.since) && (options.until.empty() || record.time <= options.until);
  };
  const Sink wanted_only = [&](const LogRecord& record) { return !wanted(record) || sink(record); };
  LogReader reader(path);
  std::optional<DirectoryWatch> watch;
  if (follow) {
    const auto slash = path.rfind('/');
    // Watched before the first read, so that nothing written after it goes unseen.
    TRY_ASSIGN(watch, DirectoryWatch::begin(slash == std::string::npos ? "." : path.substr(0, slash + 1)));
  }
  if (options.tail) {
    Tail tail(*options.tail);
    TRY(reader.drain([&](const LogRecord& record) {
      if (wanted(record)) tail.add(record);
      return true;
    }));
    if (!tail.give(sink)) return {};
  }
  for (bool ended = !follow;;) {
    TRY_ASSIGN(const bool more, reader.drain(wanted_only));
    if (!more || ended) return {};
    TRY_ASSIGN(ended, watch->wait(*follow));
  }
}

}  // namespace boxlite
