// The server of a volume, whose messages come from a box.
//
// The input makes messages: mostly well-formed ones about a few files with few names, since an attack is an order of operations
// (walk, rename, link, open), sometimes bytes of its own. They go to a server of a directory beside a canary that they must not
// read or change, whatever links lead there; every answer must be a whole message of a size that was agreed on.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include <fuzzer/FuzzedDataProvider.h>

#include "volume/server.h"

namespace boxlite::volume {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCanary = "CANARY-that-nobody-reads";

void check(bool condition) {
  if (!condition) std::abort();
}

// f: a fid, n: a name, s: a text, d: data with its 32-bit length, digits: integers of so many bytes.
struct Form {
  Message type;
  const char* fields;
};
constexpr std::array kForms = {
    Form{Message::kTwalk, "ff"},          Form{Message::kTlopen, "f4"},           Form{Message::kTlcreate, "fn444"},
    Form{Message::kTsymlink, "fns4"},     Form{Message::kTmknod, "fn4444"},       Form{Message::kTreadlink, "f"},
    Form{Message::kTgetattr, "f8"},       Form{Message::kTsetattr, "f444488888"}, Form{Message::kTxattrwalk, "ffn"},
    Form{Message::kTxattrcreate, "fn84"}, Form{Message::kTreaddir, "f84"},        Form{Message::kTfsync, "f4"},
    Form{Message::kTlock, "f14884s"},     Form{Message::kTgetlock, "f1884s"},     Form{Message::kTlink, "ffn"},
    Form{Message::kTmkdir, "fn44"},       Form{Message::kTrenameat, "fnfn"},      Form{Message::kTunlinkat, "fn4"},
    Form{Message::kTversion, "4s"},       Form{Message::kTattach, "ffss4"},       Form{Message::kTflush, "2"},
    Form{Message::kTread, "f84"},         Form{Message::kTwrite, "f8d"},          Form{Message::kTclunk, "f"},
    Form{Message::kTremove, "f"},         Form{Message::kTstatfs, "f"},
};
constexpr std::array kNames = {"a",
                               "b",
                               "folder",
                               "to-canary",
                               "to-outside",
                               "..",
                               ".",
                               "",
                               "../outside",
                               "folder/../..",
                               "/etc",
                               "user.x",
                               "user.boxlite.stat",
                               "9P2000.L"};

template <typename Number>
void put(std::string& message, Number value) {
  message.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_text(std::string& message, const std::string& text) {
  put(message, static_cast<std::uint16_t>(text.size()));
  message += text;
}

std::uint64_t small_or_any(FuzzedDataProvider& input) {
  return input.ConsumeBool() ? input.ConsumeIntegralInRange<std::uint64_t>(0, 4096) : input.ConsumeIntegral<std::uint64_t>();
}

void put_field(std::string& message, char field, FuzzedDataProvider& input) {
  switch (field) {
    case 'f':
      return put(message, input.ConsumeIntegralInRange<std::uint32_t>(0, 7));
    case 'n':
      return put_text(message, kNames.at(input.ConsumeIntegralInRange<std::size_t>(0, kNames.size() - 1)));
    case 's':
      return put_text(message, input.ConsumeRandomLengthString(32));
    case 'd': {
      const std::string data = input.ConsumeRandomLengthString(64);
      put(message, static_cast<std::uint32_t>(data.size()));
      message += data;
      return;
    }
    case '1':
      return put(message, input.ConsumeIntegral<std::uint8_t>());
    case '2':
      return put(message, input.ConsumeIntegral<std::uint16_t>());
    case '4':
      return put(message, static_cast<std::uint32_t>(small_or_any(input)));
    default:
      // A file of exabytes is the file system's to refuse, and one of gigabytes nobody's to write.
      return put(message, small_or_any(input) % (std::uint64_t{1} << 20));
  }
}

std::string message_of(std::uint8_t type, const std::string& body) {
  std::string message;
  put(message, static_cast<std::uint32_t>(kHeaderSize + body.size()));
  put(message, type);
  put(message, std::uint16_t{1});
  return message + body;
}

std::string next_message(FuzzedDataProvider& input) {
  const auto choice = input.ConsumeIntegralInRange<std::size_t>(0, kForms.size());
  if (choice == kForms.size()) return message_of(input.ConsumeIntegral<std::uint8_t>(), input.ConsumeRandomLengthString(64));
  const Form& form = kForms.at(choice);
  std::string body;
  for (const char* field = form.fields; *field != '\0'; ++field) put_field(body, *field, input);
  if (form.type == Message::kTwalk) {
    const auto names = input.ConsumeIntegralInRange<std::uint16_t>(0, 4);
    put(body, names);
    for (int i = 0; i < names; ++i) put_field(body, 'n', input);
  }
  return message_of(static_cast<std::uint8_t>(form.type), body);
}

struct Tree {
  std::string path;

  Tree() {
    std::string pattern = "/dev/shm/volume-fuzz-XXXXXX";
    path = ::mkdtemp(pattern.data());
    fs::create_directory(path + "/outside");
    std::ofstream(path + "/outside/canary") << kCanary;
    fs::create_directories(path + "/volume/folder");
    std::ofstream(path + "/volume/a") << "content";
    fs::create_symlink("../outside/canary", path + "/volume/to-canary");
    fs::create_symlink(path + "/outside", path + "/volume/to-outside");
  }
  ~Tree() {
    for (const char* below : {"", "/volume", "/volume/folder"}) ::chmod((path + below).c_str(), 0700);
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }

  void check_outside() const {
    struct stat st = {};
    check(::stat((path + "/outside/canary").c_str(), &st) == 0 && st.st_nlink == 1 && (st.st_mode & 07777U) == (0666U & ~mask_) &&
          st.st_uid == ::geteuid());
    std::string text;
    std::ifstream(path + "/outside/canary") >> text;
    check(text == kCanary);
    check(std::distance(fs::directory_iterator(path + "/outside"), {}) == 1);
    check(std::distance(fs::directory_iterator(path), {}) == 2);
  }

 private:
  mode_t mask_ = [] {
    const mode_t mask = ::umask(0);
    ::umask(mask);
    return mask;
  }();
};

}  // namespace
}  // namespace boxlite::volume

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace boxlite::volume;
  static const int home = ::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  FuzzedDataProvider input(data, size);
  const Tree tree;
  Server server(boxlite::UniqueFd(::open((tree.path + "/volume").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)),
                Ownership(input.ConsumeBool(), {::geteuid(), ::getegid(), 0}));
  std::string version;
  put(version, std::uint32_t{128 * 1024});
  put_text(version, "9P2000.L");
  std::string attach;
  for (const std::uint32_t number : {0U, ~0U}) put(attach, number);
  put_text(attach, "");
  put_text(attach, "0:0");
  put(attach, std::uint32_t{0});
  check(server.handle(message_of(static_cast<std::uint8_t>(Message::kTversion), version)).has_value());
  const auto attached = server.handle(message_of(static_cast<std::uint8_t>(Message::kTattach), attach));
  check(attached && attached->at(sizeof(std::uint32_t)) == static_cast<char>(Message::kTattach) + 1);
  while (input.remaining_bytes() > 0) {
    const std::string message = next_message(input);
    if (message.size() > server.max_message()) continue;  // serve() does not hand it on
    const auto reply = server.handle(message);
    if (!reply) break;
    std::uint32_t told = 0;
    check(reply->size() >= kHeaderSize && reply->size() <= server.max_message());
    std::memcpy(&told, reply->data(), sizeof told);
    check(told == reply->size());
    check(reply->find(kCanary) == std::string::npos);
  }
  tree.check_outside();
  check(::fchdir(home) == 0);  // which the server changes
  return 0;
}
