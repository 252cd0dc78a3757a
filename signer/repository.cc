// SPDX-License-Identifier: Apache-2.0
#include "signer/repository.h"

#include <fmt/format.h>
#include <sys/file.h>

#include <algorithm>
#include <charconv>

#include "lib/base/hex.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/release/layout.h"
#include "lib/verity/merkle.h"

namespace cfs::signer {

using release::Json;
using trust::Role;

namespace {

constexpr release::UnixTime kDay = 86400;
constexpr std::string_view kSpecVersion = "1.0.34";

// Files to write, in this order.
using Files = std::vector<std::pair<std::string, std::string>>;

Json::Object common_content(Role role, uint64_t version, release::UnixTime expires) {
  return {{"_type", trust::role_name(role)},
          {"spec_version", kSpecVersion},
          {"version", version},
          {"expires", release::format_time(expires)}};
}

Result<std::string> sign_document(const Json& content, const PrivateKey& key) {
  trust::SignatureBytes signature = CFS_TRY(key.sign(as_bytes(release::to_signing_form(content))));
  Json document = Json::Object{
      {"signatures",
       Json::Array{Json::Object{{"keyid", trust::key_id(trust::to_key_object(key.public_key()))},
                                {"sig", to_hex(signature)}}}},
      {"signed", content}};
  return release::to_canonical_json(document) + "\n";
}

// What one role says about the file of another. Spec: TUF 1.0.34 §4.4 METAPATH.
Json file_meta(uint64_t version, std::string_view text) {
  return Json::Object{{"version", version},
                      {"length", uint64_t{text.size()}},
                      {"hashes", Json::Object{{"sha256", verity::sha256(as_bytes(text)).hex()}}}};
}

// Appends snapshot and timestamp for the given targets.
Result<> add_snapshot_and_timestamp(Files& files, const KeyDirectory& keys,
                                    uint64_t targets_version, std::string_view targets_text,
                                    uint64_t snapshot_version, uint64_t timestamp_version,
                                    release::UnixTime expires) {
  PrivateKey snapshot_key = CFS_TRY(keys.load(Role::kSnapshot));
  PrivateKey timestamp_key = CFS_TRY(keys.load(Role::kTimestamp));
  Json::Object snapshot = common_content(Role::kSnapshot, snapshot_version, expires);
  snapshot["meta"] = Json::Object{{"targets.json", file_meta(targets_version, targets_text)}};
  std::string snapshot_text = CFS_TRY(sign_document(snapshot, snapshot_key));
  Json::Object timestamp = common_content(Role::kTimestamp, timestamp_version, expires);
  timestamp["meta"] = Json::Object{{"snapshot.json", file_meta(snapshot_version, snapshot_text)}};
  std::string timestamp_text = CFS_TRY(sign_document(timestamp, timestamp_key));
  files.emplace_back(release::metadata_path("snapshot", snapshot_version),
                     std::move(snapshot_text));
  files.emplace_back(release::kTimestampPath, std::move(timestamp_text));
  return {};
}

// Runs a device's whole check from `first_root` on over the repository as it will be with `files`.
Result<Published> check_as_device(int directory_fd, const Files& files,
                                  const std::string& first_root, release::UnixTime now) {
  trust::MetadataInMemory store;
  CFS_TRY(trust::trust_root(store, Unverified(first_root)));
  trust::Fetch fetch = [&](const std::string& path,
                           size_t limit_bytes) -> Result<Unverified<std::string>> {
    auto found = std::ranges::find(files, path, &Files::value_type::first);
    if (found != files.end()) return Unverified(found->second);
    return Unverified(CFS_TRY(read_file(directory_fd, path, limit_bytes)));
  };
  // A second back: metadata that was asked to expire at once is still published.
  trust::Verified<trust::Targets> targets =
      CFS_TRY_WITH("checking the new metadata as a device does (are these the repository's keys?)",
                   trust::refresh(store, fetch, now - 1));
  return Published{.root_version = targets->root_version,
                   .targets_version = targets->targets_version,
                   .snapshot_version = targets->snapshot_version,
                   .timestamp_version = targets->timestamp_version,
                   .expires = targets->expires};
}

Result<UniqueFd> lock_directory(const std::string& path) {
  UniqueFd directory = CFS_TRY(open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY));
  if (::flock(directory.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return make_error(ErrorCode::kBusy, fmt::format("another cfs-sign is working on '{}'", path));
    }
    return errno_error(fmt::format("cannot lock '{}'", path));
  }
  return directory;
}

Result<bool> exists(int dir_fd, const std::string& path) {
  Result<struct stat> status = stat_at(dir_fd, path, AT_SYMLINK_NOFOLLOW);
  if (!status && status.error().code == ErrorCode::kNotFound) return false;
  if (!status) return std::move(status).error();
  return true;
}

}  // namespace

std::string KeyDirectory::key_path(Role role) const {
  return fmt::format("{}/{}.pem", path_, trust::role_name(role));
}

