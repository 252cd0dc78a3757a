// SPDX-License-Identifier: Apache-2.0
#include "lib/release/description.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/time.h"
#include "lib/json/canonical.h"
#include "lib/json/reader.h"
#include "lib/kernel_cmdline/command_line.h"
#include "lib/transport/manifest.h"

namespace cfs::release {
namespace {

constexpr std::string_view kWhat = "release.json";
constexpr std::string_view kLowerAndDigits = "abcdefghijklmnopqrstuvwxyz0123456789";
constexpr std::string_view kLettersAndDigits =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

// The form of a name: its first character is one of `first`, later ones may also be of `others`.
struct NameRule {
  std::string_view first;
  std::string_view others;
  size_t max_bytes;
  std::string_view text;  // for messages
};

constexpr NameRule kNameRule{kLowerAndDigits, ".-", 64, "[a-z0-9][a-z0-9.-]{0,63}"};
constexpr NameRule kVersionRule{kLettersAndDigits, ".+~-", 64, "[A-Za-z0-9][A-Za-z0-9.+~-]{0,63}"};
constexpr NameRule kWordRule{kLowerAndDigits, "-", 32, "[a-z0-9][a-z0-9-]{0,31}"};
constexpr NameRule kBoardRule{kLettersAndDigits, ".,_-", 128, "[A-Za-z0-9][A-Za-z0-9.,_-]{0,127}"};
constexpr NameRule kFileRule{kLettersAndDigits, ".+~_-", kMaxFileNameBytes,
                             "[A-Za-z0-9][A-Za-z0-9.+~_-]{0,127}"};

bool matches(std::string_view text, const NameRule& rule) {
  auto in = [](std::string_view set, char c) { return set.find(c) != std::string_view::npos; };
  return !text.empty() && text.size() <= rule.max_bytes && in(rule.first, text[0]) &&
         std::ranges::all_of(text, [&](char c) { return in(rule.first, c) || in(rule.others, c); });
}

Result<std::string> read_name(const json::Reader& reader, const NameRule& rule) {
  const auto* text = reader.value().as<std::string>();
  if (text == nullptr || !matches(*text, rule)) {
    return reader.refuse(fmt::format("must match {}", rule.text));
  }
  return *text;
}

// A line of printable ASCII.
Result<std::string> read_line(const json::Reader& reader, size_t max_bytes) {
  std::string text = CFS_TRY(reader.text(max_bytes));
  if (!std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; })) {
    return reader.refuse("must be printable ASCII");
  }
  return text;
}

Result<> check_pinned_digest(const json::Reader& cmdline, std::string_view text,
                             const verity::Digest& image) {
  Result<verity::Digest> pinned = kernel_cmdline::pinned_digest(text);
  if (!pinned && pinned.error().code == ErrorCode::kNotFound) return {};
  if (!pinned) return cmdline.refuse("pins no image: " + pinned.error().message);
  if (*pinned != image) return cmdline.refuse("pins another image than this release's");
  return {};
}

json::Value to_json(const ReleaseDescription& description) {
  json::Value::Array compatible;
  for (const std::string& board : description.compatible) compatible.emplace_back(board);
  json::Value::Array files;
  for (const ReleaseFile& file : description.files) {
    files.emplace_back(json::Value::Object{{"name", file.name},
                                           {"role", file.role},
                                           {"sha256", file.sha256.hex()},
                                           {"size", file.size_bytes}});
  }
  json::Value::Object object{
      {"schema", uint64_t{kDescriptionSchema}},
      {"name", description.name},
      {"version", description.version},
      {"epoch", description.epoch},
      {"arch", description.arch},
      {"channel", description.channel},
      {"compatible", std::move(compatible)},
      {"created", description.created},
      {"image", json::Value::Object{{"digest", description.image.digest.hex()},
                                    {"size", description.image.size_bytes}}},
      {"objects", json::Value::Object{{"count", description.objects.count},
                                      {"size", description.objects.size_bytes}}},
      {"kernel", json::Value::Object{{"version", description.kernel.version},
                                     {"cmdline", description.kernel.cmdline}}},
      {"files", std::move(files)},
  };
  if (description.state_version != 0) object.emplace("state_version", description.state_version);
  if (description.transport) {
    object.emplace("transport", json::Value::Object{{"sha256", description.transport->sha256.hex()},
                                                    {"size", description.transport->size_bytes}});
  }
  return object;
}

}  // namespace

const ReleaseFile* ReleaseDescription::file_with_role(std::string_view role) const {
  auto found = std::ranges::find(files, role, &ReleaseFile::role);
  return found == files.end() ? nullptr : &*found;
}

bool is_release_name(std::string_view text) { return matches(text, kNameRule); }
bool is_version(std::string_view text) { return matches(text, kVersionRule); }
bool is_channel(std::string_view text) { return matches(text, kWordRule); }
bool is_board(std::string_view text) { return matches(text, kBoardRule); }

