// SPDX-License-Identifier: Apache-2.0
#include "signer/published.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "lib/base/io.h"
#include "lib/release/layout.h"

namespace cfs::signer {

using trust::Role;

namespace {

// A file that the repository must have.
Result<MetadataFile> read_needed(int repository_fd, Role role, const std::string& path) {
  Result<MetadataFile> file = read_metadata_file(repository_fd, role, path);
  if (file || file.error().code != ErrorCode::kNotFound) return file;
  return make_error(ErrorCode::kCorrupt, fmt::format("the repository lacks '{}'", path))
      .with_hint(role == Role::kRoot
                     ? "restore it from a backup or a mirror, or from where devices got it "
                       "(init --root): it cannot be made anew"
                     : "restore it from a backup or a mirror: it cannot be made anew, and devices "
                       "refuse a version that they have seen with other content");
}

// Reads what another role has announced.
Result<MetadataFile> read_announced(int repository_fd, Role role, const trust::FileMeta& meta) {
  MetadataFile file = CFS_TRY(read_needed(
      repository_fd, role, release::metadata_path(trust::role_name(role), meta.version)));
  CFS_TRY(trust::check_bytes(trust::role_file(role), file.text, meta.length_bytes, meta.hash));
  if (file.common.version == meta.version) return file;
  return make_error(ErrorCode::kRollback,
                    fmt::format("{}: version {} has the name of version {}", trust::role_file(role),
                                file.common.version, meta.version));
}

// The newest of `roots` whose keys have signed this. The error is that of the very newest one.
Result<size_t> find_signing_root(const std::vector<trust::RootMetadata>& roots,
                                 const trust::SignedDocument& document) {
  for (size_t index = roots.size(); index-- > 0;) {
    if (trust::check_signatures(roots[index], document)) return index;
  }
  return Error(trust::check_signatures(roots.back(), document).error());
}

// The newest snapshot that one of `roots` vouches for. Without a timestamp it is the last that
// devices can have seen; one that nobody was led to does no harm, since versions only grow.
Result<MetadataFile> find_newest_snapshot(int repository_fd,
                                          const std::vector<trust::RootMetadata>& roots) {
  std::vector<uint64_t> versions = CFS_TRY(versions_on_disk(repository_fd, Role::kSnapshot));
  for (; !versions.empty(); versions.pop_back()) {
    Result<MetadataFile> file = read_metadata_file(
        repository_fd, Role::kSnapshot, release::metadata_path("snapshot", versions.back()));
    if (file && file->common.version == versions.back() &&
        find_signing_root(roots, file->document)) {
      return file;
    }
  }
  return make_error(ErrorCode::kCorrupt,
                    fmt::format("the repository lacks '{}', and a good snapshot to make it from",
                                release::kTimestampPath))
      .with_hint("restore 'metadata/' from a backup or a mirror");
}

}  // namespace

Result<std::string> read_repository_file(int repository_fd, const std::string& path,
                                         size_t limit_bytes) {
  UniqueFd file = CFS_TRY(open_regular_at(repository_fd, path));
  return CFS_TRY_WITH(fmt::format("reading '{}'", path),
                      read_fd(file.get(), limit_bytes, Maker::kCfs));
}

Result<MetadataFile> parse_metadata_file(Role role, std::string text) {
  MetadataFile file;
  file.document = CFS_TRY(trust::parse_document(role, text));
  file.common = CFS_TRY(trust::parse_common(file.document));
  file.text = std::move(text);
  return file;
}

Result<MetadataFile> read_metadata_file(int repository_fd, Role role, const std::string& path) {
  std::string text =
      CFS_TRY(read_repository_file(repository_fd, path, trust::max_size_bytes(role)));
  return parse_metadata_file(role, std::move(text));
}

Result<std::vector<uint64_t>> versions_on_disk(int repository_fd, Role role) {
  std::vector<uint64_t> versions;
  for (const std::string& name :
       CFS_TRY(list_directory(repository_fd, std::string(release::kMetadataDirectory)))) {
    uint64_t version = 0;
    auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), version);
    if (error == std::errc() && name == fmt::format("{}.{}", version, trust::role_file(role))) {
      versions.push_back(version);
    }
  }
  std::ranges::sort(versions);
  return versions;
}

