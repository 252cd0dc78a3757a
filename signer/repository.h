// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/file_lock.h"
#include "lib/base/result.h"
#include "lib/base/time.h"
#include "lib/base/unique_fd.h"
#include "lib/trust/client.h"
#include "lib/trust/metadata.h"
#include "signer/published.h"
#include "signer/signing/key_directory.h"

namespace cfs::signer {

/// Begins the names of the work directories that cfs-sign makes in a repository.
constexpr std::string_view kWorkPrefix = ".cfs-sign-";

/// How long metadata is valid. Root and targets are renewed by publish() when less than half of
/// their time is left, and are never shorter-lived than what is published.
struct Lifetimes {
  unsigned published_days = 7;  ///< snapshot and timestamp: how long a mirror can stand still
  static constexpr unsigned kTargetsDays = 90;
  static constexpr unsigned kRootDays = 365;
};

/// The state that devices see after publish().
struct Published {
  uint64_t root_version = 0;
  uint64_t targets_version = 0;
  uint64_t snapshot_version = 0;
  uint64_t timestamp_version = 0;
  UnixTime expires = 0;  ///< the earliest of the four
  /// What a person should know: metadata that should have been renewed and could not be, with the
  /// reason, and a lost timestamp. A sentence each.
  std::vector<std::string> notes;
};

/// A release repository on disk (docs/FORMATS.md), opened for changes by one process at a time.
///
/// Every file is written whole under a temporary name, synced and renamed. Devices see only what
/// metadata/timestamp.json leads to, and that is replaced last, after what it leads to is durable
/// and has been verified with the code that devices run: at any instant the repository is the old
/// one or the new one. Targets metadata above the published version is *staged*.
class Repository {
 public:
  /// Makes the repository and publishes it without a release.
  /// Errors: kNotFound (a role has no key; nothing has been made); kExists (has metadata already).
  [[nodiscard]] static Result<Published> create(const std::string& path, const KeyDirectory& keys,
                                                const Lifetimes& lifetimes, UnixTime now);
  /// Removes what a killed cfs-sign has left.
  /// Errors: kNotFound (no repository), kBusy (another cfs-sign works on it), kPermission.
  [[nodiscard]] static Result<Repository> open(const std::string& path);

  [[nodiscard]] int directory_fd() const { return directory_.get(); }

  /// The targets metadata that the next one builds on.
  struct Draft {
    MetadataFile file;
    trust::Verified<trust::Targets> targets;  ///< the same, parsed
    bool is_staged = false;
  };

  /// The staged metadata, or the published one when nothing is staged.
  ///
  /// Nothing in the repository is built on before it has been verified (PublishedState). The
  /// targets file with the highest version above the published one is what is staged. It must be
  /// ours, have the version of its name, and have all that is published; a file that lies there and
  /// is not so is refused, not passed over, since a release may have been in it.
  /// Errors: kNotFound (no targets key), kSignature (not ours); kRollback (an old file under a new
  /// name); kCorrupt.
  [[nodiscard]] Result<Draft> draft(const KeyDirectory& keys) const;

  /// Stages new targets metadata: the draft with `entries` added or replaced. Files that the
  /// entries speak of must be durable. Returns the new version.
  /// Errors: those of KeyDirectory::load_enough().
  [[nodiscard]] Result<uint64_t> stage(const Draft& draft, const KeyDirectory& keys,
                                       const std::vector<trust::TargetEntry>& entries,
                                       UnixTime now);

  /// Publishes what is staged, or renews snapshot and timestamp when nothing is. Root and targets
  /// are renewed in time where the keys are at hand; Published::notes says what was not.
  /// Errors: kNotFound (a key), kSignature (not this repository's keys), kExpired (what could not
  /// be renewed has expired).
  [[nodiscard]] Result<Published> publish(const KeyDirectory& keys, const Lifetimes& lifetimes,
                                          UnixTime now);

 private:
  Repository(UniqueFd directory, FileLock lock)
      : directory_(std::move(directory)), lock_(std::move(lock)) {}
  [[nodiscard]] Result<Draft> find_draft(const PublishedState& published) const;
  [[nodiscard]] static Result<> check_draft(const Draft& draft, const PublishedState& published,
                                            const KeyDirectory& keys);
  [[nodiscard]] Result<uint64_t> highest_snapshot_version(const PublishedState& published,
                                                          const KeyDirectory& keys) const;

  UniqueFd directory_;
  FileLock lock_;
};

}  // namespace cfs::signer
