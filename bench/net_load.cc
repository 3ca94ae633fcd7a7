// The guest's end of the throughput figures: asks the host for work until nobody listens there any more.
//
//   net_load ADDRESS PORT
//
// Each connection begins with the host's order, nine bytes: 's' or 'r', then how many bytes, big-endian. 's': they are sent to
// the host. 'r': they are received from it, and one byte tells that all have come.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>

namespace {

std::array<char, 1 << 20> buffer;

bool receive_all(int socket, char* data, std::size_t size) {
  for (std::size_t got = 0; got < size;) {
    const ssize_t count = ::recv(socket, data + got, size - got, 0);
    if (count <= 0) return false;
    got += static_cast<std::size_t>(count);
  }
  return true;
}

bool serve(int socket) {
  std::array<char, 9> order;
  if (!receive_all(socket, order.data(), order.size())) return false;
  std::uint64_t left = 0;
  for (std::size_t i = 1; i < order.size(); ++i) left = left << 8U | static_cast<unsigned char>(order[i]);
  const bool receives = order[0] == 'r';
  while (left > 0) {
    const std::size_t size = static_cast<std::size_t>(std::min<std::uint64_t>(left, buffer.size()));
    const ssize_t count = receives ? ::recv(socket, buffer.data(), size, 0) : ::send(socket, buffer.data(), size, MSG_NOSIGNAL);
    if (count <= 0) return false;
    left -= static_cast<std::uint64_t>(count);
  }
  return !receives || ::send(socket, "k", 1, MSG_NOSIGNAL) == 1;
}

}  // namespace

int main(int, char** argv) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<in_port_t>(std::atoi(argv[2])));
  if (::inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) return 2;
  for (;;) {
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) return 1;
    if (!serve(socket)) return 1;
    ::close(socket);
  }
}
