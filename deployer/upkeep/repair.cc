// SPDX-License-Identifier: Apache-2.0
#include "deployer/upkeep/repair.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <functional>

#include "deployer/boot_order.h"
#include "deployer/config/config.h"
#include "deployer/sysroot/known_time.h"
#include "deployer/upkeep/needed_objects.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/progress.h"
#include "lib/release/layout.h"
#include "lib/sysroot/layout.h"
#include "lib/transport/encoding.h"
#include "lib/trust/client.h"
#include "lib/trust/releases.h"
#include "lib/verity/kernel.h"

namespace cfs::deployer {
namespace {

/// Does something with each repository until one has done it. Returns the last error.
Result<> try_each(const Environment& environment, std::span<const net::Url> urls,
                  const std::function<Result<>(Repository&)>& action) {
  Result<> done = make_error(ErrorCode::kNotFound, "there is no repository to fetch from");
  for (const net::Url& url : urls) {
    Repository repository = CFS_TRY(Repository::open(url, environment.network));
    done = action(repository);
    CFS_TRY(check_interrupted());
    if (done) break;
  }
  return done;
}

/// Gives an object its mode, and its fs-verity when it has none.
Result<> protect(const Sysroot& sysroot, const verity::Digest& object) {
  const std::string path = sysroot::object_path(object);
  UniqueFd file = CFS_TRY(sysroot.directory().open_file(path));
  if (::fchmod(file.get(), sysroot::mode_of(path, false)) != 0) {
    return errno_error("cannot change the mode of '" + path + "'");
  }
  // Also the content: under fs-verity, what a power cut takes away would be damage.
  CFS_TRY(fsync_fd(file.get()));
  Result<UniqueFd> proven = sysroot.objects().open_object(object);
  if (proven || proven.error().code != ErrorCode::kNoVerity) return {};
  return verity::enable(file.get());
}

/// A mounted image holds on to the file that an object's name meant when it was last looked up,
/// until the kernel forgets that. Where this fails, the next boot sees the new one.
void forget_old_files(const Environment& environment) {
  Result<UniqueFd> control = open_at(AT_FDCWD, environment.drop_caches, O_WRONLY);
  constexpr std::string_view kDentriesAndInodes = "2";
  if (control) (void)write_full(control->get(), as_bytes(kDentriesAndInodes));
}

}  // namespace

Result<bool> mend_in_place(const Sysroot& sysroot, const verity::Digest& object) {
  Result<> is_protected = protect(sysroot, object);
  CFS_TRY(check_interrupted());
  if (!is_protected) return false;
  return !CFS_TRY(what_is_wrong(sysroot.objects(), object, Depth::kRead));
}

Result<NotFetched> repair_objects(Sysroot& sysroot, const Environment& environment,
                                  std::span<const net::Url> urls,
                                  std::span<const tree::ObjectReference> objects) {
  NotFetched left;
  std::map<verity::Digest, transport::Entry> entries;
  for (const tree::ObjectReference& object : objects) {
    if (CFS_TRY(mend_in_place(sysroot, object.digest))) continue;
    entries[object.digest] = {.digest = object.digest,
                              .size_bytes = object.size_bytes,
                              .encoded_size_bytes = transport::max_encoded_size(object.size_bytes)};
    left.emplace(object.digest,
                 make_error(ErrorCode::kNotFound, "there is no repository to fetch from"));
  }
  if (left.empty()) return left;
  CFS_TRY(sysroot.require_verity());
  for (const net::Url& url : urls) {
    std::vector<transport::Entry> wanted;
    uint64_t bytes = 0;
    for (const auto& [digest, why] : left) {
      wanted.push_back(entries.at(digest));
      bytes += wanted.back().size_bytes;
    }
    Repository repository = CFS_TRY(Repository::open(url, environment.network));
    Progress progress("repairing", bytes);
    left = CFS_TRY(repository.fetch_again(wanted, sysroot.objects(), progress));
    if (left.empty()) break;
  }
  if (left.size() < objects.size()) forget_old_files(environment);
  return left;
}

Result<> repair_uki(Sysroot& sysroot, const Environment& environment,
                    std::span<const net::Url> urls, const Deployment& deployment) {
  if (!deployment.uki) {
    return make_error(ErrorCode::kNotFound,
                      "the record of " + deployment.version + " does not say which UKI it had");
  }
  release::ReleaseDescription description = CFS_TRY(sysroot.read_release(deployment.digest));
  const release::ReleaseFile* uki = description.file_with_role("uki");
  if (uki == nullptr || uki->sha256 != *deployment.uki) {
    return make_error(ErrorCode::kNotFound, "the description of " + deployment.version +
                                                " does not name the UKI that was installed");
  }
  const std::string directory = sysroot::release_directory(deployment.digest);
  CFS_TRY(sysroot.directory().make_directories(directory, sysroot::mode_of(directory, true)));
  return try_each(environment, urls, [&](Repository& repository) {
    Progress progress("fetching", uki->size_bytes);
    return repository.fetch_file(*uki, sysroot.directory(),
                                 sysroot::uki_path(deployment.digest, *deployment.uki), progress);
  });
}

Result<> repair_description(Sysroot& sysroot, const Environment& environment,
                            std::span<const net::Url> urls, const Deployment& deployment) {
  return try_each(environment, urls, [&](Repository& repository) -> Result<> {
    trust::Fetch fetch = repository.metadata();
    trust::MetadataDirectory trusted = CFS_TRY(sysroot.trust_store());
    const UnixTime now =
        CFS_TRY(believable_time(sysroot, CFS_TRY(read_inventory(sysroot)), environment));
    trust::Verified<trust::Targets> targets = CFS_TRY(trust::refresh(trusted, fetch, now));
    CFS_TRY(note_verified(sysroot, environment));
    trust::Verified<release::ReleaseDescription> description = CFS_TRY(trust::fetch_release(
        targets, release::release_target_name(deployment.name, deployment.version), fetch));
    if (description->image.digest != deployment.digest) {
      return make_error(ErrorCode::kNotFound, "the repository's " + deployment.version +
                                                  " is another release than the installed one");
    }
    return sysroot.save_release(description);
  });
}

Result<> repair_deployment(Sysroot& sysroot, const Environment& environment,
                           std::span<const net::Url> urls, const Deployment& deployment) {
  const verity::Digest& image = deployment.digest;
  Result<release::ReleaseDescription> description = sysroot.read_release(image);
  CFS_TRY(check_interrupted());
  if (!description) {
    CFS_TRY(repair_description(sysroot, environment, urls, deployment));
    description = sysroot.read_release(image);
  }
  const tree::ObjectReference image_object{.digest = image,
                                           .size_bytes = CFS_TRY(description).image.size_bytes};
  if (CFS_TRY(what_is_wrong(sysroot.objects(), image, Depth::kRead))) {
    NotFetched failed =
        CFS_TRY(repair_objects(sysroot, environment, urls, std::span(&image_object, 1)));
    if (!failed.empty()) return failed.begin()->second;
  }
  std::vector<tree::ObjectReference> damaged;
  for (const tree::ObjectReference& object : CFS_TRY(objects_of_image(sysroot.objects(), image))) {
    if (CFS_TRY(what_is_wrong(sysroot.objects(), object.digest, Depth::kMeasured))) {
      damaged.push_back(object);
    }
  }
  NotFetched left = CFS_TRY(repair_objects(sysroot, environment, urls, damaged));
  if (!left.empty()) return left.begin()->second;
  CFS_TRY(sysroot.publish_image(image));
  if (!deployment.uki || open_uki(sysroot, deployment)) return {};
  CFS_TRY(check_interrupted());
  return repair_uki(sysroot, environment, urls, deployment);
}

std::vector<net::Url> repository_urls(const Sysroot& sysroot, const Environment& environment) {
  // A configuration that cannot be read is a health check's matter.
  std::vector<net::Url> urls = read_config(environment).value_or(Config{}).urls;
  if (urls.empty()) urls.push_back(sysroot.origin().url);
  return urls;
}

}  // namespace cfs::deployer
