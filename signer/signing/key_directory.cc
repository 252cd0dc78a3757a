// SPDX-License-Identifier: Apache-2.0
#include "signer/signing/key_directory.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/io.h"
#include "signer/signing/file_key.h"

namespace cfs::signer {

using trust::Role;

std::string KeyDirectory::key_path(Role role) const {
  return fmt::format("{}/{}.pem", path_, trust::role_name(role));
}

Result<std::vector<std::string>> KeyDirectory::create_missing() const {
  CFS_TRY(make_directories(AT_FDCWD, path_, 0700));
  std::vector<std::string> created;
  for (Role role : trust::kRoles) {
    Result<FileKey> present = FileKey::load(AT_FDCWD, key_path(role));
    if (present) continue;
    if (present.error().code != ErrorCode::kNotFound) return std::move(present).error();
    FileKey key = CFS_TRY(FileKey::generate());
    CFS_TRY(key.save_new(AT_FDCWD, key_path(role)));
    created.push_back(key_path(role));
  }
  return created;
}

Result<Signers> KeyDirectory::load(Role role) const {
  Signers signers;
  Result<std::vector<std::string>> names = list_directory(AT_FDCWD, path_);
  if (!names && names.error().code == ErrorCode::kNotFound) return signers;
  if (!names) return std::move(names).error();
  const std::string first = fmt::format("{}.", trust::role_name(role));
  for (const std::string& name : *names) {
    if (!name.starts_with(first) || !name.ends_with(".pem")) continue;
    FileKey key = CFS_TRY(FileKey::load(AT_FDCWD, fmt::format("{}/{}", path_, name)));
    // A copy of a key under another name is still one key, and signs once.
    if (std::ranges::none_of(signers, [&](const std::unique_ptr<Signer>& other) {
          return other->public_key() == key.public_key();
        })) {
      signers.push_back(std::make_unique<FileKey>(std::move(key)));
    }
  }
  return signers;
}

Result<Signers> KeyDirectory::load_accepted(Role role, const trust::RootMetadata& root) const {
  constexpr const char* kHint = "give the directory that 'cfs-sign init' was given with --keys";
  const trust::RoleKeys& accepted = root.roles.at(role);
  Signers signers = CFS_TRY(load(role));
  if (signers.empty()) {
    return make_error(ErrorCode::kNotFound, fmt::format("there is no key '{}'", key_path(role)))
        .with_hint(kHint);
  }
  const std::string one = signers.front()->name();
  std::erase_if(signers, [&](const std::unique_ptr<Signer>& signer) {
    return !accepted.key_ids.contains(signer->public_key().id());
  });
  if (signers.empty()) {
    return make_error(ErrorCode::kSignature, fmt::format("'{}' is not this repository's {} key",
                                                         one, trust::role_name(role)))
        .with_hint(kHint);
  }
  return signers;
}

Result<Signers> KeyDirectory::load_enough(Role role, const trust::RootMetadata& root) const {
  Signers signers = CFS_TRY(load_accepted(role, root));
  const uint64_t threshold = root.roles.at(role).threshold;
  if (signers.size() >= threshold) return signers;
  return make_error(ErrorCode::kSignature,
                    fmt::format("{} needs signatures by {} keys, of which '{}' has {}",
                                trust::role_file(role), threshold, path_, signers.size()))
      .with_hint(fmt::format("put the other keys there as {}.NAME.pem", trust::role_name(role)));
}

}  // namespace cfs::signer
