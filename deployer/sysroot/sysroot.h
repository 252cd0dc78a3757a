// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "deployer/environment.h"
#include "deployer/sysroot/copies.h"
#include "lib/base/directory.h"
#include "lib/base/file_lock.h"
#include "lib/net/url.h"
#include "lib/release/description.h"
#include "lib/trust/metadata_store.h"
#include "lib/trust/verified.h"

namespace cfs::deployer {

/// Begins the names of the work directories that cfs-deploy makes (docs/FORMATS.md, "Device").
constexpr std::string_view kWorkPrefix = ".cfs-deploy-";

/// Where a device gets its releases from: `origin.json`.
struct Origin {
  net::Url url;
  std::string name;
  std::string channel;
};

enum class Access { kRead, kWrite };

/// `<sysroot>/cfs` (docs/FORMATS.md, "Device"): the device's directory, its lock, and what is in it
/// once. Everything below it is reached through directory(), so that no symlink leads out of it;
/// each change is made so that a power cut leaves the old or the new.
///
/// Access::kWrite holds the lock: one process changes a sysroot at a time. Not thread-safe.
class Sysroot {
 public:
  /// Makes the layout in the directory `path` and writes origin, trust anchor and, unless it is "",
  /// the board that the device is; opens it. It
  /// appears whole and durable or not at all, with the modes of lib/sysroot/layout.h.
  /// Errors: kExists (there is one already, or something else called cfs), kNoVerity (the file
  /// system has no fs-verity, with the policy kRequired); those of trust::trust_root.
  [[nodiscard]] static Result<Sysroot> create(const Environment& environment,
                                              const std::string& path, const Origin& origin,
                                              const std::string& root_json,
                                              const std::string& board = "");

  /// Opens what create() made. For writing also when `path` is mounted read-only, as it is in a
  /// booted system: then through a writable mount of our own that nobody else sees. Writers make
  /// directories that are missing, give directories and files their modes if they have others,
  /// remove what killed ones have left, and put back what the disk has lost of the files that are
  /// there twice (copies.h): for each of these that is no copy a line is printed.
  /// Errors: kNotFound (no sysroot), kBusy (another process writes), kPermission, kUnsupported
  /// (made by a later version), kCorrupt (meta.json or origin.json, and its copy).
  [[nodiscard]] static Result<Sysroot> open(const Environment& environment, const std::string& path,
                                            Access access);

  /// open() with Access::kWrite, which waits while another process writes, no longer than `limit`.
  /// Errors: kInterrupted; those of open(), kBusy only with a limit.
  [[nodiscard]] static Result<Sysroot> open_when_free(
      const Environment& environment, const std::string& path,
      std::optional<std::chrono::seconds> limit = std::nullopt);

  [[nodiscard]] const Origin& origin() const { return origin_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  /// What open() found lost.
  [[nodiscard]] const std::vector<Loss>& losses() const { return losses_; }
  [[nodiscard]] const Directory& directory() const { return directory_; }
  [[nodiscard]] store::ObjectStore& objects() { return objects_; }
  [[nodiscard]] const store::ObjectStore& objects() const { return objects_; }
  [[nodiscard]] Result<trust::MetadataDirectory> trust_store() const;

  /// kNoVerity unless files of this sysroot can have fs-verity (policy kRequired only).
  [[nodiscard]] Result<> require_verity() const;

  /// Makes the image mountable: `images/<digest>`.
  [[nodiscard]] Result<> publish_image(const verity::Digest& image);
  /// Stores the description as published, in the release's directory.
  [[nodiscard]] Result<> save_release(
      const trust::Verified<release::ReleaseDescription>& description);
  /// The stored description of a release. Errors: kNotFound, kCorrupt (also: of another image).
  [[nodiscard]] Result<release::ReleaseDescription> read_release(const verity::Digest& image) const;

 private:
  Sysroot(std::string path, Directory directory, std::optional<FileLock> lock,
          std::vector<Loss> losses, Origin origin, store::VerityPolicy verity,
          store::ObjectStore objects)
      : path_(std::move(path)),
        directory_(std::move(directory)),
        lock_(std::move(lock)),
        losses_(std::move(losses)),
        origin_(std::move(origin)),
        verity_(verity),
        objects_(std::move(objects)) {}

  std::string path_;
  Directory directory_;
  std::optional<FileLock> lock_;  ///< Access::kWrite
  std::vector<Loss> losses_;
  Origin origin_;
  store::VerityPolicy verity_;
  store::ObjectStore objects_;
};

}  // namespace cfs::deployer
