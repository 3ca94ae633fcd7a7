// A checkpoint that is taken of the running box, together with the process that asks for it (runtime/capture.h). That one reads
// the VM's memory, which this confined process cannot; here the machine is brought to rest for it, the state of its devices is
// saved, its disk is copied by QEMU, and the machine goes on: whatever becomes of the other process.
//
//   with memory:   processes frozen ▶ VM stopped ▶ devices saved ▶ copy of the disk begun ▶ told ▶ memory is read ─┬▶ goes on
//   disk alone:    file system frozen ▶ copy of the disk begun ▶ goes on ▶ copied ▶ told                           └▶ ends
//
// The connection (runtime/control.h, "checkpoint 1") says all of it. Files are the client's, in the box's directory:
//   device-state.new   empty; written here
//   layer.new          an empty qcow2 of the disk's size; the disk's own data is copied into it as it is at that moment, or all
//   data,
//                      also that of the frozen disks below it
//   memory.new, checkpoint.json.new   written by the client; when the box ends they all become the box's checkpoint, here
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/json.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "shim/agent_link.h"
#include "shim/event_loop.h"
#include "shim/qmp_channel.h"

namespace boxlite::shim {

class Capture final : public std::enable_shared_from_this<Capture> {
 public:
  struct Box {
    AgentLink& link;
    QmpChannel& qmp;
    std::string directory;
    std::uint64_t memory_mib = 0;
    std::string disk_below;  // QEMU's node that the box's own disk lies on
    /// Where the main command's output has been read to: stdout, stderr.
    std::function<std::array<std::uint64_t, 2>()> output_read;
    /// Why no checkpoint with memory can be taken of it; "": it can.
    std::string no_memory_reason;
  };
  struct Events {
    /// The checkpoint is the box's: its VM is to end, and must not go on.
    std::function<void()> on_suspended;
    /// The VM has stood still, and runs again.
    std::function<void()> on_running_again;
    /// It is over, and the box as it was, or ends. Once, the last.
    std::function<void()> on_over;
  };

  Capture(EventLoop& loop, Box box, UniqueFd client, Events events);

  /// Of a box that no checkpoint can be taken of now.
  static void refuse(int client, const Error& why);

  /// `early` is what the client sent along with its first line.
  void begin(std::string early);

  /// The box goes on, unless it is to end already; the client is told why.
  void give_up(const Error& reason);
  /// There is nothing to wait for any more.
  void vm_ended();

 private:
  enum class Step { kAsked, kFreezing, kStopping, kTold, kGoingOn, kOver };

  void read_client();
  void on_line(const std::string& line);
  Result<void> accept(const Json& request);
  void freeze();
  void frozen();
  void save_devices();
  void ask_address();
  void copy_disk();
  void tell();
  void go_on();
  void on_copied(const Result<void>& copied);
  void finish_if_copied();
  Result<void> commit();
  void undo();
  void send(const Json& message);
  void over();

  Box box_;
  UniqueFd client_;
  std::optional<Watch> watch_;
  Timer deadline_;
  Events events_;
  std::string input_;
  bool with_memory_ = false;
  bool write_out_ = false;
  UniqueFd device_state_;
  UniqueFd layer_;
  bool whole_disk_ = false;
  Step step_ = Step::kAsked;
  bool frozen_ = false;
  bool stopped_ = false;
  bool copying_ = false;
  std::optional<Error> failure_;  // to be told once the copy has ended
  std::string address_;           // of the guest's memory in QEMU's
};

}  // namespace boxlite::shim
