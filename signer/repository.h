// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/base/time.h"
#include "lib/base/unique_fd.h"
#include "lib/json/json.h"
#include "lib/trust/client.h"
#include "lib/trust/metadata.h"
#include "signer/signing/file_key.h"

namespace cfs::signer {

/// Private keys of the four roles: DIR/root.pem, targets.pem, snapshot.pem, timestamp.pem. They
/// need not all be there; what signs for a role asks for its key.
class KeyDirectory {
 public:
  explicit KeyDirectory(std::string path) : path_(std::move(path)) {}
  /// Makes the directory (mode 0700) and each missing key. Returns the paths of the new ones.
  [[nodiscard]] Result<std::vector<std::string>> create_missing() const;
  [[nodiscard]] Result<PrivateKey> load(trust::Role role) const;
  /// Nothing when there is no such file.
  [[nodiscard]] Result<std::optional<PrivateKey>> load_if_present(trust::Role role) const;
  [[nodiscard]] std::string key_path(trust::Role role) const;

 private:
  std::string path_;
};

/// How long metadata is valid. Root and targets are renewed by publish() when less than half of
/// their time is left, and are never shorter-lived than what is published.
struct Lifetimes {
  unsigned published_days = 7;  ///< snapshot and timestamp: how long a mirror can stand still
  static constexpr unsigned kTargetsDays = 90;
  static constexpr unsigned kRootDays = 365;
};

/// What a device sees after publish().
struct Published {
  uint64_t root_version = 0;
  uint64_t targets_version = 0;
  uint64_t snapshot_version = 0;
  uint64_t timestamp_version = 0;
  UnixTime expires = 0;  ///< the earliest of the four
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
  /// Errors: kExists (has metadata already).
  [[nodiscard]] static Result<Published> create(const std::string& path, const KeyDirectory& keys,
                                                const Lifetimes& lifetimes, UnixTime now);
  /// Errors: kNotFound (no repository), kBusy (another cfs-sign works on it).
  [[nodiscard]] static Result<Repository> open(const std::string& path);

  [[nodiscard]] int directory_fd() const { return directory_.get(); }

  /// A metadata file as it lies in the repository.
  struct Metadata {
    uint64_t version = 0;
    std::string text;
    json::Value content;  ///< "signed"
    UnixTime expires = 0;
  };

  /// The targets metadata that the next one builds on, and the key that signs it.
  struct Draft {
    PrivateKey key;
    Metadata metadata;
    trust::Verified<trust::Targets> targets;  ///< the same, parsed
  };

  /// What is staged, or what is published when nothing is.
  ///
  /// The repository may have been in other hands since it was signed: nothing in it is built on
  /// before it has been verified. What is published is found as a device finds it, from 1.root.json
  /// on; the targets file with the highest version above that one is what is staged. It must be
  /// signed by the key that is going to sign again, have the version of its name, and have all that
  /// is published; a file that lies there and is not so is refused, not passed over, since a
  /// release may have been in it.
  /// Errors: kNotFound (no key); kSignature (not this repository's key; not signed by it);
  /// kRollback (an old file under a new name); kCorrupt.
  [[nodiscard]] Result<Draft> draft(const KeyDirectory& keys) const;

  /// Stages new targets metadata: the draft with `entries` added or replaced. Files that the
  /// entries speak of must be durable. Returns the new version.
  [[nodiscard]] Result<uint64_t> stage(Draft draft, const std::vector<trust::TargetEntry>& entries,
                                       UnixTime now);

  /// Publishes what is staged, or renews snapshot and timestamp when nothing is.
  /// Errors: kNotFound (a key), kSignature (not this repository's keys), kExpired (root has expired
  /// and its key is not at hand).
  [[nodiscard]] Result<Published> publish(const KeyDirectory& keys, const Lifetimes& lifetimes,
                                          UnixTime now);

 private:
  /// What devices see now, whether it has expired or not.
  struct View {
    std::string first_root;  ///< 1.root.json
    trust::MetadataInMemory store;
    trust::Verified<trust::Targets> targets;
    trust::RootMetadata root;  ///< the newest one
  };
  explicit Repository(UniqueFd directory) : directory_(std::move(directory)) {}
  [[nodiscard]] Result<View> view() const;
  [[nodiscard]] Result<Draft> draft(const View& view, const KeyDirectory& keys) const;
  [[nodiscard]] Result<uint64_t> latest_targets_version(uint64_t published) const;

  UniqueFd directory_;
};

}  // namespace cfs::signer
