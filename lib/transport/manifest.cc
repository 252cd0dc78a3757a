// SPDX-License-Identifier: Apache-2.0
#include "lib/transport/manifest.h"

#include <fmt/format.h>

#include "lib/json/value.h"

namespace cfs::transport {
namespace {

constexpr std::string_view kHeader = "cfs-transport 1";
// "object", a digest, two numbers of 16 digits and three spaces.
constexpr size_t kMaxLineBytes = 6 + 64 + 2 * 16 + 3;

// Cuts the text before the next space off `rest`.
std::string_view next_field(std::string_view& rest) {
  size_t end = std::min(rest.find(' '), rest.size());
  std::string_view field = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return field;
}

std::optional<uint64_t> parse_number(std::string_view text) {
  if (text.empty() || text.size() > 16 || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  uint64_t value = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<uint64_t>(c - '0');
  }
  if (value > uint64_t{json::kMaxInteger}) return std::nullopt;
  return value;
}

// "<word> <64 hex> <plain> <encoded>", nothing else.
std::optional<Entry> parse_entry(std::string_view line, std::string_view word) {
  std::string_view rest = line;
  if (next_field(rest) != word) return std::nullopt;
  std::string_view hex = next_field(rest);
  std::optional<verity::Digest> digest = verity::Digest::parse(hex);
  if (!digest || digest->hex() != hex) return std::nullopt;
  std::optional<uint64_t> plain = parse_number(next_field(rest));
  std::optional<uint64_t> encoded = parse_number(rest);
  if (!plain || !encoded || *encoded == 0) return std::nullopt;
  return Entry{*digest, *plain, *encoded};
}

std::string format_entry(std::string_view word, const Entry& entry) {
  return fmt::format("{} {} {} {}\n", word, entry.digest.hex(), entry.size_bytes,
                     entry.encoded_size_bytes);
}

}  // namespace

Result<> ManifestParser::parse_line(std::string_view line) {
  ++line_number_;
  auto refuse = [&](std::string_view problem) {
    return make_error(ErrorCode::kCorrupt,
                      fmt::format("transport manifest: line {}: {}", line_number_, problem));
  };
  if (line_number_ == 1) {
    if (line == kHeader) return {};
    if (line.starts_with("cfs-transport ")) {
      return make_error(ErrorCode::kUnsupported,
                        fmt::format("transport manifest: format '{}' is not known", line));
    }
    return refuse(fmt::format("must be '{}'", kHeader));
  }
  if (line_number_ == 2) {
    std::optional<Entry> image = parse_entry(line, "image");
    if (!image) return refuse("must be 'image DIGEST SIZE ENCODED_SIZE'");
    manifest_.image = *image;
    return {};
  }
  std::optional<Entry> object = parse_entry(line, "object");
  if (!object) return refuse("must be 'object DIGEST SIZE ENCODED_SIZE'");
  if (!manifest_.objects.empty() && object->digest <= manifest_.objects.back().digest) {
    return refuse("objects must be in ascending order");
  }
  if (object->digest == manifest_.image.digest) return refuse("the image is no object of its own");
  manifest_.objects.push_back(*object);
  return {};
}

Result<> ManifestParser::feed(std::string_view piece) {
  total_bytes_ += piece.size();
  if (total_bytes_ > kMaxManifestBytes) {
    return make_error(ErrorCode::kCorrupt,
                      fmt::format("transport manifest: larger than {} bytes", kMaxManifestBytes));
  }
  while (!piece.empty()) {
    size_t end = piece.find('\n');
    size_t length = std::min(end, piece.size());
    if (partial_line_.size() + length > kMaxLineBytes) {
      return make_error(ErrorCode::kCorrupt,
                        fmt::format("transport manifest: line {}: too long", line_number_ + 1));
    }
    partial_line_ += piece.substr(0, length);
    if (end == std::string_view::npos) return {};
    CFS_TRY(parse_line(partial_line_));
    partial_line_.clear();
    piece.remove_prefix(end + 1);
  }
  return {};
}

Result<Manifest> ManifestParser::finish() {
  if (!partial_line_.empty() || line_number_ < 2) {
    return make_error(ErrorCode::kCorrupt,
                      fmt::format("transport manifest: ends in line {}", line_number_ + 1));
  }
  return std::move(manifest_);
}

Result<Manifest> parse_manifest(std::string_view text) {
  ManifestParser parser;
  CFS_TRY(parser.feed(text));
  return parser.finish();
}

Result<> write_manifest(const Manifest& manifest, const ByteSink& sink) {
  uint64_t total_bytes = 0;
  auto write = [&](const std::string& line) -> Result<> {
    total_bytes += line.size();
    if (total_bytes > kMaxManifestBytes) {
      return make_error(ErrorCode::kInvalidInput,
                        fmt::format("transport manifest: more than {} bytes", kMaxManifestBytes));
    }
    return sink(as_bytes(line));
  };
  CFS_TRY(write(fmt::format("{}\n", kHeader)));
  CFS_TRY(write(format_entry("image", manifest.image)));
  const Entry* previous = nullptr;
  for (const Entry& object : manifest.objects) {
    if (previous != nullptr && object.digest <= previous->digest) {
      return make_error(ErrorCode::kInvalidInput, "transport manifest: objects are not sorted");
    }
    CFS_TRY(write(format_entry("object", object)));
    previous = &object;
  }
  return {};
}

}  // namespace cfs::transport
