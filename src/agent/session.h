// One command in the container: its input, its output, its end.
//
// Theory of operation.
//
//  - Output goes from the command's pipes (or its terminal) into a ring per stream, and from there to any number of *views*.
//  While
//    a view is attached the ring is read no faster than its slowest view: when it is full the pipe is not read, and the command
//    blocks in write(2). With no view the oldest output is overwritten, so a command nobody watches never blocks.
//  - Input is queued as it comes and written as the command takes it. input_taken() is what gives the host its window back.
//  - The end: when the command has exited, what is in the pipes at that moment is still read, then the session is finished.
//    Children it left behind may hold the pipes open for ever; they do not hold the session.
//  - A terminal's slave is kept open here until the command has ended: a command may close and reopen its terminal, and the
//    master reports a hang-up whenever nobody has it open.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "agent/event_loop.h"
#include "agent/options.h"
#include "agent/output_ring.h"
#include "base/process.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite::agent {

inline constexpr int kStreams = 2;  // 0: stdout, or everything of a terminal; 1: stderr

/// Somebody who reads a session: the next offset it wants of each stream.
struct Reader {
  std::array<std::uint64_t, kStreams> offset = {};
};

/// The descriptors of a command. The agent's ends are non-blocking.
struct SessionIo {
  bool tty = false;
  UniqueFd input;                         // pipe, or the terminal's master; none when stdin is /dev/null
  std::array<UniqueFd, kStreams> output;  // pipes; with a terminal [0] is its master and [1] none
  UniqueFd slave;                         // the terminal's slave
  std::array<UniqueFd, 3> child;          // what becomes 0, 1, 2 in the command; closed once it runs

  static Result<SessionIo> pipes(bool open_stdin);
  /// `pty_directory`: the container's own devpts, so that ttyname() finds the terminal there.
  static Result<SessionIo> terminal(int pty_directory, const Command& command);
};

class Session {
 public:
  struct Handler {
    std::function<void(Session&)> on_progress = {};     // output came, or the session is finished
    std::function<void(Session&)> on_input_taken = {};  // input_queued() is 0
  };
  Session(EventLoop& loop, std::string id, SessionIo io, Handler handler);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session();

  /// Begins to read; the child's ends are closed. Call when the command has been started.
  Result<void> started(pid_t pid, UniqueFd pidfd);

  const std::string& id() const { return id_; }
  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  /// 0 while it is not known.
  pid_t pid_in_container() const { return pid_in_container_; }
  void set_pid_in_container(pid_t pid) { pid_in_container_ = pid; }
  const std::array<UniqueFd, 3>& child_ends() const { return io_.child; }
  bool tty() const { return io_.tty; }

  // ---- Output
  const OutputRing& output(int stream) const { return rings_[static_cast<std::size_t>(stream)]; }
  void attach(const Reader* reader) { readers_.insert(reader); }
  void detach(const Reader* reader);
  /// A reader's offsets have grown: there may be room to read on.
  void advanced();
  /// Once its last view is gone: abandon().
  void end_with_views() { ends_with_views_ = true; }
  bool ends_with_views() const { return ends_with_views_; }
  /// Its command finds its input at an end and its output closed.
  void abandon();
  bool watched() const { return !readers_.empty(); }
  void drop_output();

  // ---- Input
  /// It was started with a stdin of its own, whatever has become of it.
  bool has_stdin() const { return has_stdin_; }
  bool takes_input() const { return static_cast<bool>(io_.input) && !input_ended_; }
  void write_input(std::string data);
  void end_input();
  std::size_t input_queued() const { return input_size_; }
  Result<void> resize(WindowSize size);

  // ---- End
  struct Exit {
    ExitStatus status = {};
    bool oom_killed = false;
    bool timed_out = false;
  };
  /// The command has exited.
  void ended(Exit exit);
  bool has_exited() const { return exit_.has_value(); }
  const Exit& exit() const { return *exit_; }
  /// It has exited and all its output is in the rings.
  bool finished() const { return exit_ && !io_.output[0] && !io_.output[1]; }

 private:
  std::size_t room(std::size_t stream) const;
  void read_output(std::size_t stream);
  void close_output(std::size_t stream);
  void drain_output();
  void write_queued();
  void close_input();

  EventLoop& loop_;
  std::string id_;
  SessionIo io_;
  Handler handler_;
  pid_t pid_ = 0;
  pid_t pid_in_container_ = 0;
  UniqueFd pidfd_;

  std::array<OutputRing, kStreams> rings_;
  std::set<const Reader*> readers_;
  bool ends_with_views_ = false;

  bool has_stdin_;
  std::deque<std::string> input_;
  std::size_t input_begin_ = 0;  // bytes of input_.front() already written
  std::size_t input_size_ = 0;
  char last_input_ = '\n';
  bool input_ended_ = false;

  std::optional<Exit> exit_;
  std::array<std::size_t, kStreams> left_to_drain_ = {};
};

}  // namespace boxlite::agent