Result<PublishedState> PublishedState::read(int repository_fd) {
  auto look = [&]() -> Result<PublishedState> {
    PublishedState state;
    MetadataFile first =
        CFS_TRY(read_needed(repository_fd, Role::kRoot, release::metadata_path("root", 1)));
    state.roots_.push_back(CFS_TRY(trust::verify_first_root(first.text)));
    state.root_files_.push_back(std::move(first));
    while (true) {
      Result<MetadataFile> next = read_metadata_file(
          repository_fd, Role::kRoot, release::metadata_path("root", state.root().version + 1));
      if (!next && next.error().code == ErrorCode::kNotFound) break;
      if (!next) return std::move(next).error();
      state.roots_.push_back(CFS_TRY(trust::verify_next_root(state.root(), next->text)));
      state.root_files_.push_back(std::move(*next));
    }

    Result<MetadataFile> shown =
        read_metadata_file(repository_fd, Role::kTimestamp, std::string(release::kTimestampPath));
    if (shown) {
      CFS_TRY(find_signing_root(state.roots_, shown->document));
      trust::TimestampMetadata timestamp = CFS_TRY(trust::parse_timestamp(shown->document));
      state.snapshot_ = CFS_TRY(read_announced(repository_fd, Role::kSnapshot, timestamp.snapshot));
      CFS_TRY(find_signing_root(state.roots_, state.snapshot_.document));
      state.timestamp_ = std::move(*shown);
    } else if (shown.error().code == ErrorCode::kNotFound) {
      state.snapshot_ = CFS_TRY(find_newest_snapshot(repository_fd, state.roots_));
    } else {
      return std::move(shown).error();
    }
    trust::SnapshotMetadata snapshot = CFS_TRY(trust::parse_snapshot(state.snapshot_.document));
    state.targets_ = CFS_TRY(read_announced(repository_fd, Role::kTargets,
                                            snapshot.files.at(trust::role_file(Role::kTargets))));
    CFS_TRY(find_signing_root(state.roots_, state.targets_.document));
    return state;
  };
  Result<PublishedState> state = look();
  if (state) return state;
  return Error(std::move(state).error()).with("looking at what the repository shows to devices");
}

bool PublishedState::is_signed_for_devices(const MetadataFile& file) const {
  return trust::check_signatures(root(), file.document).has_value();
}

Result<> PublishedState::check_is_ours(const MetadataFile& file, const KeyDirectory& keys) const {
  const Role role = file.document.role;
  if (is_signed_by_one_of(CFS_TRY(keys.load(role)), file.document)) return {};
  const Signers root_keys = CFS_TRY(keys.load(Role::kRoot));
  for (size_t index = 0; index < roots_.size(); ++index) {
    if (is_signed_by_one_of(root_keys, root_files_[index].document) &&
        trust::check_signatures(roots_[index], file.document)) {
      return {};
    }
  }
  return make_error(ErrorCode::kSignature,
                    fmt::format("{} is not signed by our {} key", trust::role_file(role),
                                trust::role_name(role)))
      .with_hint(
          "if that key was replaced, put the root key beside the others this once; else somebody "
          "has changed the repository: restore it from a copy that you trust");
}

Result<trust::Verified<trust::Targets>> PublishedState::verify_targets(
    const MetadataFile& file) const {
  const size_t index = CFS_TRY(find_signing_root(roots_, file.document));
  trust::MetadataInMemory store;
  CFS_TRY(store.save(trust::role_file(Role::kRoot), root_files_[index].text));
  return trust::verify_targets(store, Unverified(file.text));
}

}  // namespace cfs::signer
