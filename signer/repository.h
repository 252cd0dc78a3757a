// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/base/unique_fd.h"
#include "lib/release/json.h"
#include "lib/release/time.h"
#include "lib/trust/client.h"
#include "lib/trust/metadata.h"
#include "signer/key_file.h"

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

 private:
  [[nodiscard]] std::string key_path(trust::Role role) const;
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
  release::UnixTime expires = 0;  ///< the earliest of the four
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
                                                const Lifetimes& lifetimes, release::UnixTime now);
  /// Errors: kNotFound (no repository), kBusy (another cfs-sign works on it).
  [[nodiscard]] static Result<Repository> open(const std::string& path);

  [[nodiscard]] int directory_fd() const { return directory_.get(); }

  /// The targets with the highest version: published or staged.
  [[nodiscard]] Result<trust::Verified<trust::Targets>> staged_targets() const;

  /// Stages new targets metadata: the present one with `entries` added or replaced. Files that the
  /// entries speak of must be durable. Returns the new version.
  [[nodiscard]] Result<uint64_t> stage(const KeyDirectory& keys,
                                       const std::vector<trust::TargetEntry>& entries,
                                       release::UnixTime now);

  /// Publishes what is staged, or renews snapshot and timestamp when nothing is.
  /// Errors: kNotFound (a key), kSignature (not this repository's keys), kExpired (root has expired
  /// and its key is not at hand).
  [[nodiscard]] Result<Published> publish(const KeyDirectory& keys, const Lifetimes& lifetimes,
                                          release::UnixTime now);

 private:
  struct Metadata {
    uint64_t version = 0;
    std::string text;
    release::Json content;  ///< "signed"
    release::UnixTime expires = 0;
  };
  explicit Repository(UniqueFd directory) : directory_(std::move(directory)) {}
  Result<uint64_t> latest_version(trust::Role role) const;
  Result<Metadata> load_latest(trust::Role role) const;

  UniqueFd directory_;
};

}  // namespace cfs::signer
