#include "net/name_service.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/sys.h"
#include "net/addresses.h"
#include "net/wire.h"

namespace boxlite::net {
namespace {

constexpr std::size_t kMaxResolvers = 3;  // as the C library: MAXNS
constexpr auto kClientPatience = std::chrono::seconds(30);
constexpr std::size_t kLength = 2;  // before each message of TCP, RFC 1035 section 4.2.2
constexpr std::size_t kMaxMessage = 65535;

std::uint16_t random_id() {
  std::array<std::byte, 2> bytes;
  sys::random_bytes(bytes);
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[0]) << 8 | std::to_integer<unsigned>(bytes[1]));
}

socklen_t to_sockaddr(const IpAddress& address, sockaddr_storage& storage) {
  storage = {};
  if (address.is_v6()) {
    sockaddr_in6 in6 = {};
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(kDnsPort);
    std::ranges::copy(address.bytes(), in6.sin6_addr.s6_addr);
    std::memcpy(&storage, &in6, sizeof in6);
    return sizeof in6;
  }
  sockaddr_in in = {};
  in.sin_family = AF_INET;
  in.sin_port = htons(kDnsPort);
  std::memcpy(&in.sin_addr, address.bytes().data(), 4);
  std::memcpy(&storage, &in, sizeof in);
  return sizeof in;
}

bool would_block() { return errno == EAGAIN || errno == EINTR; }

DnsMessage with_length(std::span<const std::uint8_t> message) {
  DnsMessage framed(kLength + message.size());
  put16(framed, 0, message.size());
  std::ranges::copy(message, framed.begin() + kLength);
  return framed;
}

}  // namespace

NameService::NameService(const std::vector<std::string>& resolvers, Answer answer, Ask ask)
    : answer_(std::move(answer)), ask_(std::move(ask)) {
  set_resolvers(resolvers);
}

void NameService::set_resolvers(const std::vector<std::string>& resolvers) {
  resolvers_.clear();
  for (const std::string& text : resolvers) {
    if (const auto address = IpAddress::parse(text); address && resolvers_.size() < kMaxResolvers) resolvers_.push_back(*address);
  }
  resolvers_known_ = Clock::now();
  asked_resolvers_ = false;
}

void NameService::ask(std::uint16_t box_port, std::span<const std::uint8_t> message) { take({.box_port = box_port}, message); }

void NameService::take(const Asker& asker, std::span<const std::uint8_t> message) {
  const DnsReading reading = read_query(message);
  if (!reading.answerable) return;
  if (!reading.question) return reply(asker, refuse(message, 0, reading.refusal));
  if (const auto local = local_answer(*reading.question, message)) return reply(asker, *local);

  if (!asked_resolvers_ && Clock::now() - resolvers_known_ > kFresh) {
    asked_resolvers_ = true;
    ask_();
  }
  if (lookups_.size() == kMaxLookups) {
    if (asker.client != nullptr) reply(asker, refuse(message, reading.question->size, DnsRefusal::kServer));
    return;
  }
  Lookup& lookup = lookups_.emplace_back();
  lookup.asker = asker;
  lookup.box_id = get16(message, 0);
  lookup.query.assign(message.begin(), message.end());
  put16(lookup.query, 0, random_id());
  lookup.question = *reading.question;
  if (asker.client != nullptr) asker.client->busy = true;
  if (!try_next(lookup)) lookups_.pop_back();
}

void NameService::reply(const Asker& asker, std::span<const std::uint8_t> message) {
  if (asker.client == nullptr) return answer_(asker.box_port, message);
  const DnsMessage framed = with_length(message);
  asker.client->out.insert(asker.client->out.end(), framed.begin(), framed.end());
  asker.client->busy = false;
}

