// In the place of boxlite-agent: a guest that has been taken over. It does to the host what its mode says, most modes after they
// have let the box start as an honest agent would, without a container behind it.
//
// The mode is the end of its own file, behind "\nMODE\n" (test_hostile_guest.py makes an initramfs for each).
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "agent.pb.h"
#include "base/file.h"
#include "base/sys.h"
#include "files/tar_header.h"
#include "portal/byte_order.h"
#include "portal/epoch.h"
#include "portal/message_codec.h"
#include "portal/mux.h"

namespace boxlite {
namespace {

using portal::Mux;
using portal::StreamId;

constexpr std::size_t kBlock = std::size_t{64} * 1024;
constexpr std::uint8_t kData = 0;
constexpr std::uint8_t kWindowUpdate = 1;
constexpr std::uint8_t kPing = 2;
constexpr std::uint16_t kSyn = 1;
constexpr StreamId kForgotten = 1;  // of Configure, the first call
constexpr const char* kEscapes =
    "\x1b[2J\x1b]0;title\a\x9b"
    "2J\r\nboxlite: ";

[[noreturn]] void power_off() {
  ::reboot(RB_AUTOBOOT);
  for (;;) ::pause();
}

[[noreturn]] void sleep_for_ever() {
  for (;;) ::pause();
}

UniqueFd open_or_end(const std::string& path, int flags) {
  auto fd = sys::open(path, flags);
  if (!fd) power_off();
  return std::move(*fd);
}

void say(const std::string& line) {
  static const UniqueFd console = open_or_end("/dev/console", O_WRONLY | O_NOCTTY);
  (void)sys::write_all(console.get(), line);
}

std::string frame(std::uint8_t type, std::uint16_t flags, StreamId id, std::uint32_t length, std::string_view payload = {}) {
  std::array<std::byte, 12> header = {};
  header[1] = std::byte{type};
  portal::put_be(&header[2], flags);
  portal::put_be(&header[4], id);
  portal::put_be(&header[8], length);
  return std::string(reinterpret_cast<const char*>(header.data()), header.size()).append(payload);
}

std::string text_of(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

// A port of the VM, and on it an agent that answers its host until it is told something else.
class Guest {
 public:
  explicit Guest(const std::string& port) : port_(open_port(port)) {}

  void write_raw(std::string_view bytes) { (void)sys::write_all(port_.get(), bytes); }
  [[noreturn]] void repeat(const std::string& bytes) {
    for (;;) write_raw(bytes);
  }

  void answer_epoch(std::uint32_t version = portal::kProtocolVersion) {
    portal::EpochScanner scanner(portal::Sender::kHost, std::nullopt);
    for (;;) {
      const std::string data = read_port();
      const auto found = scanner.feed(std::as_bytes(std::span(data)));
      if (!found) continue;
      epoch_ = found->header;
      epoch_.sender = portal::Sender::kAgent;
      epoch_.version = version;
      return write_raw(header());
    }
  }
  std::string header() const { return text_of(portal::encode(epoch_)); }

  /// Lets the host call until its box runs.
  void start() {
    answer_epoch();
    while (!started_) answer_next([this](StreamId id, const proto::Call& call) { answer(id, call); });
  }

  void answer_next(const std::function<void(StreamId, const proto::Call&)>& how) {
    while (calls_.empty()) pump();
    const auto [id, call] = std::move(calls_.front());
    calls_.pop_front();
    how(id, call);
  }

  /// As an honest agent of an empty container.
  void answer(StreamId id, const proto::Call& call) {
    proto::Reply reply;
    if (call.has_attach()) {
      main_ = id;
      reply.mutable_started()->set_session_id("main");
      return send_message(id, reply);
    }
    if (call.has_start_main()) {
      started_ = true;
      reply.mutable_started()->set_session_id("main");
    } else {
      reply.mutable_ok();
    }
    send_message(id, reply);
    if (call.has_shutdown()) power_off();
    finish(id);
  }

  void send_message(StreamId id, const google::protobuf::MessageLite& message) {
    if (const auto bytes = portal::encode_message(message)) send(id, *bytes);
  }
  void send_chunk(StreamId id, std::uint64_t offset, std::string_view data) {
    proto::SessionOutput output;
    output.mutable_chunk()->set_offset(offset);
    output.mutable_chunk()->set_data(data.data(), data.size());
    send_message(id, output);
  }
  void send_exit(StreamId id, int code, int signal) {
    proto::SessionOutput output;
    output.mutable_exited()->set_code(code);
    output.mutable_exited()->set_signal(signal);
    send_message(id, output);
  }
  void finish(StreamId id) {
    mux_.finish(id);
    flush();
  }

  /// As fast as the host takes it, until the host gives the stream up.
  void flood(StreamId id, std::string_view data) {
    for (std::uint64_t offset = 0; mux_.alive(id); offset += data.size()) send_chunk(id, offset, data);
  }

  StreamId main() const { return main_; }

 private:
  static UniqueFd open_port(const std::string& name) {
    for (;; ::usleep(1000)) {
      for (int number = 0; number < 8; ++number) {
        const std::string device = fmt::format("vport0p{}", number);
        const auto text = read_file(fmt::format("/sys/class/virtio-ports/{}/name", device), 256);
        if (text && *text == name + "\n") return open_or_end("/dev/" + device, O_RDWR);
      }
    }
  }

  std::string read_port() {
    std::string data(kBlock, '\0');
    for (;;) {
      const ssize_t count = ::read(port_.get(), data.data(), data.size());
      if (count > 0) return data.substr(0, static_cast<std::size_t>(count));
      ::usleep(1000);
    }
  }

  void send(StreamId id, std::string_view data) {
    while (!data.empty() && mux_.alive(id)) {
      data.remove_prefix(mux_.send(id, std::as_bytes(std::span(data))));
      flush();
      if (!data.empty()) pump();
    }
  }
  void flush() {
    while (!mux_.output().empty()) {
      const std::size_t count = mux_.output().size();
      write_raw(text_of(mux_.output()));
      mux_.drop_output(count);
    }
  }
  void pump() {
    const std::string data = read_port();
    if (!mux_.feed(std::as_bytes(std::span(data)))) sleep_for_ever();
    flush();
  }
  void take(StreamId id, std::span<const std::byte> data) {
    mux_.consume(id, data.size());
    if (called_.contains(id)) return;  // input of a session
    readers_[id].feed(data);
    proto::Call call;
    if (const auto whole = readers_[id].next(call); whole && *whole) {
      calls_.emplace_back(id, std::move(call));
      called_.emplace(id, true);
    }
  }

  UniqueFd port_;
  portal::EpochHeader epoch_;
  std::map<StreamId, portal::MessageReader> readers_;
  std::map<StreamId, bool> called_;
  std::deque<std::pair<StreamId, proto::Call>> calls_;
  StreamId main_ = 0;
  bool started_ = false;
  Mux mux_{Mux::Role::kAgent, {.on_data = [this](StreamId id, std::span<const std::byte> data) { take(id, data); }}};
};

std::string noise(std::size_t size) {
  std::string bytes(size, '\0');
  std::mt19937_64 random(4);
  for (std::size_t at = 0; at + 8 <= size; at += 8) {
    const std::uint64_t word = random();
    bytes.replace(at, 8, reinterpret_cast<const char*>(&word), 8);
  }
  return bytes;
}

proto::Reply many_processes() {
  proto::Reply reply;
  for (int i = 0; i < 540'000; ++i) reply.mutable_processes()->add_processes();  // two bytes each, and far more to who reads them
  return reply;
}

// What an archive from the box tries: `name` is what the host asked for.
std::string archive(const std::string& name) {
  using files::EntryType;
  const auto entry = [](std::string path, EntryType type, std::string link = "") {
    files::TarEntry header = {.path = std::move(path), .type = type, .link = std::move(link), .mode = 0755};
    if (type != EntryType::kFile) return files::encode_tar_header(header);
    header.size = 3;
    return files::encode_tar_header(header) + "bad" + std::string(files::tar_padding(3), '\0');
  };
  std::string out = entry(name, EntryType::kDirectory);
  if (name == "dots") out += entry(name + "/../../escaped", EntryType::kFile);
  if (name == "absolute") out += entry("/tmp/boxlite-escaped", EntryType::kFile);
  if (name == "link") out += entry(name + "/out", EntryType::kSymlink, "../..") + entry(name + "/out/escaped", EntryType::kFile);
  if (name == "hard") out += entry(name + "/out", EntryType::kHardLink, "../../secret");
  if (name == "other") out = entry("escaped", EntryType::kFile);
  return out + std::string(files::kTarEnd, '\0');
}

void lie_to_exec(Guest& guest, StreamId id, const std::string& how) {
  proto::Reply reply;
  proto::Started& started = *reply.mutable_started();
  started.set_session_id(how == "session" ? "../main\x1b[2J" : "exec");
  if (how == "failure") {
    reply.mutable_failure()->set_code("not_found");
    reply.mutable_failure()->set_message(kEscapes);
  }
  if (how == "processes") reply = many_processes();
  guest.send_message(id, reply);
  if (how == "flood") guest.flood(id, std::string(32 * 1024, 'x'));
  if (how == "code") guest.send_exit(id, -1, 0);
  if (how == "signal") guest.send_exit(id, 128 + 99, 99);
  if (how == "offset") guest.send_chunk(id, UINT64_MAX, "x");
  if (how == "chunk") guest.send_chunk(id, 0, std::string(portal::kMaxChunk + 1, 'x'));
  if (how == "nothing") guest.send_message(id, proto::SessionOutput());
  guest.finish(id);
}

void lie(Guest& guest, StreamId id, const proto::Call& call) {
  proto::Reply reply;
  if (call.has_exec()) return lie_to_exec(guest, id, call.exec().process().args(0));
  if (call.has_copy_out()) {
    const std::string& path = call.copy_out().path();
    reply.mutable_started()->set_session_id("copy");
    guest.send_message(id, reply);
    guest.send_chunk(id, 0, archive(path.substr(path.rfind('/') + 1)));
    guest.send_exit(id, 0, 0);
    return guest.finish(id);
  }
  if (call.has_list_processes()) {
    proto::ProcessInfo& process = *reply.mutable_processes()->add_processes();
    process.set_pid(INT32_MIN);
    process.set_parent(INT32_MAX);
    process.set_user(kEscapes);
    process.set_terminal(kEscapes);
    process.set_command(kEscapes + std::string(100'000, 'x'));
    process.set_started_ns(1);
    process.set_cpu_ns(UINT64_MAX);
  } else if (call.has_get_usage()) {
    proto::Usage& usage = *reply.mutable_usage();
    usage.set_time_ns(1);
    for (auto set : {&proto::Usage::set_cpu_ns, &proto::Usage::set_memory_bytes, &proto::Usage::set_processes,
                     &proto::Usage::set_block_read_bytes, &proto::Usage::set_block_write_bytes})
      (usage.*set)(UINT64_MAX);
  } else {
    return guest.answer(id, call);
  }
  guest.send_message(id, reply);
  guest.finish(id);
}

// The disk's first bytes are what a qcow2 file begins with whose backing file is the host's.
void spoil_disk() {
  const UniqueFd disk = open_or_end("/dev/vda", O_RDWR);
  std::uint64_t size = 0;
  ::ioctl(disk.get(), BLKGETSIZE64, &size);
  std::string header = noise(kBlock);
  header.replace(0, 32, std::string("QFI\xfb\0\0\0\x03\0\0\0\0\0\0\0\x50\0\0\0\x0b\0\0\0\x10\0\0\0\x02\x80\0\0\0", 32));
  header.replace(0x50, 11, "/etc/shadow");
  (void)!::pwrite(disk.get(), header.data(), header.size(), 0);
  const std::string block = noise(1 << 20);
  for (int i = 1; i < 32; ++i) (void)!::pwrite(disk.get(), block.data(), block.size(), off_t{i} << 20);
  for (std::uint64_t at = 64 << 20; at < size; at += 64 << 20)
    (void)!::pwrite(disk.get(), block.data(), kBlock, static_cast<off_t>(at));
  ::fsync(disk.get());
}

const std::map<std::string, void (*)(Guest&)> kModes = {
    // Before the host is answered.
    {"silent", [](Guest&) { sleep_for_ever(); }},
    {"noise", [](Guest& guest) { guest.repeat("BOXLITE\x01" + noise(kBlock) + "BOXLITE\x01"); }},
    {"other-version",
     [](Guest& guest) {
       guest.answer_epoch(2);
       sleep_for_ever();
     }},
    {"many-processes",
     [](Guest& guest) {
       guest.answer_epoch();
       guest.answer_next([&guest](StreamId id, const proto::Call&) { guest.send_message(id, many_processes()); });
       sleep_for_ever();
     }},
    // Breaches: each ends the box.
    {"long-frame", [](Guest& guest) { guest.write_raw(frame(kData, 0, guest.main(), 0xffffffff)); }},
    {"long-message", [](Guest& guest) { guest.write_raw(frame(kData, 0, guest.main(), 4, "\xff\xff\xff\xff")); }},
    {"never-opened", [](Guest& guest) { guest.write_raw(frame(kData, 0, 9999, 1, "x")); }},
    {"own-stream", [](Guest& guest) { guest.write_raw(frame(kWindowUpdate, kSyn, 2, 0)); }},
    {"second-epoch",
     [](Guest& guest) {
       guest.write_raw(frame(kData, 0, kForgotten, 100) + guest.header() + std::string(60, '\0'));
       guest.write_raw(guest.header());
     }},
    {"cut-frame",
     [](Guest& guest) {
       guest.write_raw(frame(kData, 0, kForgotten, 1000, std::string(500, 'x')));
       power_off();
     }},
    {"exit-code", [](Guest& guest) { guest.send_exit(guest.main(), 70'000, 0); }},
    {"exit-signal", [](Guest& guest) { guest.send_exit(guest.main(), 0, 99); }},
    // Floods and silence: the box goes on.
    {"frames",
     [](Guest& guest) {
       std::string some = frame(kData, 0, kForgotten, kBlock, std::string(kBlock, 'x'));
       for (int i = 0; i < 1000; ++i) some += frame(kPing, kSyn, 0, 7) + frame(kWindowUpdate, 0, guest.main(), 0);
       guest.repeat(some);
     }},
    {"log", [](Guest& guest) { guest.flood(guest.main(), std::string(portal::kMaxChunk, '\n')); }},
    {"console",
     [](Guest&) {
       for (const std::string line(4096, 'x');;) say(line);
     }},
    {"never-reads", [](Guest&) { sleep_for_ever(); }},
    {"never-answers",
     [](Guest& guest) {
       for (;;) guest.answer_next([](StreamId, const proto::Call&) {});
     }},
    {"lies",
     [](Guest& guest) {
       for (;;) guest.answer_next([&guest](StreamId id, const proto::Call& call) { lie(guest, id, call); });
     }},
    {"volumes",
     [](Guest&) {
       Guest volumes("boxlite.volumes");
       volumes.answer_epoch();
       volumes.repeat(frame(kWindowUpdate, kSyn, 2, 0) + noise(kBlock));
     }},
    {"disk",
     [](Guest&) {
       spoil_disk();
       say("spoilt\n");
     }},
};

bool before_start(const std::string& mode) {
  return mode == "silent" || mode == "noise" || mode == "other-version" || mode == "many-processes";
}

std::string mode_of_this_program() {
  const auto program = read_file("/init", std::size_t{64} << 20);
  if (!program) power_off();
  const std::string mark = "\nMODE\n";
  return program->substr(program->rfind(mark) + mark.size());
}

}  // namespace
}  // namespace boxlite

int main() {
  using namespace boxlite;
  const std::string mode = mode_of_this_program();
  for (const char* type : {"sysfs", "devtmpfs"}) {
    const std::string target = type == std::string("sysfs") ? "/sys" : "/dev";
    ::mkdir(target.c_str(), 0755);
    ::mount(type, target.c_str(), type, 0, nullptr);
  }
  Guest guest("boxlite.portal");
  if (!before_start(mode)) guest.start();
  kModes.at(mode)(guest);
  for (;;) guest.answer_next([&guest](StreamId id, const proto::Call& call) { guest.answer(id, call); });
}
