// SPDX-License-Identifier: Apache-2.0
#include "lib/trust/announced.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/release/layout.h"

namespace cfs::trust::internal {
namespace {

// A name that is a file name and a part of a URL: all but letters, digits, '-', '_', '.' and '~' is
// written as '%' and two hex digits.
std::string escaped(std::string_view role) {
  std::string result;
  for (char c : role) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-_~.").find(c) != std::string_view::npos;
    result += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return result;
}

}  // namespace

KnownRole top_level_role(Role role, const RootMetadata& root) {
  return {.file = role_file(role),
          .file_name = std::string(role_name(role)),
          .max_size_bytes = max_size_bytes(role),
          .parse = [role](std::string_view text) { return parse_document(role, text); },
          .check_signatures =
              [&root](const SignedDocument& document) {
                return trust::check_signatures(root, document);
              }};
}

KnownRole delegated_role(const Delegation& delegation, const Delegations& delegations) {
  const std::string name = escaped(delegation.role);
  return {.file = fmt::format("{}.json", name),
          .file_name = name,
          .max_size_bytes = max_size_bytes(Role::kTargets),
          .parse =
              [name](std::string_view text) {
                return parse_delegated_document(fmt::format("{}.json", name), text);
              },
          .check_signatures =
              [&](const SignedDocument& document) {
                return trust::check_signatures(delegations, delegation.keys, document,
                                               "its delegation");
              }};
}

Result<std::optional<SignedText>> load_saved(MetadataStore& store, const KnownRole& role) {
  Result<std::optional<Unverified<std::string>>> content =
      store.load(role.file, role.max_size_bytes);
  if (!content && content.error().code != ErrorCode::kCorrupt && !is_lost_by_disk(content.error()))
    return std::move(content).error();
  if (!content || !*content) return std::optional<SignedText>();
  Result<SignedDocument> document = role.parse((*content)->untrusted());
  if (!document || !role.check_signatures(*document)) return std::optional<SignedText>();
  return std::optional(SignedText{std::move(**content).untrusted(), std::move(*document)});
}

Result<SignedText> fetch_announced(const Fetch& fetch, const KnownRole& role,
                                   const FileMeta& meta) {
  size_t limit_bytes = role.max_size_bytes;
  if (meta.length_bytes) limit_bytes = std::min<uint64_t>(limit_bytes, *meta.length_bytes);
  std::string text = CFS_TRY(
      fetch_needed(fetch, release::metadata_path(role.file_name, meta.version), limit_bytes));
  CFS_TRY(check_bytes(role.file, text, meta.length_bytes, meta.hash));
  SignedDocument document = CFS_TRY(role.parse(text));
  CFS_TRY(role.check_signatures(document));
  return SignedText{std::move(text), std::move(document)};
}

bool is_announced(const FileMeta& meta, uint64_t version, std::string_view text) {
  return version == meta.version && check_bytes("", text, meta.length_bytes, meta.hash);
}

Result<> check_announced_version(const KnownRole& role, uint64_t version, const FileMeta& meta) {
  if (version == meta.version) return {};
  return make_error(ErrorCode::kDigestMismatch, fmt::format("{}: has version {}, {} was announced",
                                                            role.file, version, meta.version));
}

Result<> check_not_expired(std::string_view file, const CommonFields& common, UnixTime now) {
  if (common.expires > now) return {};
  return make_error(ErrorCode::kExpired, fmt::format("{} expired at {}, and it is {}", file,
                                                     format_time(common.expires), format_time(now)))
      .with_hint("publish the repository again, or check the clock of this machine");
}

Result<TargetsMetadata> update_targets(MetadataStore& store, const Fetch& fetch,
                                       const KnownRole& role, const FileMeta& meta, UnixTime now) {
  if (std::optional<SignedText> found = CFS_TRY(load_saved(store, role))) {
    Result<TargetsMetadata> parsed = parse_targets(found->document);
    if (parsed && is_announced(meta, parsed->version, found->text)) {
      CFS_TRY(check_not_expired(role.file, *parsed, now));
      return std::move(*parsed);
    }
  }
  SignedText fetched = CFS_TRY(fetch_announced(fetch, role, meta));
  TargetsMetadata targets = CFS_TRY(parse_targets(fetched.document));
  CFS_TRY(check_announced_version(role, targets.version, meta));
  CFS_TRY(check_not_expired(role.file, targets, now));
  CFS_TRY(store.save(role.file, fetched.text));
  return targets;
}

}  // namespace cfs::trust::internal
