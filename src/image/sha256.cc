#include "image/sha256.h"

#include <openssl/evp.h>

#include <array>
#include <cstdlib>

namespace boxlite::image {
namespace {

// These calls fail only when memory or the library itself is broken, and a wrong digest must never be used.
void require(bool ok) {
  if (!ok) std::abort();
}

EVP_MD_CTX* context_of(const auto& pointer) { return static_cast<EVP_MD_CTX*>(pointer.get()); }

}  // namespace

void Sha256::Free::operator()(void* context) const { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context)); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  require(context_ && EVP_DigestInit_ex(context_of(context_), EVP_sha256(), nullptr) == 1);
}

void Sha256::update(std::span<const std::byte> data) {
  require(EVP_DigestUpdate(context_of(context_), data.data(), data.size()) == 1);
}

Digest Sha256::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> raw = {};
  unsigned length = 0;
  require(EVP_DigestFinal_ex(context_of(context_), raw.data(), &length) == 1);
  std::string hex;
  for (unsigned i = 0; i < length; ++i) hex += fmt::format("{:02x}", raw.at(i));
  return Digest::from_hex(std::move(hex));
}

Digest sha256(std::string_view bytes) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(bytes)));
  return hash.finish();
}

}  // namespace boxlite::image
