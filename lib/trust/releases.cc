// SPDX-License-Identifier: Apache-2.0
#include "lib/trust/releases.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "lib/json/reader.h"
#include "lib/release/layout.h"
#include "lib/trust/verified_maker.h"

namespace cfs::trust {

using json::Reader;
using json::Value;

namespace {

// The "cfs" member of a target's custom, or nothing when it has none.
Result<std::optional<ReleaseTarget>> parse_release_target(const TargetEntry& entry) {
  if (entry.custom.as<Value::Object>() == nullptr) return std::optional<ReleaseTarget>();
  Reader custom(entry.custom, fmt::format("targets.json: custom of '{}'", entry.name));
  std::optional<Reader> reader = CFS_TRY(custom.optional_member("cfs"));
  if (!reader) return std::optional<ReleaseTarget>();
  ReleaseTarget target;
  target.target = entry.name;
  target.name = CFS_TRY(CFS_TRY(reader->member("name")).text(64));
  target.version = CFS_TRY(CFS_TRY(reader->member("version")).text(64));
  target.channel = CFS_TRY(CFS_TRY(reader->member("channel")).text(32));
  target.epoch = CFS_TRY(CFS_TRY(reader->member("epoch")).integer());
  return std::optional(std::move(target));
}

// "gateway (stable, edge), kiosk (stable)". Empty for none.
std::string listing(const std::vector<ReleaseTarget>& releases) {
  constexpr size_t kMaxNames = 20;
  std::map<std::string, std::set<std::string>> channels;
  for (const ReleaseTarget& release : releases) channels[release.name].insert(release.channel);
  std::string text;
  size_t count = 0;
  for (const auto& [name, names_of_channels] : channels) {
    if (++count > kMaxNames) return text + fmt::format(" and {} more", channels.size() - kMaxNames);
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", name,
                        fmt::join(names_of_channels, ", "));
  }
  return text;
}

// Releases in targets metadata with versions above the published one, as `cfs-sign release add`
// leaves it for `publish`. The first file that is missing or wrong ends the search.
std::vector<ReleaseTarget> unpublished_releases(MetadataStore& store, const Fetch& fetch,
                                                const Verified<Targets>& targets) {
  constexpr uint64_t kMaxStaged = 16;
  std::vector<ReleaseTarget> releases;
  for (uint64_t step = 1; step <= kMaxStaged; ++step) {
    Result<std::string> text = fetch_bounded(
        fetch, release::metadata_path(role_name(Role::kTargets), targets->targets_version + step),
        max_size_bytes(Role::kTargets));
    if (!text) break;
    Result<Verified<Targets>> staged = verify_targets(store, Unverified(std::move(*text)));
    if (!staged) break;
    releases = list_releases(*staged);
  }
  std::erase_if(releases, [&](const ReleaseTarget& release) {
    return targets->entries.contains(release.target);
  });
  return releases;
}

}  // namespace

Value release_custom(const release::ReleaseDescription& description) {
  return Value::Object{{"cfs", Value::Object{{"name", description.name},
                                             {"version", description.version},
                                             {"channel", description.channel},
                                             {"epoch", description.epoch}}}};
}

std::vector<ReleaseTarget> list_releases(const Verified<Targets>& targets) {
  std::vector<ReleaseTarget> releases;
  for (const auto& [name, entry] : targets->entries) {
    Result<std::optional<ReleaseTarget>> target = parse_release_target(entry);
    if (target && *target) releases.push_back(std::move(**target));
  }
  std::ranges::sort(releases, {}, [](const ReleaseTarget& release) {
    return std::tie(release.name, release.channel, release.epoch);
  });
  return releases;
}

Result<ReleaseTarget> newest_release(const Verified<Targets>& targets, std::string_view name,
                                     std::string_view channel) {
  const std::vector<ReleaseTarget> releases = list_releases(targets);
  const ReleaseTarget* newest = nullptr;
  const ReleaseTarget* before = nullptr;
  for (const ReleaseTarget& release : releases) {  // sorted by epoch
    if (release.name == name && release.channel == channel)
      before = std::exchange(newest, &release);
  }
  if (newest != nullptr && before != nullptr && newest->epoch == before->epoch) {
    return make_error(ErrorCode::kCorrupt,
                      fmt::format("targets.json: '{}' and '{}' both have epoch {}", before->target,
                                  newest->target, newest->epoch));
  }
  if (newest != nullptr) return *newest;
  const std::string there = listing(releases);
  return make_error(
             ErrorCode::kNotFound,
             fmt::format("the repository has no release of '{}' in channel '{}'", name, channel))
      .with_hint(there.empty() ? "it has no release at all" : "it has: " + there);
}

