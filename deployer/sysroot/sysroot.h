// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "deployer/environment.h"
#include "deployer/sysroot/deployment.h"
#include "lib/base/unique_fd.h"
#include "lib/release/description.h"
#include "lib/trust/metadata_store.h"
#include "lib/trust/verified.h"

namespace cfs::deployer {

/// Where a device gets its releases from: `origin.json`.
struct Origin {
  std::string url;
  std::string name;
  std::string channel;
};

enum class Access { kRead, kWrite };

/// Something in a sysroot that is not what belongs there. It is reported, otherwise ignored, and
/// never removed.
struct Damage {
  std::string path;  ///< below `<sysroot>/cfs`
  std::string problem;
};

/// What `deployments/` and `refs/` hold.
struct Inventory {
  std::vector<Deployment> deployments;  ///< newest epoch first
  std::vector<Damage> damaged;          ///< sorted by path
};

/// `<sysroot>/cfs` (docs/FORMATS.md, "Device"): where everything lies and how it is changed, each
/// change so that a power cut leaves the old or the new.
///
/// Access::kWrite holds the lock: one process changes a sysroot at a time. Not thread-safe.
class Sysroot {
 public:
  /// Makes the layout in the directory `path` and writes origin and trust anchor; opens it. It
  /// appears whole and durable or not at all.
  /// Errors: kExists (there is one already, or something else called cfs), kNoVerity (the file
  /// system has no fs-verity, with the policy kRequired); those of trust::trust_root.
  [[nodiscard]] static Result<Sysroot> create(const Environment& environment,
                                              const std::string& path, const Origin& origin,
                                              const std::string& root_json);

  /// Opens what create() made. For writing also when `path` is mounted read-only, as it is in a
  /// booted system: then the process moves into a mount namespace of its own where it is writable.
  /// Writers remove what killed ones have left behind.
  /// Errors: kNotFound (no sysroot), kBusy (another process writes), kPermission, kUnsupported
  /// (made by a later version).
  [[nodiscard]] static Result<Sysroot> open(const Environment& environment, const std::string& path,
                                            Access access);

  [[nodiscard]] const Origin& origin() const { return origin_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  /// The directory `cfs`.
  [[nodiscard]] int directory_fd() const { return directory_.get(); }
  [[nodiscard]] store::ObjectStore& objects() { return objects_; }
  [[nodiscard]] const store::ObjectStore& objects() const { return objects_; }
  [[nodiscard]] Result<trust::MetadataDirectory> trust_store() const;

  /// kNoVerity unless files of this sysroot can have fs-verity (policy kRequired only).
  [[nodiscard]] Result<> require_verity() const;

  [[nodiscard]] Result<Inventory> inventory() const;
  /// Those that can be read, newest epoch first.
  [[nodiscard]] Result<std::vector<Deployment>> deployments() const;
  [[nodiscard]] Result<> save(const Deployment& deployment);
  /// An id that no deployment of that image has, nor anything else in `deployments/`.
  [[nodiscard]] Result<std::string> unused_id(const verity::Digest& image) const;

  /// What `refs/<name>` (booted, staged, previous) points to, if that can be read.
  [[nodiscard]] Result<std::optional<Deployment>> reference(const std::string& name) const;
  [[nodiscard]] Result<> set_reference(const std::string& name, const Deployment& deployment);
  [[nodiscard]] Result<> remove_reference(const std::string& name);
  /// Ids of `refs/pinned/*`.
  [[nodiscard]] Result<std::vector<std::string>> pinned() const;

  /// Makes the image mountable: `images/<digest>`.
  [[nodiscard]] Result<> publish_image(const verity::Digest& image);
  /// `releases/<digest>`; relative to directory_fd().
  [[nodiscard]] static std::string release_directory(const verity::Digest& image);
  /// Stores the description as published, in the release's directory.
  [[nodiscard]] Result<> save_release(
      const trust::Verified<release::ReleaseDescription>& description);

 private:
  Sysroot(std::string path, UniqueFd directory, UniqueFd lock, Origin origin,
          store::VerityPolicy verity, store::ObjectStore objects)
      : path_(std::move(path)),
        directory_(std::move(directory)),
        lock_(std::move(lock)),
        origin_(std::move(origin)),
        verity_(verity),
        objects_(std::move(objects)) {}

  Result<> replace_symlink(const std::string& target, const std::string& path);

  std::string path_;
  UniqueFd directory_;
  UniqueFd lock_;
  Origin origin_;
  store::VerityPolicy verity_;
  store::ObjectStore objects_;
};

/// What the running system was booted with.
struct Running {
  verity::Digest image;
  std::optional<std::string> entry;  ///< where the boot loader says so
};

/// Nothing when the running system was not booted by cfs. Errors: kIo; kInvalidInput (the kernel
/// command line).
[[nodiscard]] Result<std::optional<Running>> running_system(const Environment& environment);

/// The three deployments that matter.
struct References {
  std::optional<Deployment> booted;
  std::optional<Deployment> staged;    ///< boots next, unless it is the booted one
  std::optional<Deployment> previous;  ///< ran before the booted one
};

/// What `refs/` must say, seeing what is running: a staged deployment that is running is no longer
/// staged but booted and good, and the one that ran before it is the previous one.
[[nodiscard]] Result<References> references_now(const Sysroot& sysroot,
                                                const Environment& environment);

/// Writes that down. Every change to a sysroot begins with it.
[[nodiscard]] Result<> note_what_booted(Sysroot& sysroot, const Environment& environment);

}  // namespace cfs::deployer
