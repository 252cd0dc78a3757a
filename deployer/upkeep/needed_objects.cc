// SPDX-License-Identifier: Apache-2.0
#include "deployer/upkeep/needed_objects.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/utf8.h"
#include "lib/erofs/reader.h"
#include "lib/store/file_digest.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

constexpr mode_t kPermissions = 07777;
constexpr const char* kOtherContent = "its content is not that of its name";

/// Anything else (no memory, too many open files) says nothing about the file.
bool is_beyond_reading(const Error& error) {
  return is_lost_by_disk(error) || error.code == ErrorCode::kSourceChanged;
}

/// False also when there is nothing.
bool is_file(const store::ObjectStore& store, const verity::Digest& object) {
  Result<struct stat> status =
      stat_at(store.directory_fd(), object.object_path(), AT_SYMLINK_NOFOLLOW);
  return status && S_ISREG(status->st_mode);
}

}  // namespace

std::string octal(mode_t mode) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "%04o", static_cast<unsigned>(mode & kPermissions));
  return text.data();
}

Result<std::optional<std::string>> damage_of(const store::ObjectStore& store,
                                             const verity::Digest& object, Depth depth) {
  std::optional<std::string> nothing;
  CFS_TRY(check_interrupted());
  Result<UniqueFd> file = store.open_object(object);
  if (!file) {
    switch (file.error().code) {
      case ErrorCode::kNotFound:
        return std::optional<std::string>("it is missing");
      case ErrorCode::kDigestMismatch:
        return std::optional<std::string>(is_file(store, object) ? kOtherContent
                                                                 : "it is not a file");
      case ErrorCode::kNoVerity:
        return std::optional<std::string>("it has no fs-verity");
      default:
        if (is_beyond_reading(file.error())) {
          return std::optional<std::string>("it cannot be read: " + file.error().describe());
        }
        return Error(std::move(file).error());
    }
  }
  if (depth == Depth::kMeasured) return nothing;
  struct stat status = CFS_TRY(fstat_fd(file->get()));
  Result<store::FileDigest> read = store::digest_file(file->get(), status);
  if (!read && is_beyond_reading(read.error())) {
    return std::optional<std::string>("it cannot be read: " + read.error().describe());
  }
  if (!read) return Error(std::move(read).error());
  if (read->digest != object) return std::optional<std::string>(kOtherContent);
  return nothing;
}

Result<std::optional<std::string>> what_is_wrong(const store::ObjectStore& store,
                                                 const verity::Digest& object, Depth depth) {
  std::optional<std::string> damage = CFS_TRY(damage_of(store, object, depth));
  if (damage) return damage;
  const mode_t mode = sysroot::mode_of(sysroot::object_path(object), false);
  struct stat status =
      CFS_TRY(stat_at(store.directory_fd(), object.object_path(), AT_SYMLINK_NOFOLLOW));
  if ((status.st_mode & kPermissions) == mode) return std::optional<std::string>();
  return std::optional<std::string>("its mode is " + octal(status.st_mode) + ", not " +
                                    octal(mode));
}

std::vector<NeededImage> needed_images(const Inventory& inventory) {
  std::vector<NeededImage> images;
  for (const Deployment& one : inventory.deployments) {
    bool is_known = std::any_of(images.begin(), images.end(), [&](const NeededImage& image) {
      return image.digest == one.digest;
    });
    if (one.collected || is_known) continue;
    images.push_back(
        {one.digest, one.name + " " + one.version + " (epoch " + std::to_string(one.epoch) + ")"});
  }
  return images;
}

Result<tree::Tree> read_tree(const store::ObjectStore& store, const verity::Digest& image) {
  UniqueFd file = CFS_TRY(store.open_object(image));
  // It is mapped below, where a block that the kernel finds damaged would be a signal.
  if (std::optional<std::string> damage = CFS_TRY(damage_of(store, image, Depth::kRead))) {
    return make_error(ErrorCode::kCorrupt, "image " + image.hex() + ": " + *damage);
  }
  erofs::Image read =
      CFS_TRY_WITH("while reading image " + image.hex(), erofs::read_image_file(file.get()));
  return std::move(read.tree);
}

Result<std::vector<tree::ObjectReference>> objects_of_image(const store::ObjectStore& store,
                                                            const verity::Digest& image) {
  tree::Tree tree = CFS_TRY(read_tree(store, image));
  Result<std::vector<tree::ObjectReference>> needed = tree::objects_of(tree);
  if (needed) return needed;
  Error error = std::move(needed).error().with("while reading image " + image.hex());
  error.code = ErrorCode::kCorrupt;
  return error;
}

Result<Uses> find_uses(const Sysroot& sysroot, const std::vector<NeededImage>& images,
                       const std::set<verity::Digest>& objects) {
  Uses uses;
  if (objects.empty()) return uses;
  auto add = [&](const verity::Digest& object, uint64_t size_bytes, const std::string& path) {
    ObjectUse& use = uses.of[object];
    use.size_bytes = size_bytes;
    if (use.count++ < ObjectUse::kMaxPaths) use.paths.push_back(path);
  };
  for (const NeededImage& image : images) {
    CFS_TRY(check_interrupted());
    if (objects.contains(image.digest)) {
      ObjectUse& use = uses.of[image.digest];
      use.paths.push_back("the image of " + image.release);
      ++use.count;
      Result<release::ReleaseDescription> description = sysroot.read_release(image.digest);
      if (description) use.size_bytes = description->image.size_bytes;
    }
    Result<tree::Tree> tree = read_tree(sysroot.objects(), image.digest);
    CFS_TRY(check_interrupted());
    if (!tree) {
      uses.is_complete = false;
      continue;
    }
    CFS_TRY(tree->for_each([&](const tree::Node& node) -> Result<> {
      const tree::Node& file = node.inode();  // of a hard link, the first name's
      if (file.is_external() && file.digest() != nullptr && objects.contains(*file.digest())) {
        add(*file.digest(), file.size_bytes, printable_text(node.path()) + " in " + image.release);
      }
      return {};
    }));
  }
  return uses;
}

}  // namespace cfs::deployer
