#include "runtime/byte_text.h"

namespace boxlite {

std::string bytes_to_text(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (const char c : bytes) {
    const auto value = static_cast<unsigned char>(c);
    if (value < 0x80) {
      text.push_back(c);
    } else {
      text.push_back(static_cast<char>(0xC0U | (value >> 6U)));
      text.push_back(static_cast<char>(0x80U | (value & 0x3FU)));
    }
  }
  return text;
}

Result<std::string> text_to_bytes(std::string_view text, std::string_view what) {
  std::string bytes;
  bytes.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto value = static_cast<unsigned char>(text[i]);
    if (value < 0x80) {
      bytes.push_back(text[i]);
      continue;
    }
    // The parser has checked that this is UTF-8; only the sequences of U+0080–U+00FF mean a byte.
    if ((value != 0xC2 && value != 0xC3) || i + 1 >= text.size()) {
      return fail(ErrorCode::kCorrupt, "{}: a character beyond U+00FF in a byte string", what);
    }
    const auto next = static_cast<unsigned char>(text[++i]);
    bytes.push_back(static_cast<char>(((value & 0x03U) << 6U) | (next & 0x3FU)));
  }
  return bytes;
}

Json byte_list_to_json(const std::vector<std::string>& list) {
  Json array = Json::array();
  for (const std::string& entry : list) array.push_back(bytes_to_text(entry));
  return array;
}

Result<std::vector<std::string>> byte_list_from_json(const Json& object, std::string_view key, std::string_view what) {
  TRY_ASSIGN(const auto texts, json_get<std::vector<std::string>>(object, key, what));
  std::vector<std::string> list;
  list.reserve(texts.size());
  for (const std::string& text : texts) {
    TRY_ASSIGN(std::string bytes, text_to_bytes(text, what));
    list.push_back(std::move(bytes));
  }
  return list;
}

}  // namespace boxlite
