// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/trust/client.h"
#include "lib/trust/metadata.h"
#include "signer/signing/key_directory.h"

namespace cfs::signer {

/// A metadata file of the repository.
struct MetadataFile {
  std::string text;
  trust::SignedDocument document;
  trust::CommonFields common;
};

/// The metadata that the repository shows to devices, whether it has expired or not: the chain of
/// roots from 1.root.json on, and the files that timestamp.json leads to. Where that file is lost,
/// the newest snapshot is taken for what it led to; the next publish makes it anew.
///
/// Unlike a device, which knows the newest root's keys only, this accepts what is signed as any
/// root of the chain asks for: between a change of keys and the next publish, the files
/// there are signed by the old ones.
///
/// The repository may have been in other hands since it was signed, 1.root.json included. So
/// nothing here is built on before check_is_ours() has succeeded.
class PublishedState {
 public:
  /// Errors: kCorrupt (a file is missing or damaged); kSignature; kDigestMismatch; kRollback.
  [[nodiscard]] static Result<PublishedState> read(int repository_fd);

  [[nodiscard]] const std::string& first_root() const { return root_files_.front().text; }
  [[nodiscard]] const trust::RootMetadata& root() const { return roots_.back(); }
  [[nodiscard]] const MetadataFile& root_file() const { return root_files_.back(); }
  /// nullopt: the file is lost.
  [[nodiscard]] const std::optional<MetadataFile>& timestamp() const { return timestamp_; }
  [[nodiscard]] const MetadataFile& snapshot() const { return snapshot_; }
  [[nodiscard]] const MetadataFile& targets() const { return targets_; }

  /// Returns true if the newest root's keys for the role of `file` have signed it, as devices
  /// demand.
  [[nodiscard]] bool is_signed_for_devices(const MetadataFile& file) const;

  /// Fails unless `file` was made by who holds `keys`: signed by one of them for its role, or
  /// signed as one of the roots asks for that a root key at hand has signed. (The name of a key in
  /// a root proves nothing, since anybody can write it there.) Errors: kSignature; those of
  /// KeyDirectory.
  [[nodiscard]] Result<> check_is_ours(const MetadataFile& file, const KeyDirectory& keys) const;

  /// The targets in a targets file of this repository, signed as any root of the chain asks for.
  /// Errors: kSignature, kCorrupt.
  [[nodiscard]] Result<trust::Verified<trust::Targets>> verify_targets(
      const MetadataFile& file) const;

 private:
  std::vector<trust::RootMetadata> roots_;  ///< 1.root.json first
  std::vector<MetadataFile> root_files_;    ///< the same, as files
  std::optional<MetadataFile> timestamp_;
  MetadataFile snapshot_;
  MetadataFile targets_;
};

/// The content of a file of the repository. Errors: kNotFound; kInvalidInput (not a regular file);
/// kCorrupt (it has more than `limit_bytes`).
[[nodiscard]] Result<std::string> read_repository_file(int repository_fd, const std::string& path,
                                                       size_t limit_bytes);

/// Errors: kCorrupt, kUnsupported. Nothing is verified.
[[nodiscard]] Result<MetadataFile> parse_metadata_file(trust::Role role, std::string text);

/// Reads a metadata file of the repository. Errors: those of read_repository_file() and
/// parse_metadata_file().
[[nodiscard]] Result<MetadataFile> read_metadata_file(int repository_fd, trust::Role role,
                                                      const std::string& path);

/// The versions of which the repository has a file of that role, ascending.
[[nodiscard]] Result<std::vector<uint64_t>> versions_on_disk(int repository_fd, trust::Role role);

}  // namespace cfs::signer
