// SPDX-License-Identifier: Apache-2.0
#include "signer/repository.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "lib/base/atomic_file.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/work_directory.h"
#include "lib/json/value.h"
#include "lib/release/layout.h"

namespace cfs::signer {

using trust::Role;

namespace {

constexpr UnixTime kDay = 86400;
constexpr const char* kLock = ".cfs-sign.lock";
const std::string kMetadata(release::kMetadataDirectory);

// Files to write, in this order.
using Files = std::vector<std::pair<std::string, std::string>>;

std::string metadata_path(Role role, uint64_t version) {
  if (role == Role::kTimestamp) return std::string(release::kTimestampPath);
  return release::metadata_path(trust::role_name(role), version);
}

// Appends snapshot and timestamp for the given targets.
Result<> add_snapshot_and_timestamp(Files& files, const Signers& snapshot_signers,
                                    const Signers& timestamp_signers,
                                    const trust::FileMeta& targets, uint64_t snapshot_version,
                                    uint64_t timestamp_version, UnixTime expires) {
  trust::SnapshotMetadata snapshot;
  snapshot.version = snapshot_version;
  snapshot.expires = expires;
  snapshot.files[trust::role_file(Role::kTargets)] = targets;
  std::string snapshot_text =
      CFS_TRY(sign_document(Role::kSnapshot, trust::to_json(snapshot), snapshot_signers));
  trust::TimestampMetadata timestamp;
  timestamp.version = timestamp_version;
  timestamp.expires = expires;
  timestamp.snapshot = trust::describe_file(snapshot_version, snapshot_text);
  std::string timestamp_text =
      CFS_TRY(sign_document(Role::kTimestamp, trust::to_json(timestamp), timestamp_signers));
  files.emplace_back(metadata_path(Role::kSnapshot, snapshot_version), std::move(snapshot_text));
  files.emplace_back(metadata_path(Role::kTimestamp, timestamp_version), std::move(timestamp_text));
  return {};
}

// The last check before anything is written: runs as a device that knows `first_root` on the
// repository with `files` added.
Result<Published> check_as_device(int directory_fd, const Files& files,
                                  const std::string& first_root, UnixTime now) {
  trust::MetadataInMemory store;
  CFS_TRY(trust::trust_root(store, Unverified(first_root)));
  trust::Fetch fetch = [&](const std::string& path,
                           size_t limit_bytes) -> Result<Unverified<std::string>> {
    auto found = std::ranges::find(files, path, &Files::value_type::first);
    if (found != files.end()) return Unverified(found->second);
    return Unverified(CFS_TRY(read_repository_file(directory_fd, path, limit_bytes)));
  };
  trust::Verified<trust::Targets> targets =
      CFS_TRY_WITH("checking the new metadata as a device does", trust::refresh(store, fetch, now));
  return Published{.root_version = targets->root_version,
                   .targets_version = targets->targets_version,
                   .snapshot_version = targets->snapshot_version,
                   .timestamp_version = targets->timestamp_version,
                   .expires = targets->expires,
                   .notes = {}};
}

Result<uint64_t> next_version(uint64_t version) {
  if (version < uint64_t{json::kMaxInteger}) return version + 1;
  return make_error(ErrorCode::kInvalidInput, "the repository's version numbers are used up");
}

// Anybody who may read the repository can open and so lock its directory; this file only its owner.
Result<FileLock> take_lock(int directory_fd, const std::string& path) {
  UniqueFd file = CFS_TRY_WITH(fmt::format("locking '{}'", path),
                               open_at(directory_fd, kLock, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  Result<FileLock> lock = FileLock::try_take(std::move(file), LockMode::kExclusive);
  if (lock || lock.error().code != ErrorCode::kBusy) return lock;
  return make_error(ErrorCode::kBusy, fmt::format("another cfs-sign is working on '{}'", path));
}

Result<bool> exists(int dir_fd, const std::string& path) {
  Result<struct stat> status = stat_at(dir_fd, path, AT_SYMLINK_NOFOLLOW);
  if (!status && status.error().code == ErrorCode::kNotFound) return false;
  if (!status) return std::move(status).error();
  return true;
}

// `file` as its next version, which lasts until `expires` at least.
Result<MetadataFile> renew(const MetadataFile& file, const Signers& signers, UnixTime expires) {
  const Role role = file.document.role;
  json::Value content = file.document.content;
  trust::set_version(content, {.version = CFS_TRY(next_version(file.common.version)),
                               .expires = std::max(file.common.expires, expires)});
  return parse_metadata_file(role, CFS_TRY(sign_document(role, std::move(content), signers)));
}

std::string not_renewed(const MetadataFile& file, const Error& reason) {
  return fmt::format("{} was not renewed and expires {}: {}", trust::role_file(file.document.role),
                     format_time(file.common.expires), reason.message);
}

}  // namespace

Result<Published> Repository::create(const std::string& path, const KeyDirectory& keys,
                                     const Lifetimes& lifetimes, UnixTime now) {
  trust::RootMetadata root;
  for (Role role : trust::kRoles) {
    const Signers signers = CFS_TRY(keys.load(role));
    if (signers.empty()) {
      return make_error(ErrorCode::kNotFound,
                        fmt::format("there is no key '{}'", keys.key_path(role)));
    }
    for (const std::unique_ptr<Signer>& signer : signers) {
      root.keys.emplace(signer->public_key().id(), signer->public_key());
      root.roles[role].key_ids.insert(signer->public_key().id());
    }
  }
  CFS_TRY(make_directories(AT_FDCWD, path));
  UniqueFd directory = CFS_TRY(open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY));
  FileLock lock = CFS_TRY(take_lock(directory.get(), path));
  if (CFS_TRY(exists(directory.get(), kMetadata))) {
    return make_error(ErrorCode::kExists, fmt::format("'{}' is a repository already", path));
  }

  const UnixTime expires = now + lifetimes.published_days * kDay;
  root.version = 1;
  root.expires = std::max(expires, now + Lifetimes::kRootDays * kDay);
  trust::TargetsMetadata targets;
  targets.version = 1;
  targets.expires = std::max(expires, now + Lifetimes::kTargetsDays * kDay);

  std::string root_text = CFS_TRY(sign_document(Role::kRoot, trust::to_json(root),
                                                CFS_TRY(keys.load_enough(Role::kRoot, root))));
  std::string targets_text = CFS_TRY(sign_document(
      Role::kTargets, trust::to_json(targets), CFS_TRY(keys.load_enough(Role::kTargets, root))));
  Files files{{metadata_path(Role::kRoot, 1), root_text},
              {metadata_path(Role::kTargets, 1), targets_text}};
  CFS_TRY(add_snapshot_and_timestamp(files, CFS_TRY(keys.load_enough(Role::kSnapshot, root)),
                                     CFS_TRY(keys.load_enough(Role::kTimestamp, root)),
                                     trust::describe_file(1, targets_text), 1, 1, expires));
  Published published = CFS_TRY(check_as_device(directory.get(), files, root_text, now));

  // All four appear at once.
  WorkDirectory work = CFS_TRY(WorkDirectory::create(directory.get(), ".", kWorkPrefix));
  for (const auto& [name, text] : files) {
    CFS_TRY(check_interrupted());
    CFS_TRY(write_file_atomically(work.fd(), name.substr(name.rfind('/') + 1), as_bytes(text)));
  }
  CFS_TRY(work.publish(directory.get(), kMetadata, 0755, Existing::kRefuse));
  return published;
}

Result<Repository> Repository::open(const std::string& path) {
  UniqueFd directory = CFS_TRY(open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY));
  if (!CFS_TRY(exists(directory.get(), kMetadata))) {
    return make_error(ErrorCode::kNotFound, fmt::format("'{}' is not a release repository", path))
        .with_hint("make one with 'cfs-sign init'");
  }
  FileLock lock = CFS_TRY(take_lock(directory.get(), path));
  CFS_TRY(TemporaryName::remove_stale(directory.get(), kWorkPrefix));
  UniqueFd metadata = CFS_TRY(open_at(directory.get(), kMetadata, O_RDONLY | O_DIRECTORY));
  CFS_TRY(TemporaryName::remove_stale(metadata.get(), kTemporaryPrefix));
  return Repository(std::move(directory), std::move(lock));
}

Result<Repository::Draft> Repository::find_draft(const PublishedState& published) const {
  const uint64_t version = published.targets().common.version;
  const std::vector<uint64_t> versions =
      CFS_TRY(versions_on_disk(directory_.get(), Role::kTargets));
  const uint64_t latest = std::max(version, versions.empty() ? 0 : versions.back());
  if (latest == version) {
    trust::Verified<trust::Targets> targets =
        CFS_TRY(published.verify_targets(published.targets()));
    return Draft{.file = published.targets(), .targets = std::move(targets), .is_staged = false};
  }

  const std::string path = metadata_path(Role::kTargets, latest);
  auto check = [&]() -> Result<Draft> {
    MetadataFile file = CFS_TRY(read_metadata_file(directory_.get(), Role::kTargets, path));
    trust::Verified<trust::Targets> staged = CFS_TRY(published.verify_targets(file));
    if (staged->targets_version != latest) {
      return make_error(ErrorCode::kRollback,
                        fmt::format("targets.json: version {} has the name of version {}",
                                    staged->targets_version, latest));
    }
    trust::Verified<trust::Targets> before = CFS_TRY(published.verify_targets(published.targets()));
    for (const auto& [name, entry] : before->entries) {
      auto found = staged->entries.find(name);
      if (found == staged->entries.end() || found->second != entry) {
        return make_error(ErrorCode::kRollback,
                          fmt::format("targets.json: version {} does not have the '{}' that is "
                                      "published in version {}",
                                      latest, name, version));
      }
    }
    return Draft{.file = std::move(file), .targets = std::move(staged), .is_staged = true};
  };
  Result<Draft> staged = check();
  if (staged) return staged;
  return Error(std::move(staged).error())
      .with(fmt::format("looking at what is staged in '{}'", path))
      .with_hint("remove that file, then add again the releases that were not published yet");
}

Result<> Repository::check_draft(const Draft& draft, const PublishedState& published,
                                 const KeyDirectory& keys) {
  CFS_TRY(published.check_is_ours(published.targets(), keys));
  return published.check_is_ours(draft.file, keys);
}

Result<Repository::Draft> Repository::draft(const KeyDirectory& keys) const {
  PublishedState published = CFS_TRY(PublishedState::read(directory_.get()));
  CFS_TRY(keys.load_enough(Role::kTargets, published.root()));
  Draft draft = CFS_TRY(find_draft(published));
  CFS_TRY(check_draft(draft, published, keys));
  return draft;
}

Result<uint64_t> Repository::stage(const Draft& draft, const KeyDirectory& keys,
                                   const std::vector<trust::TargetEntry>& entries, UnixTime now) {
  PublishedState published = CFS_TRY(PublishedState::read(directory_.get()));
  const Signers signers = CFS_TRY(keys.load_enough(Role::kTargets, published.root()));
  MetadataFile file = draft.file;
  for (const trust::TargetEntry& entry : entries) {
    trust::set_target(file.document.content, entry);
  }
  file = CFS_TRY(renew(file, signers, now + Lifetimes::kTargetsDays * kDay));
  if (!published.is_signed_for_devices(file)) {
    return make_error(ErrorCode::kInternal, "devices do not accept the new targets metadata");
  }
  CFS_TRY(write_file_atomically(
      directory_.get(), metadata_path(Role::kTargets, file.common.version), as_bytes(file.text)));
  return file.common.version;
}

// The highest version of a snapshot that we made, published or not. timestamp.json may have been
// restored from a copy: then it leads to an older snapshot than devices have seen.
Result<uint64_t> Repository::highest_snapshot_version(const PublishedState& published,
                                                      const KeyDirectory& keys) const {
  std::vector<uint64_t> versions = CFS_TRY(versions_on_disk(directory_.get(), Role::kSnapshot));
  const uint64_t shown = published.snapshot().common.version;
  for (; !versions.empty() && versions.back() > shown; versions.pop_back()) {
    Result<MetadataFile> file = read_metadata_file(directory_.get(), Role::kSnapshot,
                                                   metadata_path(Role::kSnapshot, versions.back()));
    if (file && file->common.version == versions.back() && published.check_is_ours(*file, keys)) {
      return versions.back();
    }
  }
  return shown;
}

Result<Published> Repository::publish(const KeyDirectory& keys, const Lifetimes& lifetimes,
                                      UnixTime now) {
  PublishedState current = CFS_TRY(PublishedState::read(directory_.get()));
  const trust::RootMetadata& root = current.root();
  const UnixTime expires = now + lifetimes.published_days * kDay;
  auto is_due = [&](const MetadataFile& file, unsigned days) {
    return file.common.expires < std::max(expires, now + days * kDay / 2);
  };
  auto renewed_until = [&](unsigned days) { return std::max(expires, now + days * kDay); };
  std::vector<std::string> notes;
  Files files;
  auto add_file = [&](const MetadataFile& file) {
    files.emplace_back(metadata_path(file.document.role, file.common.version), file.text);
  };

  // Targets. Without their key, which may be elsewhere, those stay that devices have already.
  Draft draft = CFS_TRY(find_draft(current));
  Result<Signers> targets_signers = keys.load_accepted(Role::kTargets, root);
  const bool has_targets_key = targets_signers.has_value();
  if (has_targets_key) {
    CFS_TRY(check_draft(draft, current, keys));
    targets_signers = keys.load_enough(Role::kTargets, root);
  } else if (targets_signers.error().code != ErrorCode::kNotFound || draft.is_staged) {
    return std::move(targets_signers).error();
  }
  const Signers snapshot_signers = CFS_TRY(keys.load_enough(Role::kSnapshot, root));
  const Signers timestamp_signers = CFS_TRY(keys.load_enough(Role::kTimestamp, root));
  CFS_TRY(current.check_is_ours(current.snapshot(), keys));

  if (is_due(current.root_file(), Lifetimes::kRootDays)) {
    Result<Signers> root_signers = keys.load_enough(Role::kRoot, root);
    if (root_signers) {
      add_file(
          CFS_TRY(renew(current.root_file(), *root_signers, renewed_until(Lifetimes::kRootDays))));
    } else {
      notes.push_back(not_renewed(current.root_file(), root_signers.error()));
    }
  }
  const bool is_signed = current.is_signed_for_devices(draft.file);
  if (!is_signed || is_due(draft.file, Lifetimes::kTargetsDays)) {
    if (targets_signers) {
      draft.file =
          CFS_TRY(renew(draft.file, *targets_signers, renewed_until(Lifetimes::kTargetsDays)));
      add_file(draft.file);
    } else if (is_signed) {
      notes.push_back(not_renewed(draft.file, targets_signers.error()));
    } else {
      return Error(std::move(targets_signers).error())
          .with("signing the targets anew, whose keys have changed");
    }
  }

  // Devices compare the versions of snapshot and timestamp with those that they have seen. Every
  // snapshot that was published is still there, so its number is the safe one to go on from; the
  // timestamp's follows it, whatever the file says that lies there now.
  uint64_t snapshot_version = CFS_TRY(highest_snapshot_version(current, keys));
  do {
    snapshot_version = CFS_TRY(next_version(snapshot_version));
  } while (CFS_TRY(exists(directory_.get(), metadata_path(Role::kSnapshot, snapshot_version))));
  uint64_t timestamp_version = snapshot_version;
  if (!current.timestamp()) {
    notes.push_back("timestamp.json was lost and has been made anew");
  } else if (is_signed_by_one_of(timestamp_signers, current.timestamp()->document)) {
    timestamp_version =
        std::max(timestamp_version, CFS_TRY(next_version(current.timestamp()->common.version)));
  }
  CFS_TRY(
      add_snapshot_and_timestamp(files, snapshot_signers, timestamp_signers,
                                 trust::describe_file(draft.file.common.version, draft.file.text),
                                 snapshot_version, timestamp_version, expires));

  Published result = CFS_TRY(check_as_device(directory_.get(), files, current.first_root(), now));
  CFS_TRY(check_interrupted());
  CFS_TRY(sync_filesystem(directory_.get()));
  for (const auto& [path, text] : files) {
    CFS_TRY(write_file_atomically(directory_.get(), path, as_bytes(text)));
  }
  // No device is led to a snapshot in between: a publish that was killed left it there.
  for (uint64_t version : CFS_TRY(versions_on_disk(directory_.get(), Role::kSnapshot))) {
    if (version > current.snapshot().common.version && version < snapshot_version) {
      CFS_TRY(remove_file(directory_.get(), metadata_path(Role::kSnapshot, version)));
    }
  }
  result.notes = std::move(notes);
  return result;
}

}  // namespace cfs::signer
