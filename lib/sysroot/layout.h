// SPDX-License-Identifier: Apache-2.0
// The names of everything on a device (docs/FORMATS.md, "Device"), once: for who installs it, who
// boots from it and who makes disk images of it.
//
// The root of the device's file system holds the directory `kSysrootDirectory`; all other paths
// here are relative to that directory.
#pragma once

#include <sys/types.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lib/verity/digest.h"

namespace cfs::sysroot {

constexpr const char* kSysrootDirectory = "cfs";

constexpr const char* kMeta = "meta.json";
constexpr const char* kOrigin = "origin.json";
constexpr const char* kLock = "lock";
constexpr const char* kHistory = "history.json";
constexpr const char* kTrust = "trust";
constexpr const char* kTrustedRoot = "trust/root.json";
constexpr const char* kVerifiedAt = "trust/verified-at";
/// Of files that a device cannot do without, a second copy each: copy_path(). Whoever needs the
/// directory makes it.
constexpr const char* kCopies = "copies";
constexpr const char* kObjects = "objects";
constexpr const char* kImages = "images";
constexpr const char* kReleases = "releases";
constexpr const char* kDeployments = "deployments";
constexpr const char* kReferences = "refs";
constexpr const char* kPinned = "refs/pinned";
constexpr const char* kState = "state";
constexpr const char* kBootState = "state/boot";
constexpr const char* kVar = "state/var";
/// What releases have brought to kVar.
constexpr const char* kVarRecord = "state/var-delivered";
/// What cfs-mount-root leaves behind when it stops a boot.
constexpr const char* kBootFailure = "state/boot/failure.json";
/// The homes of every /etc: kEtcKept, and with a release's own /etc "<64 hex of the image>" and one
/// of the suffixes. kEtcLast is a symlink to the one that was used last.
constexpr const char* kEtc = "state/etc";
constexpr const char* kEtcLast = "last";
constexpr const char* kEtcKept = "kept";
constexpr std::string_view kEtcOverlaySuffix = ".overlay";
constexpr std::string_view kEtcMergeSuffix = ".merge";
/// In the home of a merge, and in that the end of the names of what a release has where the device
/// has something else.
constexpr const char* kEtcTree = "tree";
constexpr std::string_view kTheirsSuffix = ".cfs-new";
constexpr const char* kReset = "state/reset";  ///< what is to be forgotten at the next boot
constexpr const char* kConfig = "config.json";
constexpr const char* kTemporary = "tmp";

/// "objects/ab/<62 hex>"
[[nodiscard]] std::string object_path(const verity::Digest& object);
/// The object of which `path` is the object_path(); nothing for any other path.
[[nodiscard]] std::optional<verity::Digest> object_of_path(std::string_view path);

/// "images/<64 hex>", a symlink to image_target(). What has none is not mounted, even if there is
/// an object of that digest.
[[nodiscard]] std::string image_path(const verity::Digest& image);
/// "../objects/ab/<62 hex>"
[[nodiscard]] std::string image_target(const verity::Digest& image);

/// "releases/<64 hex>"; in it the description as published, and UKIs.
[[nodiscard]] std::string release_directory(const verity::Digest& image);
[[nodiscard]] std::string description_path(const verity::Digest& image);
/// "releases/<64 hex of the image>/<64 hex>.efi", the UKI of that SHA-256.
[[nodiscard]] std::string uki_path(const verity::Digest& image, const verity::Sha256Digest& uki);

/// "copies/<name>", for a file with that name.
[[nodiscard]] std::string copy_path(std::string_view path);

/// "deployments/<id>"; in it the record.
[[nodiscard]] std::string deployment_directory(std::string_view id);
[[nodiscard]] std::string record_path(std::string_view id);

/// "refs/<name>", a symlink to reference_target().
[[nodiscard]] std::string reference_path(std::string_view name);
/// "../deployments/<id>"
[[nodiscard]] std::string reference_target(std::string_view id);

/// "refs/pinned/<id>", a symlink to pinned_target().
[[nodiscard]] std::string pinned_path(std::string_view id);
/// "../../deployments/<id>"
[[nodiscard]] std::string pinned_target(std::string_view id);

/// The directories that every sysroot has, parents first; without those above kVar they are empty
/// in a new one.
[[nodiscard]] std::span<const char* const> directories();

/// The permissions of the file or directory `path`, which belongs to root: whoever made it, with
/// whatever umask. `path` "": kSysrootDirectory itself, where nobody but root may look: an image's
/// files lie below with the contents, and not with the modes, that they have in the image.
/// Not for what is below kVar and kEtc, which is the image's and its users'.
[[nodiscard]] mode_t mode_of(std::string_view path, bool is_directory);

/// The file system label and the GPT partition name of the device's file system.
constexpr const char* kFileSystemLabel = "cfs";
/// The GPT partition name and the label of its EFI system partition.
constexpr const char* kEspLabel = "cfs-esp";

}  // namespace cfs::sysroot