Result<std::vector<std::string>> KeyDirectory::create_missing() const {
  CFS_TRY(make_directories(AT_FDCWD, path_, 0700));
  std::vector<std::string> created;
  for (Role role : trust::kRoles) {
    if (CFS_TRY(load_if_present(role))) continue;
    PrivateKey key = CFS_TRY(PrivateKey::generate());
    CFS_TRY(key.save_new(AT_FDCWD, key_path(role)));
    created.push_back(key_path(role));
  }
  return created;
}

Result<PrivateKey> KeyDirectory::load(Role role) const {
  std::optional<PrivateKey> key = CFS_TRY(load_if_present(role));
  if (key) return std::move(*key);
  return make_error(ErrorCode::kNotFound, fmt::format("there is no key '{}'", key_path(role)))
      .with_hint("give the directory that 'cfs-sign init' was given with --keys");
}

Result<std::optional<PrivateKey>> KeyDirectory::load_if_present(Role role) const {
  Result<PrivateKey> key = PrivateKey::load(AT_FDCWD, key_path(role));
  if (!key && key.error().code == ErrorCode::kNotFound) return std::optional<PrivateKey>();
  if (!key) return std::move(key).error();
  return std::optional(std::move(*key));
}

Result<Published> Repository::create(const std::string& path, const KeyDirectory& keys,
                                     const Lifetimes& lifetimes, release::UnixTime now) {
  CFS_TRY(make_directories(AT_FDCWD, path));
  UniqueFd directory = CFS_TRY(lock_directory(path));
  if (CFS_TRY(exists(directory.get(), "metadata"))) {
    return make_error(ErrorCode::kExists, fmt::format("'{}' is a repository already", path));
  }

  Json::Object key_objects;
  Json::Object roles;
  for (Role role : trust::kRoles) {
    Json object = trust::to_key_object(CFS_TRY(keys.load(role)).public_key());
    std::string id = trust::key_id(object);
    roles[std::string(trust::role_name(role))] =
        Json::Object{{"keyids", Json::Array{id}}, {"threshold", 1}};
    key_objects[id] = std::move(object);
  }
  release::UnixTime expires = now + lifetimes.published_days * kDay;
  Json::Object root =
      common_content(Role::kRoot, 1, std::max(expires, now + Lifetimes::kRootDays * kDay));
  root["consistent_snapshot"] = true;
  root["keys"] = std::move(key_objects);
  root["roles"] = std::move(roles);
  Json::Object targets =
      common_content(Role::kTargets, 1, std::max(expires, now + Lifetimes::kTargetsDays * kDay));
  targets["targets"] = Json::Object{};

  std::string root_text = CFS_TRY(sign_document(root, CFS_TRY(keys.load(Role::kRoot))));
  std::string targets_text = CFS_TRY(sign_document(targets, CFS_TRY(keys.load(Role::kTargets))));
  Files files{{release::metadata_path("root", 1), root_text},
              {release::metadata_path("targets", 1), targets_text}};
  CFS_TRY(add_snapshot_and_timestamp(files, keys, 1, targets_text, 1, 1, expires));
  Published published = CFS_TRY(check_as_device(directory.get(), files, root_text, now));

  // All four appear at once.
  constexpr const char* kTemporary = ".cfs-sign.metadata";
  CFS_TRY(remove_tree(directory.get(), kTemporary));
  CFS_TRY(make_directories(directory.get(), kTemporary));
  for (const auto& [name, text] : files) {
    CFS_TRY(check_interrupted());
    std::string file = fmt::format("{}/{}", kTemporary, name.substr(name.rfind('/') + 1));
    CFS_TRY(write_file_atomically(directory.get(), file, as_bytes(text)));
  }
  CFS_TRY(rename_at(directory.get(), kTemporary, directory.get(), "metadata"));
  CFS_TRY(fsync_directory(directory.get(), "."));
  return published;
}

Result<Repository> Repository::open(const std::string& path) {
  UniqueFd directory = CFS_TRY(lock_directory(path));
  if (!CFS_TRY(exists(directory.get(), std::string(release::kTimestampPath)))) {
    return make_error(ErrorCode::kNotFound, fmt::format("'{}' is not a release repository", path))
        .with_hint("make one with 'cfs-sign init'");
  }
  return Repository(std::move(directory));
}

Result<uint64_t> Repository::latest_version(Role role) const {
  const std::string suffix = fmt::format(".{}", trust::role_file(role));
  uint64_t latest = 0;
  for (const std::string& name : CFS_TRY(list_directory(directory_.get(), "metadata"))) {
    uint64_t version = 0;
    auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), version);
    if (error == std::errc() && name == fmt::format("{}{}", version, suffix)) {
      latest = std::max(latest, version);
    }
  }
  if (latest > 0) return latest;
  return make_error(ErrorCode::kCorrupt,
                    fmt::format("the repository has no '{}' metadata", trust::role_name(role)));
}

