#include "image/base64.h"

#include <openssl/evp.h>

#include <vector>

namespace boxlite::image {
namespace {

std::vector<unsigned char> bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

}  // namespace

std::string base64_encode(std::string_view bytes) {
  const std::vector<unsigned char> input = bytes_of(bytes);
  std::vector<unsigned char> output((input.size() + 2) / 3 * 4 + 1);
  const int length = EVP_EncodeBlock(output.data(), input.data(), static_cast<int>(input.size()));
  return {output.begin(), output.begin() + length};
}

std::optional<std::string> base64_decode(std::string_view text) {
  if (text.size() % 4 != 0 || text.size() > 1024 * 1024) return std::nullopt;
  const std::vector<unsigned char> input = bytes_of(text);
  std::vector<unsigned char> output(text.size() / 4 * 3 + 1);
  const int length = EVP_DecodeBlock(output.data(), input.data(), static_cast<int>(input.size()));
  // It counts the padding as bytes.
  const int padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  if (length < padding) return std::nullopt;
  return std::string(output.begin(), output.begin() + (length - padding));
}

}  // namespace boxlite::image
