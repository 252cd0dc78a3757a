// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/trust/metadata.h"
#include "signer/signing/signer.h"

namespace cfs::signer {

/// The private keys of the four roles in a directory: root.pem, targets.pem, snapshot.pem,
/// timestamp.pem, and further keys of a role as root.NAME.pem. They need not all be there; what
/// signs for a role asks for its keys.
class KeyDirectory {
 public:
  explicit KeyDirectory(std::string path) : path_(std::move(path)) {}

  /// Makes the directory (mode 0700) and each missing <role>.pem. Returns the paths of the new
  /// files. Errors: those of FileKey::load() and FileKey::save_new().
  [[nodiscard]] Result<std::vector<std::string>> create_missing() const;

  /// All keys of a role, sorted by file name; empty when there is no key, or no directory.
  /// Errors: those of FileKey::load().
  [[nodiscard]] Result<Signers> load(trust::Role role) const;

  /// The keys at hand that devices accept for `role`, at least one.
  /// Errors: kNotFound (no key); kSignature (none that `root` names).
  [[nodiscard]] Result<Signers> load_accepted(trust::Role role,
                                              const trust::RootMetadata& root) const;

  /// As load_accepted(), and as many as devices ask for. Errors: also kSignature for fewer.
  [[nodiscard]] Result<Signers> load_enough(trust::Role role,
                                            const trust::RootMetadata& root) const;

  /// DIR/<role>.pem
  [[nodiscard]] std::string key_path(trust::Role role) const;

 private:
  std::string path_;
};

}  // namespace cfs::signer
