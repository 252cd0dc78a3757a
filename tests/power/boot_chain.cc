// SPDX-License-Identifier: Apache-2.0
#include "tests/power/boot_chain.h"

#include <algorithm>

#include "lib/base/io.h"
#include "lib/boot/boot_counter.h"
#include "lib/boot/systemd_boot.h"
#include "lib/boot/uki.h"
#include "lib/erofs/reader.h"
#include "lib/sysroot/layout.h"
#include "lib/tree/objects.h"
#include "lib/verity/merkle.h"

namespace cfs::power {
namespace {

constexpr size_t kMaxUkiBytes = 256U << 20;
constexpr std::string_view kSuffix = ".efi";

/// Returns true if this is a file of the entry, with any counter.
bool is_file_of(std::string_view name, std::string_view id) {
  if (name.size() <= kSuffix.size()) return false;
  std::string_view stem = name.substr(0, name.size() - kSuffix.size());
  return boot::same_entry(name.substr(stem.size()), kSuffix) &&
         boot::same_entry(boot::split_counter(stem).id, id);
}

}  // namespace

Result<boot::BootEntry> Device::next() const {
  std::optional<boot::NextBoot> next = CFS_TRY(loader_.next());
  if (!next) return make_error(ErrorCode::kNotFound, "the boot loader has no entry to start");
  for (const boot::BootEntry& entry : CFS_TRY(loader_.list())) {
    if (!boot::same_entry(entry.id, next->id)) continue;
    if (entry.digest) return entry;
    return make_error(ErrorCode::kCorrupt, "the UKI of '" + next->id + "' is not whole");
  }
  return make_error(ErrorCode::kNotFound, "the entry '" + next->id + "' that boots is missing");
}

Result<boot::BootEntry> Device::check_boots() {
  boot::BootEntry entry = CFS_TRY(next());
  CFS_TRY(check_entry(entry));
  return entry;
}

Result<> Device::check_could_boot(const verity::Digest& image) {
  for (const boot::BootEntry& entry : CFS_TRY(loader_.list())) {
    if (entry.digest == image) return check_entry(entry);
  }
  return make_error(ErrorCode::kNotFound, "no entry boots the image " + image.hex());
}

Result<> Device::check_entry(const boot::BootEntry& entry) {
  auto check = [&]() -> Result<> {
    if (!entry.digest) return make_error(ErrorCode::kCorrupt, "its UKI is not whole");
    for (const std::string& name : CFS_TRY(list_directory(esp_.get(), boot::kUkiDirectory))) {
      if (is_file_of(name, entry.id)) CFS_TRY(check_uki(name, *entry.digest));
    }
    return check_image(*entry.digest);
  };
  CFS_TRY_WITH("while following the entry '" + entry.id + "'", check());
  return {};
}

Result<> Device::check_uki(const std::string& name, const verity::Digest& image) {
  const std::string path = std::string(boot::kUkiDirectory) + "/" + name;
  std::string uki = CFS_TRY(cfs::read_file(esp_.get(), path, kMaxUkiBytes));
  auto published = published_.find(image);
  if (published == published_.end()) {
    return make_error(ErrorCode::kCorrupt, "'" + path + "' pins " + image.hex() +
                                               ", which is not the image of a release");
  }
  if (verity::sha256(as_bytes(uki)) != published->second) {
    return make_error(ErrorCode::kDigestMismatch, "'" + path + "' is not as it was published");
  }
  boot::UkiInfo info = CFS_TRY(boot::read_uki(as_bytes(uki)));
  return boot::check_boots_image(info, image);
}

Result<> Device::check_image(const verity::Digest& image) {
  const std::string link = sysroot::image_path(image);
  if (CFS_TRY(files_->read_link(link)) != sysroot::image_target(image)) {
    return make_error(ErrorCode::kCorrupt, "'" + link + "' points elsewhere");
  }
  std::string content = CFS_TRY(read_object(image));
  erofs::Image read = CFS_TRY(erofs::read_image(as_bytes(content)));
  for (const tree::ObjectReference& object : CFS_TRY(tree::objects_of(read.tree))) {
    if (!sound_.contains(object.digest)) CFS_TRY(read_object(object.digest));
  }
  return {};
}

Result<std::string> Device::read_object(const verity::Digest& object) {
  const std::string path = sysroot::object_path(object);
  std::string content = CFS_TRY(files_->read_file(path));
  verity::MerkleHasher hasher(verity::TreeBlocks::kKeep);
  hasher.update(as_bytes(content));
  verity::Metadata metadata = hasher.finish_metadata();
  if (metadata.digest != object) {
    return make_error(ErrorCode::kDigestMismatch, "'" + path + "' has another content");
  }
  CFS_TRY(files_->check_verity(path, metadata));
  sound_.insert(object);
  return content;
}

}  // namespace cfs::power
