#include "runtime/printable.h"

#include "base/json.h"

namespace boxlite {

std::string printable(std::string_view bytes, std::size_t limit) {
  // dump_json replaces what is not UTF-8.
  const std::string text = Json::parse(dump_json(Json(std::string(bytes.substr(0, limit))))).get<std::string>();
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c1 = byte == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (c1) ++i;
    out += c1 || byte < 0x20 || byte == 0x7f ? '?' : text[i];
  }
  return out;
}

}  // namespace boxlite
