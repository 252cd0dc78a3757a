// SPDX-License-Identifier: Apache-2.0
//
// The client workflow of The Update Framework (TUF 1.0.34 §5).
//
// Four roles vouch for each other: root names the keys of all; timestamp says which snapshot is the
// latest; snapshot says which targets metadata belongs to it; targets names files by length and
// hash. Each file is signed by its own role's keys, and each is bound by hash and version to the
// one before it, so that a mirror can neither invent (signatures), go back (versions against what
// we saved), stand still (expiry of the short-lived timestamp), combine (hashes and versions), nor
// send without end (a limit on every fetch).
//
// The price is state: what was verified last is saved after every step and read again, and verified
// again, at the next run. A saved file that does not verify counts as absent, so that neither a bad
// disk nor a rotation of keys locks a device out. For the trusted root that means to start again
// from the one that the device was given first: whoever can damage the one file can replace both,
// so nothing is lost, and the chain of roots leads to the newest one again.
#include "lib/trust/client.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/json/canonical.h"
#include "lib/release/layout.h"
#include "lib/trust/announced.h"
#include "lib/trust/metadata.h"
#include "lib/trust/verified_maker.h"
#include "lib/verity/merkle.h"

namespace cfs::trust {

using internal::KnownRole;
using internal::SignedText;

namespace {

constexpr unsigned kMaxRootUpdates = 256;  // in one run; the next run goes on

Result<> check_not_older(std::string_view what, uint64_t version, uint64_t seen) {
  if (version >= seen) return {};
  return make_error(ErrorCode::kRollback, fmt::format("{}: version {} is offered, version {} was "
                                                      "seen before",
                                                      what, version, seen));
}

std::string initial_root_file() { return fmt::format("{}.json", kInitialRootName); }

// A root with its text, and which of the two files it is.
struct SavedRoot {
  RootMetadata root;
  std::string text;
  std::string name;
};

// A root in the store, checked against its own keys: guards against a damaged file only.
Result<std::optional<SavedRoot>> load_root(MetadataStore& store, std::string_view name) {
  std::optional<Unverified<std::string>> content =
      CFS_TRY(store.load(name, max_size_bytes(Role::kRoot)));
  if (!content) return std::optional<SavedRoot>();
  SavedRoot saved{.root = {}, .text = std::move(*content).untrusted(), .name = std::string(name)};
  saved.root = CFS_TRY(verify_first_root(saved.text));
  return std::optional(std::move(saved));
}

// The trusted root, or where it is missing or damaged the initial one.
Result<SavedRoot> load_root(MetadataStore& store) {
  Result<std::optional<SavedRoot>> saved = load_root(store, role_file(Role::kRoot));
  if (saved && *saved) return std::move(**saved);
  Result<std::optional<SavedRoot>> initial = load_root(store, initial_root_file());
  if (initial && *initial) return std::move(**initial);
  if (saved && initial) {
    return make_error(ErrorCode::kNotFound, "there is no trusted root metadata yet")
        .with_hint("initialise the device with the root.json of its repository");
  }
  return Error(saved ? std::move(initial).error() : std::move(saved).error())
      .with("while reading this device's trusted root")
      .with_hint(
          "it is damaged: put a root.json that you trust, such as the one that the device was "
          "initialised with, in its place");
}

// Names the set of keys that may sign targets.
verity::Sha256Digest keys_of_targets(const RootMetadata& root) {
  const std::set<std::string>& ids = root.roles.at(Role::kTargets).key_ids;
  return verity::sha256(as_bytes(json::to_canonical(json::Value::Array(ids.begin(), ids.end()))));
}

Targets make_targets(const RootMetadata& root, TargetsMetadata targets) {
  Targets result;
  result.root_version = root.version;
  result.targets_version = targets.version;
  result.targets_keys = keys_of_targets(root);
  result.expires = std::min(root.expires, targets.expires);
  result.entries = std::move(targets.entries);
  for (auto& [name, entry] : targets.unusable_entries) {
    result.unusable_entries[name] = std::move(entry.problem);
  }
  result.delegations = std::move(targets.delegations);
  return result;
}

// One run of the workflow.
class Update {
 public:
  Update(MetadataStore& store, const Fetch& fetch, UnixTime now)
      : store_(store), fetch_(fetch), now_(now) {}