Result<ReleaseTarget> find_newest_release(MetadataStore& store, const Fetch& fetch,
                                          const Verified<Targets>& targets, std::string_view name,
                                          std::string_view channel) {
  Result<ReleaseTarget> newest = newest_release(targets, name, channel);
  if (newest || newest.error().code != ErrorCode::kNotFound) return newest;
  const std::string staged = listing(unpublished_releases(store, fetch, targets));
  if (!staged.empty()) {
    newest.error().hint += fmt::format("; not published yet ('cfs-sign publish'): {}", staged);
  }
  return newest;
}

Result<Verified<release::ReleaseDescription>> verify_release(const Verified<Targets>& targets,
                                                             std::string_view name,
                                                             Unverified<std::string> content) {
  Verified<std::string> text = CFS_TRY(verify_target(targets, name, std::move(content)));
  const TargetEntry* entry = CFS_TRY(find_target(targets, name));
  std::optional<ReleaseTarget> target = CFS_TRY(parse_release_target(*entry));
  if (!target) {
    return make_error(ErrorCode::kCorrupt, fmt::format("target '{}' is not a release", name));
  }
  release::ReleaseDescription description = CFS_TRY(release::parse_description(*text));
  if (target->name != description.name || target->version != description.version ||
      target->channel != description.channel || target->epoch != description.epoch) {
    return make_error(ErrorCode::kCorrupt,
                      fmt::format("target '{}' is another release than targets.json says", name));
  }
  return internal::VerifiedMaker::make(std::move(description));
}

Result<Verified<release::ReleaseDescription>> fetch_release(const Verified<Targets>& targets,
                                                            std::string_view name,
                                                            const Fetch& fetch) {
  const TargetEntry* entry = CFS_TRY(find_target(targets, name));
  if (entry->size_bytes > release::kMaxDescriptionBytes) {
    return make_error(ErrorCode::kCorrupt,
                      fmt::format("target '{}' is too large for a release description", name));
  }
  std::string content = CFS_TRY(fetch_needed(fetch, entry->path(), entry->size_bytes));
  return verify_release(targets, name, Unverified(std::move(content)));
}

Result<Verified<transport::Manifest>> verify_transport(
    const Verified<release::ReleaseDescription>& description,
    const Unverified<std::string>& content) {
  constexpr std::string_view kWhat = "transport manifest";
  if (!description->transport) {
    return make_error(ErrorCode::kNotFound, "the release description names no transport manifest");
  }
  CFS_TRY(check_bytes(kWhat, content.untrusted(), description->transport->size_bytes,
                      description->transport->sha256));
  transport::Manifest manifest = CFS_TRY(transport::parse_manifest(content.untrusted()));
  uint64_t size_bytes = 0;
  for (const transport::Entry& object : manifest.objects) {
    size_bytes = std::min<uint64_t>(size_bytes + object.size_bytes, json::kMaxInteger);
  }
  if (manifest.image.digest != description->image.digest ||
      manifest.image.size_bytes != description->image.size_bytes ||
      manifest.objects.size() != description->objects.count ||
      size_bytes != description->objects.size_bytes) {
    return make_error(ErrorCode::kCorrupt,
                      fmt::format("{}: does not belong to the release description", kWhat));
  }
  return internal::VerifiedMaker::make(std::move(manifest));
}

Result<Verified<transport::Manifest>> fetch_transport(
    const Verified<release::ReleaseDescription>& description, const Fetch& fetch) {
  if (!description->transport) {
    return make_error(ErrorCode::kNotFound, "the release description names no transport manifest");
  }
  std::string content =
      CFS_TRY(fetch_needed(fetch, release::transport_path(description->image.digest),
                           description->transport->size_bytes));
  return verify_transport(description, Unverified(std::move(content)));
}

}  // namespace cfs::trust
