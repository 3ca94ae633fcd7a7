// Big-endian integers in byte buffers, as all formats of the portal have them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace boxlite::portal {

template <typename T>
void put_be(std::byte* at, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) at[i] = static_cast<std::byte>(value >> (8 * (sizeof(T) - 1 - i)));
}

template <typename T>
T get_be(const std::byte* at) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) value = static_cast<T>((value << 8) | std::to_integer<T>(at[i]));
  return value;
}

}  // namespace boxlite::portal