  Result<Targets> run() {
    CFS_TRY(start_from_saved_root());                                 // §5.2
    CFS_TRY(update_root());                                           // §5.3
    TimestampMetadata timestamp = CFS_TRY(update_timestamp());        // §5.4
    SnapshotMetadata snapshot = CFS_TRY(update_snapshot(timestamp));  // §5.5
    TargetsMetadata targets = CFS_TRY(internal::update_targets(       // §5.6
        store_, fetch_, internal::top_level_role(Role::kTargets, root_),
        snapshot.files.at(role_file(Role::kTargets)), now_));
    Targets result = make_targets(root_, std::move(targets));
    result.announced = std::move(snapshot.files);
    result.timestamp_version = timestamp.version;
    result.snapshot_version = snapshot.version;
    result.expires = std::min({result.expires, timestamp.expires, snapshot.expires});
    return result;
  }

 private:
  Result<> start_from_saved_root() {
    SavedRoot saved = CFS_TRY(load_root(store_));
    if (saved.name == initial_root_file()) CFS_TRY(store_.save(role_file(Role::kRoot), saved.text));
    root_ = std::move(saved.root);
    return {};
  }

  Result<> update_root() {
    for (unsigned count = 0; count < kMaxRootUpdates; ++count) {
      Result<std::string> content = fetch_bounded(
          fetch_, release::metadata_path("root", root_.version + 1), max_size_bytes(Role::kRoot));
      if (!content && content.error().code == ErrorCode::kNotFound) break;
      if (!content) return std::move(content).error();

      RootMetadata next = CFS_TRY(verify_next_root(root_, *content));
      // §5.3.11, fast-forward recovery: versions that a stolen key drove up must not outlive it.
      // Done for each root and before it is saved: after a failure or a power cut the old root is
      // still there and the next run comes here again.
      if (next.roles.at(Role::kTimestamp) != root_.roles.at(Role::kTimestamp) ||
          next.roles.at(Role::kSnapshot) != root_.roles.at(Role::kSnapshot)) {
        CFS_TRY(store_.remove(role_file(Role::kTimestamp)));
        CFS_TRY(store_.remove(role_file(Role::kSnapshot)));
      }
      CFS_TRY(store_.save(role_file(Role::kRoot), *content));
      root_ = std::move(next);
    }
    return internal::check_not_expired(role_file(Role::kRoot), root_, now_);
  }

  Result<TimestampMetadata> update_timestamp() {
    std::optional<TimestampMetadata> saved;
    const KnownRole role = internal::top_level_role(Role::kTimestamp, root_);
    if (std::optional<SignedText> found = CFS_TRY(internal::load_saved(store_, role))) {
      Result<TimestampMetadata> parsed = parse_timestamp(found->document);
      if (parsed) saved = *parsed;
    }
    std::string content = CFS_TRY(fetch_needed(fetch_, std::string(release::kTimestampPath),
                                               max_size_bytes(Role::kTimestamp)));
    SignedDocument document = CFS_TRY(parse_document(Role::kTimestamp, content));
    CFS_TRY(check_signatures(root_, document));
    TimestampMetadata timestamp = CFS_TRY(parse_timestamp(document));
    if (saved) {
      CFS_TRY(check_not_older("timestamp.json", timestamp.version, saved->version));
      if (timestamp.version == saved->version) {
        CFS_TRY(internal::check_not_expired(role.file, *saved, now_));
        return *saved;
      }
      CFS_TRY(check_not_older("snapshot.json in timestamp.json", timestamp.snapshot.version,
                              saved->snapshot.version));
    }
    CFS_TRY(internal::check_not_expired(role.file, timestamp, now_));
    CFS_TRY(store_.save(role.file, content));
    return timestamp;
  }

  Result<SnapshotMetadata> update_snapshot(const TimestampMetadata& timestamp) {
    const KnownRole role = internal::top_level_role(Role::kSnapshot, root_);
    const FileMeta& meta = timestamp.snapshot;
    std::optional<SnapshotMetadata> saved;
    if (std::optional<SignedText> found = CFS_TRY(internal::load_saved(store_, role))) {
      if (Result<SnapshotMetadata> parsed = parse_snapshot(found->document)) {
        if (internal::is_announced(meta, parsed->version, found->text)) {
          CFS_TRY(internal::check_not_expired(role.file, *parsed, now_));
          return std::move(*parsed);
        }
        saved = std::move(*parsed);
      }
    }
    SignedText fetched = CFS_TRY(internal::fetch_announced(fetch_, role, meta));
    SnapshotMetadata snapshot = CFS_TRY(parse_snapshot(fetched.document));
    CFS_TRY(internal::check_announced_version(role, snapshot.version, meta));
    if (saved) {
      for (const auto& [name, file] : saved->files) {
        auto now_listed = snapshot.files.find(name);
        if (now_listed == snapshot.files.end()) {
          return make_error(ErrorCode::kRollback,
                            fmt::format("snapshot.json: no longer has '{}'", name));
        }
        CFS_TRY(check_not_older(fmt::format("{} in snapshot.json", name),
                                now_listed->second.version, file.version));
      }
    }
    CFS_TRY(internal::check_not_expired(role.file, snapshot, now_));
    CFS_TRY(store_.save(role.file, fetched.text));
    return snapshot;
  }