Result<Repository::Metadata> Repository::load_latest(Role role) const {
  Metadata metadata;
  metadata.version = CFS_TRY(latest_version(role));
  std::string path = release::metadata_path(trust::role_name(role), metadata.version);
  metadata.text = CFS_TRY(read_file(directory_.get(), path, trust::max_size_bytes(role)));
  metadata.content = CFS_TRY(trust::parse_document(role, metadata.text)).content;
  release::JsonReader reader(metadata.content, path);
  metadata.expires =
      CFS_TRY(release::parse_time(CFS_TRY(CFS_TRY(reader.member("expires")).text(64))));
  return metadata;
}

Result<trust::Verified<trust::Targets>> Repository::staged_targets() const {
  trust::MetadataInMemory store;
  store.files["root.json"] = CFS_TRY(load_latest(Role::kRoot)).text;
  store.files["targets.json"] = CFS_TRY(load_latest(Role::kTargets)).text;
  return trust::load_trusted(store);
}

Result<uint64_t> Repository::stage(const KeyDirectory& keys,
                                   const std::vector<trust::TargetEntry>& entries,
                                   release::UnixTime now) {
  CFS_TRY(staged_targets());  // never build on metadata that nobody signed
  Metadata targets = CFS_TRY(load_latest(Role::kTargets));
  Json::Object& content = *targets.content.as<Json::Object>();
  content["version"] = targets.version + 1;
  content["expires"] =
      release::format_time(std::max(targets.expires, now + Lifetimes::kTargetsDays * kDay));
  Json::Object& members = *content["targets"].as<Json::Object>();
  for (const trust::TargetEntry& entry : entries) {
    Json::Object member{{"length", entry.size_bytes},
                        {"hashes", Json::Object{{"sha256", entry.sha256.hex()}}}};
    if (!entry.custom.is_null()) member["custom"] = entry.custom;
    members[entry.name] = std::move(member);
  }
  std::string text = CFS_TRY(sign_document(targets.content, CFS_TRY(keys.load(Role::kTargets))));

  trust::MetadataInMemory store;
  store.files["root.json"] = CFS_TRY(load_latest(Role::kRoot)).text;
  store.files["targets.json"] = text;
  CFS_TRY_WITH("checking the new metadata (is this the repository's targets key?)",
               trust::load_trusted(store));
  CFS_TRY(write_file_atomically(
      directory_.get(), release::metadata_path("targets", targets.version + 1), as_bytes(text)));
  return targets.version + 1;
}

Result<Published> Repository::publish(const KeyDirectory& keys, const Lifetimes& lifetimes,
                                      release::UnixTime now) {
  release::UnixTime expires = now + lifetimes.published_days * kDay;
  Files files;

  // Signs `metadata` anew as its next version when it would expire too soon.
  auto renew = [&](Role role, Metadata& metadata, unsigned days,
                   const PrivateKey& key) -> Result<> {
    if (metadata.expires >= std::max(expires, now + days * kDay / 2)) return {};
    Json::Object& content = *metadata.content.as<Json::Object>();
    content["version"] = ++metadata.version;
    content["expires"] = release::format_time(std::max(expires, now + days * kDay));
    metadata.text = CFS_TRY(sign_document(metadata.content, key));
    files.emplace_back(release::metadata_path(trust::role_name(role), metadata.version),
                       metadata.text);
    return {};
  };
  Metadata root = CFS_TRY(load_latest(Role::kRoot));
  if (std::optional<PrivateKey> root_key = CFS_TRY(keys.load_if_present(Role::kRoot))) {
    CFS_TRY(renew(Role::kRoot, root, Lifetimes::kRootDays, *root_key));
  }
  CFS_TRY(staged_targets());  // never build on metadata that nobody signed
  Metadata targets = CFS_TRY(load_latest(Role::kTargets));
  CFS_TRY(
      renew(Role::kTargets, targets, Lifetimes::kTargetsDays, CFS_TRY(keys.load(Role::kTargets))));

  std::string published_text =
      CFS_TRY(read_file(directory_.get(), std::string(release::kTimestampPath),
                        trust::max_size_bytes(Role::kTimestamp)));
  trust::TimestampMetadata published = CFS_TRY(
      trust::parse_timestamp(CFS_TRY(trust::parse_document(Role::kTimestamp, published_text))));
  uint64_t snapshot_version =
      std::max(CFS_TRY(latest_version(Role::kSnapshot)), published.snapshot.version) + 1;
  CFS_TRY(add_snapshot_and_timestamp(files, keys, targets.version, targets.text, snapshot_version,
                                     published.version + 1, expires));

  std::string first_root = CFS_TRY(read_file(directory_.get(), release::metadata_path("root", 1),
                                             trust::max_size_bytes(Role::kRoot)));
  Published result = CFS_TRY(check_as_device(directory_.get(), files, first_root, now));
  CFS_TRY(check_interrupted());
  CFS_TRY(sync_filesystem(directory_.get()));
  for (const auto& [path, text] : files) {
    CFS_TRY(write_file_atomically(directory_.get(), path, as_bytes(text)));
  }
  return result;
}

}  // namespace cfs::signer
