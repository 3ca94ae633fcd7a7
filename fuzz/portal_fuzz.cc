// Everything that parses bytes of the other side of the portal: epoch scanner, message reader, multiplexer.
//
// The first byte of the input chooses what is tested. Bytes of the peer are always fed twice, at once and in small portions, and
// both must come to the same result; the bounds that mux.cc promises are checked after every step; and two multiplexers driven by
// the input must carry every byte to the other end, once and in order, whatever happens to the other streams.
#include <cstdlib>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include <fuzzer/FuzzedDataProvider.h>

#include "agent.pb.h"
#include "portal/epoch.h"
#include "portal/message_codec.h"
#include "portal/mux.h"

namespace boxlite::portal {
namespace {

using Bytes = std::vector<std::byte>;

void check(bool condition) {
  if (!condition) std::abort();
}

Bytes rest_of(FuzzedDataProvider& input) { return input.ConsumeRemainingBytes<std::byte>(); }

/// Calls `feed` with all of `data`, in portions that depend on `seed`; until it returns false.
template <typename Feed>
void in_portions(std::span<const std::byte> data, std::uint32_t seed, Feed feed) {
  while (!data.empty()) {
    seed = seed * 1664525 + 1013904223;
    const std::size_t count = std::min<std::size_t>(data.size(), 1 + (seed >> 16U) % ((seed & 1U) != 0 ? 7 : 300));
    if (!feed(data.first(count))) return;
    data = data.subspan(count);
  }
}

// ---- Epochs

std::optional<std::size_t> find_header(const Bytes& data, std::optional<Nonce> nonce, std::uint32_t seed) {
  EpochScanner scanner(Sender::kHost, nonce);
  std::optional<std::size_t> end;
  std::size_t before = 0;
  in_portions(data, seed, [&](std::span<const std::byte> part) {
    if (const auto found = scanner.feed(part)) {
      check(found->consumed > 0 && found->consumed <= part.size());
      check(found->header.sender == Sender::kHost);
      end = before + found->consumed;
      return false;
    }
    before += part.size();
    return true;
  });
  return end;
}

void fuzz_epoch(FuzzedDataProvider& input) {
  const auto seed = input.ConsumeIntegral<std::uint32_t>();
  Nonce nonce = {};
  nonce[0] = input.ConsumeIntegral<std::uint8_t>() % 2 != 0 ? std::byte{1} : std::byte{2};
  Bytes data = rest_of(input);
  // A checksum is not guessed, so put a real header somewhere.
  if (!data.empty()) {
    const auto header = encode({.version = seed, .sender = Sender::kHost, .nonce = nonce});
    data.insert(data.begin() + seed % data.size(), header.begin(), header.end());
  }
  const auto end = find_header(data, nonce, seed);
  check(end.has_value() == !data.empty());
  check(find_header(data, nonce, ~seed) == end);
  check(find_header(data, std::nullopt, seed) <= end);
}

// ---- Messages

template <typename Message>
std::pair<std::vector<std::string>, bool> read_messages(const Bytes& data, std::uint32_t seed) {
  MessageReader reader;
  std::vector<std::string> messages;
  bool failed = false;
  in_portions(data, seed, [&](std::span<const std::byte> part) {
    reader.feed(part);
    for (;;) {
      Message message;
      const auto got = reader.next(message);
      if (!got) {
        check(!reader.next(message));
        failed = true;
        return false;
      }
      if (!*got) break;
      const auto again = encode_message(message);
      messages.push_back(again ? *again : "");
    }
    check(reader.buffered() < kMaxMessage + 4);
    check(reader.missing() > 0 && reader.missing() <= kMaxMessage + 4);
    return true;
  });
  return {messages, failed};
}

void fuzz_messages(FuzzedDataProvider& input) {
  const auto seed = input.ConsumeIntegral<std::uint32_t>();
  const auto type = input.ConsumeIntegral<std::uint8_t>() % 4;
  const Bytes data = rest_of(input);
  const auto compare = [&](auto read) { check(read(data, seed) == read(data, ~seed)); };
  if (type == 0) compare(read_messages<proto::Call>);
  if (type == 1) compare(read_messages<proto::Reply>);
  if (type == 2) compare(read_messages<proto::SessionInput>);
  if (type == 3) compare(read_messages<proto::SessionOutput>);
}

// ---- A multiplexer against any bytes

struct Watched {
  static constexpr std::size_t kStep = 4096;
  explicit Watched(Mux::Role role, bool consumes)
      : mux(role, {.on_open = [this](StreamId id) { said += "o" + std::to_string(id); },
                   .on_data =
                       [this, consumes](StreamId id, std::span<const std::byte> data) {
                         std::string& all = data_of[id];
                         // In steps of a fixed size, so that the windows do not depend on the portions.
                         const std::size_t steps = (all.size() + data.size()) / kStep - all.size() / kStep;
                         all.append(reinterpret_cast<const char*>(data.data()), data.size());
                         for (std::size_t i = 0; consumes && i < steps; ++i) mux.consume(id, kStep);
                         held[id] += data.size() - (consumes ? steps * kStep : 0);
                         check(held[id] <= Mux::kInitialWindow);
                       },
                   .on_end =
                       [this](StreamId id) {
                         said += "e" + std::to_string(id);
                         if (id % 3 == 0) mux.finish(id);
                       },
                   .on_reset = [this](StreamId id) { said += "r" + std::to_string(id); },
                   .on_writable = [this](StreamId id) { mux.send(id, std::as_bytes(std::span("writable"))); },
                   .on_output = {}}) {}
  std::string said;
  std::map<StreamId, std::string> data_of;
  std::map<StreamId, std::size_t> held;
  Mux mux;
};

struct Outcome {
  std::string said;
  std::map<StreamId, std::string> data_of;
  std::string output;
  bool failed;
  bool operator==(const Outcome&) const = default;
};

Outcome feed_mux(const Bytes& data, Mux::Role role, bool consumes, std::uint32_t seed) {
  Watched end(role, consumes);
  if (role == Mux::Role::kHost) {
    for (int i = 0; i < 4; ++i) end.mux.send(*end.mux.open_stream(), std::as_bytes(std::span("call")));
    end.mux.finish(1);
    end.mux.reset(3);
  }
  bool failed = false;
  in_portions(data, seed, [&](std::span<const std::byte> part) {
    failed = !end.mux.feed(part);
    check(end.mux.output().size() <= Mux::kMaxQueuedOutput + Mux::kControlReserve + Mux::kMaxStreams * 36);
    check(end.mux.stream_count() <= Mux::kMaxStreams);
    return !failed;
  });
  const auto output = end.mux.output();
  return {end.said, end.data_of, {reinterpret_cast<const char*>(output.data()), output.size()}, failed};
}

void fuzz_mux(FuzzedDataProvider& input) {
  const auto seed = input.ConsumeIntegral<std::uint32_t>();
  const auto role = input.ConsumeBool() ? Mux::Role::kHost : Mux::Role::kAgent;
  const bool consumes = input.ConsumeBool();
  // Frames from parts, so that more than the first header is right; one kind of part is raw bytes.
  Bytes data;
  while (input.remaining_bytes() > 0) {
    const auto kind = input.ConsumeIntegral<std::uint8_t>();
    if (kind >= 250) {
      const auto raw = input.ConsumeBytes<std::byte>(kind % 16);
      data.insert(data.end(), raw.begin(), raw.end());
      continue;
    }
    const std::uint8_t flags[] = {0, 1, 2, 4, 8, 5, 0, 0};
    const std::uint32_t length =
        kind % 5 == 0 ? input.ConsumeIntegral<std::uint32_t>() : input.ConsumeIntegral<std::uint8_t>() * 33U;
    const StreamId id = input.ConsumeIntegral<std::uint8_t>() % 24U;
    const std::uint8_t type = kind % 4;
    const auto byte = [](std::uint32_t value) { return static_cast<std::byte>(value & 0xffU); };
    const std::byte header[] = {std::byte{0},        byte(type),          std::byte{0},       byte(flags[(kind >> 2U) % 8]),
                                std::byte{0},        std::byte{0},        std::byte{0},       byte(id),
                                byte(length >> 24U), byte(length >> 16U), byte(length >> 8U), byte(length)};
    data.insert(data.end(), std::begin(header), std::end(header));
    if (type == 0) data.insert(data.end(), std::min(length, Mux::kInitialWindow), byte(kind));
  }
  check(feed_mux(data, role, consumes, seed) == feed_mux(data, role, consumes, ~seed));
}

// ---- Two multiplexers against each other

struct End {
  explicit End(Mux::Role role)
      : mux(role, {.on_open = [this](StreamId id) { ids.push_back(id); },
                   .on_data =
                       [this](StreamId id, std::span<const std::byte> data) {
                         received[id].append(reinterpret_cast<const char*>(data.data()), data.size());
                         held[id] += data.size();
                         check(held[id] <= Mux::kInitialWindow);
                       },
                   .on_end = [this](StreamId id) { ended[id] = true; },
                   .on_reset = [this](StreamId id) { was_reset[id] = true; }}) {}
  std::vector<StreamId> ids;
  std::map<StreamId, std::string> sent, received;
  std::map<StreamId, std::size_t> held;
  std::map<StreamId, bool> finished, ended, was_reset;
  Mux mux;
};

void move_bytes(End& from, End& to, std::size_t most) {
  const auto output = from.mux.output();
  const Bytes wire(output.begin(), output.begin() + static_cast<std::ptrdiff_t>(std::min(output.size(), most)));
  from.mux.drop_output(wire.size());
  check(to.mux.feed(wire).has_value());
}

void step(End& end, FuzzedDataProvider& input, std::uint8_t what) {
  if (end.ids.empty()) return;
  const StreamId id = end.ids[input.ConsumeIntegral<std::uint8_t>() % end.ids.size()];
  switch (what) {
    case 0: {
      const std::string data(input.ConsumeIntegral<std::uint16_t>() * 5U,
                             static_cast<char>(input.ConsumeIntegral<std::uint8_t>()));
      const std::size_t taken = end.mux.send(id, std::as_bytes(std::span(data)));
      check(!end.finished[id] || taken == 0);
      end.sent[id] += data.substr(0, taken);
      break;
    }
    case 1: {
      const std::size_t count = std::min<std::size_t>(end.held[id], input.ConsumeIntegral<std::uint16_t>() * 4U);
      end.held[id] -= count;
      end.mux.consume(id, count);
      break;
    }
    case 2:
      end.finished[id] = end.finished[id] || end.mux.alive(id);
      end.mux.finish(id);
      break;
    default:
      if (end.mux.alive(id)) end.was_reset[id] = true;
      end.mux.reset(id);
  }
}

void fuzz_pair(FuzzedDataProvider& input) {
  End host(Mux::Role::kHost);
  End agent(Mux::Role::kAgent);
  while (input.remaining_bytes() > 0) {
    const auto what = input.ConsumeIntegral<std::uint8_t>();
    End& end = (what & 8U) != 0 ? host : agent;
    switch (what % 8) {
      case 0:
        if (const auto id = host.mux.open_stream()) host.ids.push_back(*id);
        break;
      case 1:
      case 2:
        move_bytes(end, &end == &host ? agent : host, input.ConsumeIntegral<std::uint16_t>());
        break;
      default:
        step(end, input, what % 8 == 7 && (what & 16U) != 0 ? 3 : (what % 8) % 3);
    }
    check(end.mux.output().size() <= Mux::kMaxQueuedOutput + Mux::kControlReserve + Mux::kMaxStreams * 36);
  }
  // Let everything arrive that can.
  for (int i = 0; i < 100 && !(host.mux.output().empty() && agent.mux.output().empty()); ++i) {
    move_bytes(host, agent, SIZE_MAX);
    move_bytes(agent, host, SIZE_MAX);
  }
  for (const StreamId id : host.ids) {
    if (host.was_reset[id] || agent.was_reset[id]) {
      check(host.sent[id].starts_with(agent.received[id]) && agent.sent[id].starts_with(host.received[id]));
      check(!host.mux.alive(id) && !agent.mux.alive(id));
      continue;
    }
    check(host.sent[id] == agent.received[id] && agent.sent[id] == host.received[id]);
    check(host.finished[id] == agent.ended[id] && agent.finished[id] == host.ended[id]);
    check(host.mux.alive(id) == !(host.finished[id] && agent.finished[id]) && host.mux.alive(id) == agent.mux.alive(id));
  }
}

}  // namespace
}  // namespace boxlite::portal

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  switch (input.ConsumeIntegral<std::uint8_t>() % 4) {
    case 0:
      boxlite::portal::fuzz_epoch(input);
      break;
    case 1:
      boxlite::portal::fuzz_messages(input);
      break;
    case 2:
      boxlite::portal::fuzz_mux(input);
      break;
    default:
      boxlite::portal::fuzz_pair(input);
  }
  return 0;
}
