#include "image/reference.h"

#include <algorithm>
#include <filesystem>

namespace boxlite::image {
namespace {

constexpr std::size_t kMaxRepositoryName = 255;  // distribution/reference: NameTotalLengthMax
constexpr std::size_t kMaxTag = 128;
constexpr std::string_view kDefaultRegistry = "docker.io";
constexpr std::string_view kLayoutPrefix = "oci:";

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_lower(char c) { return (c >= 'a' && c <= 'z') || is_digit(c); }
bool is_alphanumeric(char c) { return is_lower(c) || (c >= 'A' && c <= 'Z'); }

// alpha-numeric [separator alpha-numeric]*, separator: one of "_", ".", "__" or any number of "-"
bool is_path_component(std::string_view text) {
  if (text.empty() || !is_lower(text.front()) || !is_lower(text.back())) return false;
  for (std::size_t i = 0; i < text.size();) {
    if (is_lower(text[i])) {
      ++i;
      continue;
    }
    const std::size_t end = std::min(text.find_first_not_of(text[i], i), text.size());
    const std::size_t run = end - i;
    const bool separator = text[i] == '-' || (text[i] == '_' && run <= 2) || (text[i] == '.' && run == 1);
    if (!separator || end == text.size() || !is_lower(text[end])) return false;
    i = end;
  }
  return true;
}

bool is_host_component(std::string_view text) {
  return !text.empty() && is_alphanumeric(text.front()) && is_alphanumeric(text.back()) &&
         std::ranges::all_of(text, [](char c) { return is_alphanumeric(c) || c == '-'; });
}

// host [":" port], host: a domain name, an IPv4 address or an IPv6 address in brackets
bool is_registry(std::string_view text) {
  std::string_view host = text;
  std::string_view port;
  const std::size_t host_end = text.starts_with('[') ? text.find(']') : text.find(':');
  if (text.starts_with('[')) {
    if (host_end == std::string_view::npos) return false;
    host = text.substr(1, host_end - 1);
    port = text.substr(host_end + 1);
    const auto in_address = [](char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':'; };
    if (host.empty() || !std::ranges::all_of(host, in_address)) return false;
  } else {
    host = text.substr(0, host_end);
    port = host_end == std::string_view::npos ? std::string_view() : text.substr(host_end);
    std::string_view rest = host;
    for (;;) {
      const std::size_t dot = rest.find('.');
      if (!is_host_component(rest.substr(0, dot))) return false;
      if (dot == std::string_view::npos) break;
      rest.remove_prefix(dot + 1);
    }
  }
  if (port.empty()) return true;
  port.remove_prefix(port.front() == ':' ? 1 : 0);
  return !port.empty() && port.size() <= 5 && std::ranges::all_of(port, is_digit);
}

bool is_tag(std::string_view text) {
  const auto word = [](char c) { return is_alphanumeric(c) || c == '_'; };
  return !text.empty() && text.size() <= kMaxTag && word(text.front()) &&
         std::ranges::all_of(text, [&](char c) { return word(c) || c == '.' || c == '-'; });
}

Result<void> check_tag(std::string_view tag, std::string_view text) {
  if (is_tag(tag)) return {};
  return fail(ErrorCode::kInvalidArgument,
              "image \"{}\": the tag \"{}\" is not valid (letters, digits, '_', '.', '-'; at most {}; not first '.' or '-')",
              text, tag, kMaxTag);
}

Result<Reference> parse_layout(std::string_view text) {
  LayoutReference layout;
  std::string_view rest = text.substr(kLayoutPrefix.size());
  // A tag has no slash, so a colon in a directory's name is not mistaken for one.
  const std::size_t colon = rest.rfind(':');
  if (colon != std::string_view::npos && rest.find('/', colon) == std::string_view::npos) {
    layout.tag = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    TRY(check_tag(layout.tag, text));
  }
  if (rest.empty() || rest.find('\0') != std::string_view::npos) {
    return fail(ErrorCode::kInvalidArgument, "image \"{}\" names no directory (oci:DIR or oci:DIR:TAG)", text);
  }
  // Stored, and asked for again from elsewhere: the name must not depend on where it was typed.
  std::error_code error;
  std::string directory = std::filesystem::absolute(rest, error).lexically_normal().string();
  if (error) return fail(ErrorCode::kInvalidArgument, "image \"{}\": {}", text, error.message());
  while (directory.size() > 1 && directory.back() == '/') directory.pop_back();
  layout.directory = std::move(directory);
  return layout;
}

// distribution/reference, splitDockerDomain: the first component is a registry only if it cannot be a repository's.
bool names_registry(std::string_view first) {
  return first == "localhost" || first.find_first_of(".:") != std::string_view::npos ||
         std::ranges::any_of(first, [](char c) { return c >= 'A' && c <= 'Z'; });
}

Result<void> check_repository(std::string_view repository, std::string_view text) {
  std::string_view rest = repository;
  for (;;) {
    const std::size_t slash = rest.find('/');
    const std::string_view component = rest.substr(0, slash);
    if (!is_path_component(component)) {
      const bool upper = std::ranges::any_of(component, [](char c) { return c >= 'A' && c <= 'Z'; });
      if (upper) return fail(ErrorCode::kInvalidArgument, "image \"{}\": a repository's name must be lower case", text);
      return fail(ErrorCode::kInvalidArgument,
                  "image \"{}\": \"{}\" is not valid in a repository's name (a-z, 0-9, single '.', '_', '__', '-' between them)",
                  text, component);
    }
    if (slash == std::string_view::npos) return {};
    rest.remove_prefix(slash + 1);
  }
}

}  // namespace

bool is_registry_host(std::string_view text) { return is_registry(text); }

bool is_repository_name(std::string_view text) { return check_repository(text, text).has_value(); }

Result<std::vector<Reference>> candidates(std::string_view text, const std::vector<std::string>& search) {
  TRY_ASSIGN(Reference reference, parse_reference(text));
  const std::size_t slash = text.find('/');
  const bool qualified =
      text.starts_with(kLayoutPrefix) || (slash != std::string_view::npos && names_registry(text.substr(0, slash)));
  if (qualified) return std::vector{std::move(reference)};
  std::vector<Reference> result;
  for (const std::string& registry : search) {
    TRY_ASSIGN(result.emplace_back(), parse_reference(fmt::format("{}/{}", registry, text)));
  }
  return result;
}

Result<Reference> parse_reference(std::string_view text) {
  if (text.size() > 4096) return fail(ErrorCode::kInvalidArgument, "the image's name is longer than 4096 bytes");
  if (text.starts_with(kLayoutPrefix)) return parse_layout(text);
  if (text.starts_with('/') || text.starts_with("./") || text.starts_with("../") || text == "." || text == "..") {
    return fail(ErrorCode::kInvalidArgument, "image \"{}\" is a path; an OCI layout directory is named oci:{}", text, text);
  }
  RegistryReference reference;
  std::string_view rest = text;
  if (const std::size_t at = rest.find('@'); at != std::string_view::npos) {
    TRY_ASSIGN(reference.digest, Digest::parse(rest.substr(at + 1), fmt::format("image \"{}\"", text)));
    rest = rest.substr(0, at);
  }
  if (const std::size_t colon = rest.rfind(':');
      colon != std::string_view::npos && rest.find('/', colon) == std::string_view::npos) {
    reference.tag = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    TRY(check_tag(reference.tag, text));
  }
  if (rest.empty()) return fail(ErrorCode::kInvalidArgument, "image \"{}\" has no name", text);
  if (rest.size() == 64 && rest.find_first_not_of("0123456789abcdef") == std::string_view::npos) {
    return fail(ErrorCode::kInvalidArgument, "image \"{}\": 64 hex digits are an id, not a name", text);
  }

  reference.registry = kDefaultRegistry;
  if (const std::size_t slash = rest.find('/'); slash != std::string_view::npos && names_registry(rest.substr(0, slash))) {
    reference.registry = rest.substr(0, slash);
    rest.remove_prefix(slash + 1);
    if (!is_registry(reference.registry)) {
      return fail(ErrorCode::kInvalidArgument, "image \"{}\": \"{}\" is not a registry (HOST or HOST:PORT)", text,
                  reference.registry);
    }
  }
  if (reference.registry == "index.docker.io") reference.registry = kDefaultRegistry;
  TRY(check_repository(rest, text));
  reference.repository = rest;
  if (reference.registry == kDefaultRegistry && rest.find('/') == std::string_view::npos)
    reference.repository = fmt::format("library/{}", rest);
  if (reference.registry.size() + 1 + reference.repository.size() > kMaxRepositoryName) {
    return fail(ErrorCode::kInvalidArgument, "image \"{}\": the name is longer than {} bytes", text, kMaxRepositoryName);
  }
  if (reference.tag.empty() && !reference.digest) reference.tag = "latest";
  return reference;
}

std::string to_string(const Reference& reference) {
  if (const auto* layout = std::get_if<LayoutReference>(&reference)) {
    if (!layout->tag.empty()) return fmt::format("{}{}:{}", kLayoutPrefix, layout->directory, layout->tag);
    // What follows a colon in the directory's own name must not be read as a tag.
    const bool colon = layout->directory.find(':', layout->directory.rfind('/')) != std::string::npos;
    return fmt::format("{}{}{}", kLayoutPrefix, layout->directory, colon ? "/" : "");
  }
  const auto& image = std::get<RegistryReference>(reference);
  std::string text = fmt::format("{}/{}", image.registry, image.repository);
  if (!image.tag.empty()) text += ":" + image.tag;
  if (image.digest) text += "@" + image.digest->text();
  return text;
}

}  // namespace boxlite::image