  MetadataStore& store_;
  const Fetch& fetch_;
  UnixTime now_;
  RootMetadata root_;
};

}  // namespace

Result<RootMetadata> verify_first_root(std::string_view text) {
  SignedDocument document = CFS_TRY(parse_document(Role::kRoot, text));
  RootMetadata root = CFS_TRY(parse_root(document));
  CFS_TRY(check_signatures(root, document));
  return root;
}

Result<RootMetadata> verify_next_root(const RootMetadata& trusted, std::string_view text) {
  SignedDocument document = CFS_TRY(parse_document(Role::kRoot, text));
  CFS_TRY_WITH("checking against the trusted root", check_signatures(trusted, document));
  RootMetadata next = CFS_TRY(parse_root(document));
  if (next.version != trusted.version + 1) {
    return make_error(ErrorCode::kRollback,
                      fmt::format("root.json: version {} is offered as version {}", next.version,
                                  trusted.version + 1));
  }
  CFS_TRY_WITH("checking against its own keys", check_signatures(next, document));
  return next;
}

Result<> trust_root(MetadataStore& store, const Unverified<std::string>& root) {
  CFS_TRY(verify_first_root(root.untrusted()));
  for (Role role : {Role::kTimestamp, Role::kSnapshot, Role::kTargets}) {
    CFS_TRY(store.remove(role_file(role)));
  }
  CFS_TRY(store.save(initial_root_file(), root.untrusted()));
  return store.save(role_file(Role::kRoot), root.untrusted());
}

Result<Verified<Targets>> refresh(MetadataStore& store, const Fetch& fetch, UnixTime now) {
  return internal::VerifiedMaker::make(CFS_TRY(Update(store, fetch, now).run()));
}

Result<Verified<Targets>> verify_targets(MetadataStore& store,
                                         const Unverified<std::string>& text) {
  RootMetadata root = CFS_TRY(load_root(store)).root;
  SignedDocument document = CFS_TRY(parse_document(Role::kTargets, text.untrusted()));
  CFS_TRY(check_signatures(root, document));
  return internal::VerifiedMaker::make(make_targets(root, CFS_TRY(parse_targets(document))));
}

Result<Verified<Targets>> load_trusted(MetadataStore& store) {
  CFS_TRY(load_root(store));  // what is wrong with it comes first
  std::optional<Unverified<std::string>> content =
      CFS_TRY(store.load(role_file(Role::kTargets), max_size_bytes(Role::kTargets)));
  if (!content) {
    return make_error(ErrorCode::kNotFound, "no metadata of the repository has been fetched yet")
        .with_hint("update first");
  }
  return verify_targets(store, *content);
}

Result<std::optional<UnixTime>> expiry_of_saved_timestamp(MetadataStore& store) {
  std::optional<UnixTime> expires;
  const RootMetadata root = CFS_TRY(load_root(store)).root;
  std::optional<SignedText> saved =
      CFS_TRY(internal::load_saved(store, internal::top_level_role(Role::kTimestamp, root)));
  if (!saved) return expires;
  if (Result<TimestampMetadata> timestamp = parse_timestamp(saved->document)) {
    expires = timestamp->expires;
  }
  return expires;
}

Result<const TargetEntry*> find_target(const Verified<Targets>& targets, std::string_view name) {
  auto found = targets->entries.find(name);
  if (found != targets->entries.end()) return &found->second;
  auto unusable = targets->unusable_entries.find(name);
  if (unusable != targets->unusable_entries.end()) {
    return make_error(ErrorCode::kUnsupported,
                      fmt::format("the target '{}' cannot be used: {}", name, unusable->second));
  }
  return make_error(ErrorCode::kNotFound, fmt::format("the repository has no target '{}'", name));
}

Result<Verified<std::string>> verify_target(const Verified<Targets>& targets, std::string_view name,
                                            Unverified<std::string> content) {
  const TargetEntry* entry = CFS_TRY(find_target(targets, name));
  CFS_TRY(check_bytes(name, content.untrusted(), entry->size_bytes, entry->hash));
  return internal::VerifiedMaker::make(std::move(content).untrusted());
}

}  // namespace cfs::trust
