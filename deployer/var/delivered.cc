// SPDX-License-Identifier: Apache-2.0
#include "deployer/var/delivered.h"

#include <utility>

#include "lib/base/relative_path.h"

namespace cfs::deployer {
namespace {

constexpr std::string_view kFirstLine = "cfs-var-delivered 1";
constexpr std::string_view kImage = "image ";
constexpr std::string_view kUnderWay = "-";
constexpr std::string_view kNothing = "-";
constexpr std::string_view kAnyDirectory = "*";

Error damaged(const std::string& what) {
  return make_error(ErrorCode::kCorrupt, "var-delivered: " + what);
}

/// Takes what stands before the next `separator` off `text`; nothing when there is none.
std::optional<std::string_view> take(std::string_view& text, char separator) {
  size_t end = text.find(separator);
  if (end == std::string_view::npos) return std::nullopt;
  std::string_view part = text.substr(0, end);
  text.remove_prefix(end + 1);
  return part;
}

/// One item of the list of what an entry may be.
bool add_item(std::string_view item, Delivered& delivered) {
  if (item == kNothing) return !std::exchange(delivered.or_nothing, true);
  if (item == kAnyDirectory) return !std::exchange(delivered.or_any_directory, true);
  std::optional<Fingerprint> fingerprint = Fingerprint::parse(item);
  return fingerprint && delivered.fingerprints.insert(*fingerprint).second;
}

}  // namespace

Result<DeliveryRecord> parse_delivery_record(std::string_view text) {
  DeliveryRecord record;
  if (take(text, '\n') != kFirstLine) return damaged("does not begin as it must");
  std::string_view image = take(text, '\n').value_or("");
  if (!image.starts_with(kImage)) return damaged("the second line must be 'image DIGEST'");
  image.remove_prefix(kImage.size());
  if (image != kUnderWay) {
    record.image = verity::Digest::parse(image);
    if (!record.image) return damaged("the second line has no digest");
  }
  while (!text.empty()) {
    std::string_view line = take(text, '\n').value_or("");
    auto policy = sysroot::policy_of_name(take(line, ' ').value_or(""));
    std::string_view items = take(line, ' ').value_or("");
    if (!policy || items.empty() || (line != "." && !is_plain_path(line))) {
      return damaged("every other line must be 'POLICY FINGERPRINTS PATH'");
    }
    Delivered delivered{.policy = *policy};
    for (;;) {
      std::optional<std::string_view> item = take(items, ',');
      if (!add_item(item.value_or(items), delivered)) return damaged("a bad fingerprint");
      if (!item) break;
    }
    if (!record.entries.emplace(line, std::move(delivered)).second) {
      return damaged("a path stands there twice");
    }
  }
  return record;
}

std::string serialise_delivery_record(const DeliveryRecord& record) {
  std::string text = std::string(kFirstLine) + "\n" + std::string(kImage) +
                     (record.image ? record.image->hex() : std::string(kUnderWay)) + "\n";
  for (const auto& [path, delivered] : record.entries) {
    text += std::string(sysroot::policy_name(delivered.policy)) + " ";
    std::string items;
    auto add = [&](std::string_view item) {
      if (!items.empty()) items += ',';
      items += item;
    };
    if (delivered.or_nothing) add(kNothing);
    if (delivered.or_any_directory) add(kAnyDirectory);
    for (const Fingerprint& fingerprint : delivered.fingerprints) add(fingerprint.hex());
    text += items + " " + path + "\n";
  }
  return text;
}

}  // namespace cfs::deployer