Result<ReleaseDescription> parse_description(std::string_view text) {
  json::Value json = CFS_TRY(json::parse(text, {.size_bytes = kMaxDescriptionBytes}, kWhat));
  json::Reader reader(json, std::string(kWhat));
  uint64_t schema = CFS_TRY(CFS_TRY(reader.member("schema")).integer());
  if (schema != kDescriptionSchema) {
    return make_error(ErrorCode::kUnsupported,
                      fmt::format("{}: schema {} is not known", kWhat, schema))
        .with_hint("a newer cfs may read it");
  }
  ReleaseDescription description;
  description.name = CFS_TRY(read_name(CFS_TRY(reader.member("name")), kNameRule));
  description.version = CFS_TRY(read_name(CFS_TRY(reader.member("version")), kVersionRule));
  description.epoch = CFS_TRY(CFS_TRY(reader.member("epoch")).integer());
  description.arch = CFS_TRY(read_name(CFS_TRY(reader.member("arch")), kWordRule));
  description.channel = CFS_TRY(read_name(CFS_TRY(reader.member("channel")), kWordRule));
  for (const json::Reader& board :
       CFS_TRY(CFS_TRY(reader.member("compatible")).elements(kMaxBoards))) {
    description.compatible.push_back(CFS_TRY(read_name(board, kBoardRule)));
  }
  description.created = CFS_TRY(CFS_TRY(reader.member("created")).integer(0, kMaxTime));

  json::Reader image = CFS_TRY(reader.member("image"));
  description.image.digest = CFS_TRY(CFS_TRY(image.member("digest")).sha256());
  description.image.size_bytes = CFS_TRY(CFS_TRY(image.member("size")).integer(1));

  json::Reader objects = CFS_TRY(reader.member("objects"));
  description.objects.count = CFS_TRY(CFS_TRY(objects.member("count")).integer());
  description.objects.size_bytes = CFS_TRY(CFS_TRY(objects.member("size")).integer());

  json::Reader kernel = CFS_TRY(reader.member("kernel"));
  description.kernel.version = CFS_TRY(read_line(CFS_TRY(kernel.member("version")), 128));
  json::Reader cmdline = CFS_TRY(kernel.member("cmdline"));
  description.kernel.cmdline = CFS_TRY(read_line(cmdline, 4096));
  CFS_TRY(check_pinned_digest(cmdline, description.kernel.cmdline, description.image.digest));

  for (const json::Reader& element : CFS_TRY(CFS_TRY(reader.member("files")).elements(64))) {
    ReleaseFile file;
    json::Reader name = CFS_TRY(element.member("name"));
    file.name = CFS_TRY(read_name(name, kFileRule));
    if (file.name == kWhat || file.name.ends_with(".release.json")) {
      return name.refuse("has a release description's name");
    }
    if (std::ranges::find(description.files, file.name, &ReleaseFile::name) !=
        description.files.end()) {
      return name.refuse("occurs twice");
    }
    file.role = CFS_TRY(read_name(CFS_TRY(element.member("role")), kWordRule));
    file.sha256 = CFS_TRY(CFS_TRY(element.member("sha256")).sha256());
    file.size_bytes = CFS_TRY(CFS_TRY(element.member("size")).integer());
    description.files.push_back(std::move(file));
  }

  if (std::optional<json::Reader> version = CFS_TRY(reader.optional_member("state_version"))) {
    description.state_version = CFS_TRY(version->integer());
  }
  if (std::optional<json::Reader> transport = CFS_TRY(reader.optional_member("transport"))) {
    description.transport = ReleaseDescription::Transport{
        .sha256 = CFS_TRY(CFS_TRY(transport->member("sha256")).sha256()),
        .size_bytes =
            CFS_TRY(CFS_TRY(transport->member("size")).integer(1, transport::kMaxManifestBytes))};
  }
  return description;
}

Result<std::string> serialise_description(const ReleaseDescription& description) {
  std::vector<uint64_t> numbers{description.epoch,         description.created,
                                description.state_version, description.image.size_bytes,
                                description.objects.count, description.objects.size_bytes};
  for (const ReleaseFile& file : description.files) numbers.push_back(file.size_bytes);
  if (description.transport) numbers.push_back(description.transport->size_bytes);
  for (uint64_t number : numbers) {
    if (number > uint64_t{json::kMaxInteger}) {
      return make_error(ErrorCode::kInvalidInput,
                        fmt::format("{}: the number {} is too large", kWhat, number));
    }
  }
  std::string text = json::to_canonical(to_json(description)) + "\n";
  // One set of rules: what our reader refuses is not written.
  Result<ReleaseDescription> parsed = parse_description(text);
  if (!parsed) {
    Error error = std::move(parsed).error();
    error.code = ErrorCode::kInvalidInput;
    return error;
  }
  return text;
}

}  // namespace cfs::release
