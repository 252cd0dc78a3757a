// SPDX-License-Identifier: Apache-2.0
#include "signer/repository.h"

#include <fmt/format.h>
#include <sys/file.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "lib/base/hex.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/release/layout.h"
#include "lib/verity/merkle.h"

namespace cfs::signer {

using json::Value;
using trust::Role;

namespace {

constexpr UnixTime kDay = 86400;
constexpr std::string_view kSpecVersion = "1.0.34";

// Files to write, in this order.
using Files = std::vector<std::pair<std::string, std::string>>;

json::Value::Object common_content(Role role, uint64_t version, UnixTime expires) {
  return {{"_type", trust::role_name(role)},
          {"spec_version", kSpecVersion},
          {"version", version},
          {"expires", format_time(expires)}};
}

Result<std::string> sign_document(const json::Value& content, const PrivateKey& key) {
  trust::SignatureBytes signature = CFS_TRY(key.sign(as_bytes(json::to_signing_form(content))));
  json::Value document = json::Value::Object{
      {"signatures", json::Value::Array{json::Value::Object{
                         {"keyid", trust::key_id(trust::to_key_object(key.public_key()))},
                         {"sig", to_hex(signature)}}}},
      {"signed", content}};
  return json::to_canonical(document) + "\n";
}

// What one role says about the file of another. Spec: TUF 1.0.34 §4.4 METAPATH.
json::Value file_meta(uint64_t version, std::string_view text) {
  return json::Value::Object{
      {"version", version},
      {"length", uint64_t{text.size()}},
      {"hashes", json::Value::Object{{"sha256", verity::sha256(as_bytes(text)).hex()}}}};
}

// Appends snapshot and timestamp for the given targets.
Result<> add_snapshot_and_timestamp(Files& files, const PrivateKey& snapshot_key,
                                    const PrivateKey& timestamp_key, uint64_t targets_version,
                                    std::string_view targets_text, uint64_t snapshot_version,
                                    uint64_t timestamp_version, UnixTime expires) {
  json::Value::Object snapshot = common_content(Role::kSnapshot, snapshot_version, expires);
  snapshot["meta"] =
      json::Value::Object{{"targets.json", file_meta(targets_version, targets_text)}};
  std::string snapshot_text = CFS_TRY(sign_document(snapshot, snapshot_key));
  json::Value::Object timestamp = common_content(Role::kTimestamp, timestamp_version, expires);
  timestamp["meta"] =
      json::Value::Object{{"snapshot.json", file_meta(snapshot_version, snapshot_text)}};
  std::string timestamp_text = CFS_TRY(sign_document(timestamp, timestamp_key));
  files.emplace_back(release::metadata_path("snapshot", snapshot_version),
                     std::move(snapshot_text));
  files.emplace_back(release::kTimestampPath, std::move(timestamp_text));
  return {};
}

// What a device that knows `first_root` finds in the repository as it is with `files` added.
// `store` gets the metadata.
Result<trust::Verified<trust::Targets>> refresh_as_device(int directory_fd, const Files& files,
                                                          const std::string& first_root,
                                                          trust::MetadataInMemory& store,
                                                          UnixTime now) {
  CFS_TRY(trust::trust_root(store, Unverified(first_root)));
  trust::Fetch fetch = [&](const std::string& path,
                           size_t limit_bytes) -> Result<Unverified<std::string>> {
    auto found = std::ranges::find(files, path, &Files::value_type::first);
    if (found != files.end()) return Unverified(found->second);
    Result<UniqueFd> file = open_regular_at(directory_fd, path);
    if (!file && file.error().code == ErrorCode::kNotFound && !path.ends_with(".root.json")) {
      return make_error(ErrorCode::kCorrupt, fmt::format("the repository lacks '{}'", path));
    }
    if (!file) return std::move(file).error();
    return Unverified(
        CFS_TRY_WITH(fmt::format("reading '{}'", path), read_fd(file->get(), limit_bytes)));
  };
  return trust::refresh(store, fetch, now);
}

// The last check before anything is written.
Result<Published> check_as_device(int directory_fd, const Files& files,
                                  const std::string& first_root, UnixTime now) {
  trust::MetadataInMemory store;
  // A second back: metadata that was asked to expire at once is still published.
  trust::Verified<trust::Targets> targets =
      CFS_TRY_WITH("checking the new metadata as a device does",
                   refresh_as_device(directory_fd, files, first_root, store, now - 1));
  return Published{.root_version = targets->root_version,
                   .targets_version = targets->targets_version,
                   .snapshot_version = targets->snapshot_version,
                   .timestamp_version = targets->timestamp_version,
                   .expires = targets->expires};
}

// The key of a role, which must be one that devices accept for it.
Result<PrivateKey> load_key(const trust::RootMetadata& root, const KeyDirectory& keys, Role role) {
  PrivateKey key = CFS_TRY(keys.load(role));
  const std::set<std::string>& accepted = root.roles.at(role).key_ids;
  if (accepted.contains(trust::key_id(trust::to_key_object(key.public_key())))) return key;
  return make_error(ErrorCode::kSignature, fmt::format("'{}' is not this repository's {} key",
                                                       keys.key_path(role), trust::role_name(role)))
      .with_hint("give the directory that 'cfs-sign init' was given with --keys");
}

// Did `key` sign this? Devices ask for more; this asks whether it was us.
Result<> check_signed_by(const PrivateKey& key, const trust::SignedDocument& document) {
  std::string id = trust::key_id(trust::to_key_object(key.public_key()));
  trust::RootMetadata only;
  only.keys.emplace(id, key.public_key());
  only.roles[document.role] = {.key_ids = {id}, .threshold = 1};
  if (trust::check_signatures(only, document)) return {};
  return make_error(ErrorCode::kSignature,
                    fmt::format("{} is not signed by our {} key", trust::role_file(document.role),
                                trust::role_name(document.role)))
      .with_hint("somebody else changed the repository: restore it from a copy that you trust");
}

Result<> check_signed_by(const PrivateKey& key, Role role, std::string_view text) {
  return check_signed_by(key, CFS_TRY(trust::parse_document(role, text)));
}

Result<uint64_t> next_version(uint64_t version) {
  if (version < uint64_t{json::kMaxInteger}) return version + 1;
  return make_error(ErrorCode::kInvalidInput, "the repository's version numbers are used up");
}

Result<Repository::Metadata> parse_metadata(Role role, std::string text) {
  Repository::Metadata metadata;
  metadata.content = CFS_TRY(trust::parse_document(role, text)).content;
  metadata.text = std::move(text);
  json::Reader reader(metadata.content, trust::role_file(role));
  metadata.version = CFS_TRY(CFS_TRY(reader.member("version")).integer(1));
  metadata.expires = CFS_TRY(parse_time(CFS_TRY(CFS_TRY(reader.member("expires")).text(64))));
  return metadata;
}

// Targets with the keys of the newest root, without what stands between them.
Result<trust::Verified<trust::Targets>> verify_targets(const trust::MetadataInMemory& device,
                                                       std::string text) {
  trust::MetadataInMemory store;
  store.files["root.json"] = device.files.at("root.json");
  store.files["targets.json"] = std::move(text);
  return trust::load_trusted(store);
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
                                     const Lifetimes& lifetimes, UnixTime now) {
  CFS_TRY(make_directories(AT_FDCWD, path));
  UniqueFd directory = CFS_TRY(lock_directory(path));
  if (CFS_TRY(exists(directory.get(), "metadata"))) {
    return make_error(ErrorCode::kExists, fmt::format("'{}' is a repository already", path));
  }

  json::Value::Object key_objects;
  json::Value::Object roles;
  for (Role role : trust::kRoles) {
    json::Value object = trust::to_key_object(CFS_TRY(keys.load(role)).public_key());
    std::string id = trust::key_id(object);
    roles[std::string(trust::role_name(role))] =
        json::Value::Object{{"keyids", json::Value::Array{id}}, {"threshold", 1}};
    key_objects[id] = std::move(object);
  }
  UnixTime expires = now + lifetimes.published_days * kDay;
  json::Value::Object root =
      common_content(Role::kRoot, 1, std::max(expires, now + Lifetimes::kRootDays * kDay));
  root["consistent_snapshot"] = true;
  root["keys"] = std::move(key_objects);
  root["roles"] = std::move(roles);
  json::Value::Object targets =
      common_content(Role::kTargets, 1, std::max(expires, now + Lifetimes::kTargetsDays * kDay));
  targets["targets"] = json::Value::Object{};

  std::string root_text = CFS_TRY(sign_document(root, CFS_TRY(keys.load(Role::kRoot))));
  std::string targets_text = CFS_TRY(sign_document(targets, CFS_TRY(keys.load(Role::kTargets))));
  Files files{{release::metadata_path("root", 1), root_text},
              {release::metadata_path("targets", 1), targets_text}};
  CFS_TRY(add_snapshot_and_timestamp(files, CFS_TRY(keys.load(Role::kSnapshot)),
                                     CFS_TRY(keys.load(Role::kTimestamp)), 1, targets_text, 1, 1,
                                     expires));
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

Result<Repository::View> Repository::view() const {
  std::string first_root = CFS_TRY(read_file(directory_.get(), release::metadata_path("root", 1),
                                             trust::max_size_bytes(Role::kRoot)));
  trust::MetadataInMemory store;
  // Before all time: what has expired can be renewed.
  trust::Verified<trust::Targets> targets =
      CFS_TRY_WITH("looking at the repository as a device does",
                   refresh_as_device(directory_.get(), {}, first_root, store, 0));
  trust::RootMetadata root = CFS_TRY(
      trust::parse_root(CFS_TRY(trust::parse_document(Role::kRoot, store.files["root.json"]))));
  return View{std::move(first_root), std::move(store), std::move(targets), std::move(root)};
}

// The highest version of a targets file, or that of the published one, whose file must be there.
Result<uint64_t> Repository::latest_targets_version(uint64_t published) const {
  const std::string suffix = fmt::format(".{}", trust::role_file(Role::kTargets));
  uint64_t latest = published;
  for (const std::string& name : CFS_TRY(list_directory(directory_.get(), "metadata"))) {
    uint64_t version = 0;
    auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), version);
    if (error == std::errc() && name == fmt::format("{}{}", version, suffix)) {
      latest = std::max(latest, version);
    }
  }
  return latest;
}

Result<Repository::Draft> Repository::draft(const KeyDirectory& keys) const {
  return draft(CFS_TRY(view()), keys);
}

Result<Repository::Draft> Repository::draft(const View& view, const KeyDirectory& keys) const {
  PrivateKey key = CFS_TRY(load_key(view.root, keys, Role::kTargets));
  const uint64_t published = view.targets->targets_version;
  const uint64_t latest = CFS_TRY(latest_targets_version(published));
  if (latest == published) {
    const std::string& text = view.store.files.at("targets.json");
    CFS_TRY(check_signed_by(key, Role::kTargets, text));
    auto metadata = CFS_TRY(parse_metadata(Role::kTargets, text));
    return Draft{std::move(key), std::move(metadata), view.targets};
  }

  const std::string path = release::metadata_path("targets", latest);
  auto check = [&]() -> Result<Draft> {
    UniqueFd file = CFS_TRY(open_regular_at(directory_.get(), path));
    std::string text = CFS_TRY(read_fd(file.get(), trust::max_size_bytes(Role::kTargets)));
    CFS_TRY(check_signed_by(key, Role::kTargets, text));
    trust::Verified<trust::Targets> staged = CFS_TRY(verify_targets(view.store, text));
    if (staged->targets_version != latest) {
      return make_error(ErrorCode::kRollback,
                        fmt::format("targets.json: version {} has the name of version {}",
                                    staged->targets_version, latest));
    }
    for (const auto& [name, entry] : view.targets->entries) {
      auto found = staged->entries.find(name);
      if (found == staged->entries.end() || found->second != entry) {
        return make_error(ErrorCode::kRollback,
                          fmt::format("targets.json: version {} does not have the '{}' that is "
                                      "published in version {}",
                                      latest, name, published));
      }
    }
    auto metadata = CFS_TRY(parse_metadata(Role::kTargets, std::move(text)));
    return Draft{std::move(key), std::move(metadata), std::move(staged)};
  };
  Result<Draft> staged = check();
  if (staged) return staged;
  return Error(std::move(staged).error())
      .with(fmt::format("looking at what is staged in '{}'", path))
      .with_hint("remove that file, then add again the releases that were not published yet");
}

Result<uint64_t> Repository::stage(Draft draft, const std::vector<trust::TargetEntry>& entries,
                                   UnixTime now) {
  Metadata& targets = draft.metadata;
  targets.version = CFS_TRY(next_version(targets.version));
  json::Value::Object& content = *targets.content.as<json::Value::Object>();
  content["version"] = targets.version;
  content["expires"] = format_time(std::max(targets.expires, now + Lifetimes::kTargetsDays * kDay));
  json::Value::Object& members = *content["targets"].as<json::Value::Object>();
  for (const trust::TargetEntry& entry : entries) {
    json::Value::Object member{{"length", entry.size_bytes},
                               {"hashes", json::Value::Object{{"sha256", entry.sha256.hex()}}}};
    if (!entry.custom.is_null()) member["custom"] = entry.custom;
    members[entry.name] = std::move(member);
  }
  std::string text = CFS_TRY(sign_document(targets.content, draft.key));
  CFS_TRY_WITH("checking the new metadata", verify_targets(CFS_TRY(view()).store, text));
  CFS_TRY(write_file_atomically(
      directory_.get(), release::metadata_path("targets", targets.version), as_bytes(text)));
  return targets.version;
}

Result<Published> Repository::publish(const KeyDirectory& keys, const Lifetimes& lifetimes,
                                      UnixTime now) {
  View current = CFS_TRY(view());
  Draft draft = CFS_TRY(this->draft(current, keys));
  PrivateKey snapshot_key = CFS_TRY(load_key(current.root, keys, Role::kSnapshot));
  PrivateKey timestamp_key = CFS_TRY(load_key(current.root, keys, Role::kTimestamp));
  // Our signatures carry these versions on: somebody else's could be the last ones there are.
  CFS_TRY(check_signed_by(snapshot_key, Role::kSnapshot, current.store.files.at("snapshot.json")));
  CFS_TRY(
      check_signed_by(timestamp_key, Role::kTimestamp, current.store.files.at("timestamp.json")));

  UnixTime expires = now + lifetimes.published_days * kDay;
  Files files;
  // Signs `metadata` anew as its next version when it would expire too soon.
  auto renew = [&](Role role, Metadata& metadata, unsigned days,
                   const PrivateKey& key) -> Result<> {
    if (metadata.expires >= std::max(expires, now + days * kDay / 2)) return {};
    metadata.version = CFS_TRY(next_version(metadata.version));
    json::Value::Object& content = *metadata.content.as<json::Value::Object>();
    content["version"] = metadata.version;
    content["expires"] = format_time(std::max(expires, now + days * kDay));
    metadata.text = CFS_TRY(sign_document(metadata.content, key));
    files.emplace_back(release::metadata_path(trust::role_name(role), metadata.version),
                       metadata.text);
    return {};
  };
  if (CFS_TRY(keys.load_if_present(Role::kRoot))) {
    PrivateKey root_key = CFS_TRY(load_key(current.root, keys, Role::kRoot));
    Metadata root = CFS_TRY(parse_metadata(Role::kRoot, current.store.files.at("root.json")));
    CFS_TRY(renew(Role::kRoot, root, Lifetimes::kRootDays, root_key));
  }
  Metadata& targets = draft.metadata;
  CFS_TRY(renew(Role::kTargets, targets, Lifetimes::kTargetsDays, draft.key));

  // A publish that was cut off before the timestamp left a snapshot that nobody has seen; it stays
  // as it is.
  uint64_t snapshot_version = CFS_TRY(next_version(current.targets->snapshot_version));
  while (CFS_TRY(exists(directory_.get(), release::metadata_path("snapshot", snapshot_version)))) {
    snapshot_version = CFS_TRY(next_version(snapshot_version));
  }
  CFS_TRY(add_snapshot_and_timestamp(
      files, snapshot_key, timestamp_key, targets.version, targets.text, snapshot_version,
      CFS_TRY(next_version(current.targets->timestamp_version)), expires));

  Published result = CFS_TRY(check_as_device(directory_.get(), files, current.first_root, now));
  CFS_TRY(check_interrupted());
  CFS_TRY(sync_filesystem(directory_.get()));
  for (const auto& [path, text] : files) {
    CFS_TRY(write_file_atomically(directory_.get(), path, as_bytes(text)));
  }
  return result;
}

}  // namespace cfs::signer