bool NameService::open_socket(Lookup& lookup, const IpAddress& resolver) {
  const int type = lookup.asker.client != nullptr ? SOCK_STREAM : SOCK_DGRAM;
  lookup.socket.reset(::socket(resolver.is_v6() ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!lookup.socket) return false;
  sockaddr_storage address;
  const socklen_t size = to_sockaddr(resolver, address);
  if (::connect(lookup.socket.get(), reinterpret_cast<sockaddr*>(&address), size) < 0 && errno != EINPROGRESS) return false;
  lookup.sent = 0;
  lookup.received.clear();
  lookup.poll_index = -1;
  if (type == SOCK_STREAM) return true;
  return ::send(lookup.socket.get(), lookup.query.data(), lookup.query.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(lookup.query.size());
}

bool NameService::try_next(Lookup& lookup) {
  const auto share = kPatience / static_cast<int>(std::max<std::size_t>(resolvers_.size(), 1));
  while (lookup.next_resolver < resolvers_.size()) {
    const IpAddress resolver = resolvers_[lookup.next_resolver++];
    lookup.try_until = Clock::now() + share;
    if (open_socket(lookup, resolver)) return true;
  }
  put16(lookup.query, 0, lookup.box_id);
  reply(lookup.asker, refuse(lookup.query, lookup.question.size, DnsRefusal::kServer));
  return false;
}

bool NameService::accept_answer(Lookup& lookup, std::span<const std::uint8_t> message) {
  if (!answers(message, lookup.query, lookup.question)) return false;
  DnsMessage answer(message.begin(), message.end());
  put16(answer, 0, lookup.box_id);
  reply(lookup.asker, answer);
  return true;
}

NameService::Step NameService::receive_udp(Lookup& lookup) {
  static std::array<std::uint8_t, kMaxMessage> buffer;
  for (;;) {
    const ssize_t size = ::recv(lookup.socket.get(), buffer.data(), buffer.size(), 0);
    if (size < 0) return would_block() ? Step::kWait : Step::kFailed;
    if (accept_answer(lookup, std::span(buffer).first(static_cast<std::size_t>(size)))) return Step::kAnswered;
  }
}

NameService::Step NameService::exchange_tcp(Lookup& lookup, short events) {
  const DnsMessage framed = with_length(lookup.query);
  if ((events & POLLOUT) != 0 && lookup.sent < framed.size()) {
    const ssize_t size = ::send(lookup.socket.get(), framed.data() + lookup.sent, framed.size() - lookup.sent, MSG_NOSIGNAL);
    if (size < 0) return would_block() ? Step::kWait : Step::kFailed;
    lookup.sent += static_cast<std::size_t>(size);
    return Step::kWait;
  }
  const std::size_t wanted = lookup.received.size() < kLength ? kLength : kLength + get16(lookup.received, 0);
  const std::size_t before = lookup.received.size();
  lookup.received.resize(wanted);
  const ssize_t size = ::recv(lookup.socket.get(), lookup.received.data() + before, wanted - before, 0);
  const bool wait = size < 0 && would_block();
  lookup.received.resize(before + (size > 0 ? static_cast<std::size_t>(size) : 0));
  if (wait) return Step::kWait;
  if (size <= 0) return Step::kFailed;
  if (lookup.received.size() < kLength || lookup.received.size() < kLength + get16(lookup.received, 0)) return Step::kWait;
  return accept_answer(lookup, std::span(lookup.received).subspan(kLength)) ? Step::kAnswered : Step::kFailed;
}

bool NameService::advance(Lookup& lookup, short events) {
  if (events != 0) {
    const Step step = lookup.asker.client != nullptr ? exchange_tcp(lookup, events) : receive_udp(lookup);
    if (step == Step::kAnswered) return false;
    if (step == Step::kFailed) return try_next(lookup);
  }
  return Clock::now() < lookup.try_until || try_next(lookup);
}

void NameService::prepare(PollSet& polls) {
  for (Lookup& lookup : lookups_) {
    const bool sending = lookup.asker.client != nullptr && lookup.sent < lookup.query.size() + kLength;
    lookup.poll_index = polls.add(lookup.socket.get(), sending ? POLLOUT : POLLIN);
    polls.wake_at(lookup.try_until);
  }
  for (Client& client : clients_) {
    const bool listening = !client.ended && !client.busy && client.out.empty();
    client.poll_index =
        polls.add(client.socket.get(), static_cast<short>((listening ? POLLIN : 0) | (client.out.empty() ? 0 : POLLOUT)));
    polls.wake_at(client.end);
  }
}

void NameService::dispatch(const PollSet& polls) {
  // What begins in this turn has no events yet: only those there were when it began are looked at.
  std::size_t known = lookups_.size();
  for (auto lookup = lookups_.begin(); known-- > 0;) {
    lookup = advance(*lookup, polls.revents(lookup->poll_index)) ? std::next(lookup) : lookups_.erase(lookup);
  }
  for (Client& client : clients_) serve(client, polls.revents(client.poll_index));
  const auto over = [this](const Client& client) {
    if (!client.broken) return false;
    std::erase_if(lookups_, [&client](const Lookup& lookup) { return lookup.asker.client == &client; });
    return true;
  };
  std::erase_if(clients_, over);
}

void NameService::serve_client(UniqueFd socket) {
  if (clients_.size() == kMaxClients) return;
  Client& client = clients_.emplace_back();
  client.socket = std::move(socket);
  client.end = Clock::now() + kClientPatience;
}

void NameService::serve(Client& client, short events) {
  if (Clock::now() >= client.end || (events & (POLLERR | POLLNVAL)) != 0) {
    client.broken = true;
    return;
  }
  if ((events & (POLLIN | POLLHUP)) != 0 && !client.ended && !client.busy) {
    std::array<std::uint8_t, 4096> chunk;
    const ssize_t size = ::recv(client.socket.get(), chunk.data(), chunk.size(), 0);
    if (size == 0) client.ended = true;
    if (size < 0 && !would_block()) client.broken = true;
    if (size > 0) client.in.insert(client.in.end(), chunk.begin(), chunk.begin() + size);
  }
  do {
    take_client_questions(client);
  } while (flush(client));
  if (client.ended && !client.busy && client.out.empty()) client.broken = true;
}

bool NameService::flush(Client& client) {
  if (client.out.empty()) return false;
  const ssize_t size = ::send(client.socket.get(), client.out.data(), client.out.size(), MSG_NOSIGNAL);
  if (size < 0 && !would_block()) client.broken = true;
  if (size > 0) client.out.erase(client.out.begin(), client.out.begin() + size);
  return client.out.empty();
}

void NameService::take_client_questions(Client& client) {
  // One at a time, so that answers wait for the client to read and cannot pile up here.
  while (!client.busy && client.out.empty() && client.in.size() >= kLength) {
    const std::size_t size = kLength + get16(client.in, 0);
    if (client.in.size() < size) return;
    const DnsMessage message(client.in.begin() + kLength, client.in.begin() + static_cast<std::ptrdiff_t>(size));
    client.in.erase(client.in.begin(), client.in.begin() + static_cast<std::ptrdiff_t>(size));
    client.end = Clock::now() + kClientPatience;
    take({.client = &client}, message);
    if (!client.busy && client.out.empty()) client.broken = true;  // no query
    if (client.broken) return;
  }
}

}  // namespace boxlite::net
