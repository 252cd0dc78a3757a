// SPDX-License-Identifier: Apache-2.0
#include "signer/add_release.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>

#include "lib/base/byte_stream.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/progress.h"
#include "lib/base/relative_path.h"
#include "lib/base/thread_pool.h"
#include "lib/base/work_directory.h"
#include "lib/boot/uki.h"
#include "lib/erofs/reader.h"
#include "lib/kernel_cmdline/boot_options.h"
#include "lib/release/layout.h"
#include "lib/transport/encoding.h"
#include "lib/transport/manifest.h"
#include "lib/tree/objects.h"
#include "lib/trust/releases.h"
#include "lib/verity/merkle.h"
#include "signer/command_line_warnings.h"
#include "signer/published.h"

namespace cfs::signer {

using release::ReleaseDescription;

namespace {

// New files on their way into the repository: written in a directory of their own there, synced
// together, renamed.
class Staging {
 public:
  static Result<Staging> begin(int repository_fd) {
    return Staging(repository_fd, CFS_TRY(WorkDirectory::create(repository_fd, ".", kWorkPrefix)));
  }

  // Opens the file that will be `path`. Thread-safe.
  [[nodiscard]] Result<UniqueFd> create(const std::string& path) const {
    return open_at(work_.fd(), staged_name(path), O_WRONLY | O_CREAT | O_EXCL, 0644);
  }
  // Says that the file that will be `path` is whole.
  void add(std::string path) { files_.push_back(std::move(path)); }
  [[nodiscard]] size_t size() const { return files_.size(); }

  [[nodiscard]] Result<> commit() {
    CFS_TRY(sync_filesystem(repository_fd_));
    CFS_TRY(check_interrupted());
    for (const std::string& path : files_) {
      CFS_TRY(make_directories(repository_fd_, split_path(path).directory));
      CFS_TRY(rename_at(work_.fd(), staged_name(path), repository_fd_, path));
    }
    return sync_filesystem(repository_fd_);
  }

 private:
  Staging(int repository_fd, WorkDirectory work)
      : repository_fd_(repository_fd), work_(std::move(work)) {}
  static std::string staged_name(std::string path) {
    std::ranges::replace(path, '/', '_');
    return path;
  }

  int repository_fd_;
  WorkDirectory work_;
  std::vector<std::string> files_;
};

struct Object {
  verity::Digest digest;
  uint64_t size_bytes = 0;
  std::string source;  ///< below the build output
  uint64_t encoded_size_bytes = 0;
  bool is_new = false;
};

// The image as the first object, then those that it refers to; all as the description says.
Result<std::vector<Object>> read_image(int build_fd, const ReleaseDescription& description) {
  UniqueFd image = CFS_TRY(open_regular_at(build_fd, "image.cfs", O_NOFOLLOW));
  struct stat status = CFS_TRY(fstat_fd(image.get()));
  if (static_cast<uint64_t>(status.st_size) != description.image.size_bytes ||
      CFS_TRY(verity::digest_of_fd(image.get())) != description.image.digest) {
    return make_error(ErrorCode::kDigestMismatch,
                      "'image.cfs' is not the image that 'release.json' names")
        .with_hint("the build output is damaged: build again");
  }
  erofs::Image parsed = CFS_TRY_WITH("reading 'image.cfs'", erofs::read_image_file(image.get()));
  std::vector<Object> objects;
  uint64_t size_bytes = 0;
  for (const auto& [digest, object_bytes] :
       CFS_TRY_WITH("reading 'image.cfs'", tree::objects_of(parsed.tree))) {
    objects.push_back({digest, object_bytes, fmt::format("objects/{}", digest.object_path())});
    size_bytes += object_bytes;
  }
  if (objects.size() != description.objects.count || size_bytes != description.objects.size_bytes) {
    return make_error(
        ErrorCode::kInvalidInput,
        fmt::format("the image refers to {} objects with {} bytes, 'release.json' says {} with {}",
                    objects.size(), size_bytes, description.objects.count,
                    description.objects.size_bytes));
  }
  objects.insert(objects.begin(),
                 Object{description.image.digest, description.image.size_bytes, "image.cfs"});
  return objects;
}

// Makes sure that the repository has (or will have, by `staging`) this object.
Result<> import_object(int repository_fd, int build_fd, int objects_fd, Object& object,
                       const Staging& staging) {
  const std::string path = release::encoded_object_path(object.digest);
  Result<UniqueFd> present = open_regular_at(repository_fd, path, O_NOFOLLOW);
  if (present) {
    Result<> good =
        transport::check_encoded_object(present->get(), object.digest, object.size_bytes);
    if (good) {
      object.encoded_size_bytes = static_cast<uint64_t>(CFS_TRY(fstat_fd(present->get())).st_size);
      return {};
    }
    if (good.error().code != ErrorCode::kDigestMismatch) return good;
  } else if (present.error().code != ErrorCode::kNotFound) {
    return std::move(present).error();
  }

  constexpr std::string_view kObjects = "objects/";
  bool in_store = object.source.starts_with(kObjects);
  Result<UniqueFd> source =
      in_store ? open_regular_beneath(objects_fd, object.source.substr(kObjects.size()))
               : open_regular_at(build_fd, object.source, O_NOFOLLOW);
  if (!source && source.error().code == ErrorCode::kNotFound) {
    return make_error(
               ErrorCode::kNotFound,
               fmt::format("the build output lacks '{}', which the image refers to", object.source))
        .with_hint("build again");
  }
  if (!source) return std::move(source).error();
  UniqueFd staged = CFS_TRY(staging.create(path));
  object.encoded_size_bytes = CFS_TRY_WITH(
      fmt::format("compressing '{}' into the repository's '{}'", object.source, path),
      transport::encode_object(source->get(), staged.get(), object.digest, object.size_bytes));
  object.is_new = true;
  return {};
}

Result<> import_objects(int repository_fd, int build_fd, std::vector<Object>& objects,
                        Staging& staging) {
  // May be a link to a store elsewhere; what lies in it may not.
  UniqueFd objects_fd = CFS_TRY(open_at(build_fd, "objects", O_RDONLY | O_DIRECTORY));
  uint64_t total_bytes = 0;
  for (const Object& object : objects) total_bytes += object.size_bytes;
  Progress progress("compressing", total_bytes);
  std::atomic<size_t> done{0};
  ThreadPool pool(available_cpus());
  // The largest first, so that the threads end together.
  std::vector<Object*> order;
  for (Object& object : objects) order.push_back(&object);
  std::ranges::sort(order, std::ranges::greater(), &Object::size_bytes);
  for (Object* object : order) {
    pool.submit([&, object]() -> Result<> {
      CFS_TRY(import_object(repository_fd, build_fd, objects_fd.get(), *object, staging));
      progress.set_note(fmt::format("{} of {} objects", ++done, objects.size()));
      progress.add(object->size_bytes);
      return {};
    });
  }
  CFS_TRY(pool.finish());
  for (const Object& object : objects) {
    if (object.is_new) staging.add(release::encoded_object_path(object.digest));
  }
  return {};
}

bool is_content_of(const release::ReleaseFile& file, std::string_view content) {
  return content.size() == file.size_bytes && verity::sha256(as_bytes(content)) == file.sha256;
}

// Reads one of the release's files, which must be as the description says.
Result<std::string> read_release_file(int build_fd, const release::ReleaseFile& file) {
  // A unified kernel image is a few tens of megabytes; it is held in memory.
  if (file.size_bytes > size_t{1} << 30) {
    return make_error(ErrorCode::kInvalidInput,
                      fmt::format("'{}' is larger than 1 GiB", file.name));
  }
  UniqueFd source = CFS_TRY(open_regular_beneath(build_fd, file.name));
  struct stat status = CFS_TRY(fstat_fd(source.get()));
  std::string content;
  if (static_cast<uint64_t>(status.st_size) == file.size_bytes) {
    content = CFS_TRY(read_fd(source.get(), file.size_bytes));
  }
  if (is_content_of(file, content)) return content;
  return make_error(ErrorCode::kDigestMismatch,
                    fmt::format("'{}' is not the file that 'release.json' names", file.name))
      .with_hint("the build output is damaged: build again");
}

// A release is signed only when a device can boot it: from its one UKI, which pins its image.
Result<> check_boots(int build_fd, const ReleaseDescription& description) {
  const release::ReleaseFile* file = description.file_with_role("uki");
  if (std::ranges::count(description.files, "uki", &release::ReleaseFile::role) != 1) {
    return make_error(ErrorCode::kInvalidInput,
                      fmt::format("release '{}' version '{}' has {}", description.name,
                                  description.version,
                                  file == nullptr ? "no UKI (a file of role 'uki')"
                                                  : "more than one file of role 'uki'"))
        .with_hint("devices boot a release from its UKI: build it with a kernel");
  }
  std::string content = CFS_TRY(read_release_file(build_fd, *file));
  auto check = [&]() -> Result<> {
    boot::UkiInfo uki = CFS_TRY(boot::read_uki(as_bytes(content)));
    CFS_TRY(boot::check_boots_image(uki, description.image.digest));
    CFS_TRY(kernel_cmdline::check_new_command_line(uki.cmdline));
    if (uki.cmdline != description.kernel.cmdline || uki.uname != description.kernel.version) {
      return make_error(ErrorCode::kInvalidInput,
                        "its kernel version or command line is not what 'release.json' says");
    }
    return {};
  };
  Result<> checked = check();
  if (checked) return {};
  return Error(std::move(checked).error()).with(fmt::format("checking '{}'", file->name));
}

Result<> stage_text(const std::string& path, std::string_view text, Staging& staging) {
  UniqueFd staged = CFS_TRY(staging.create(path));
  CFS_TRY_WITH(fmt::format("writing the repository's '{}'", path),
               write_full(staged.get(), as_bytes(text)));
  staging.add(path);
  return {};
}

// Stages one of the release's files, unless the repository has it.
Result<> import_file(int repository_fd, int build_fd, const release::ReleaseFile& file,
                     Staging& staging) {
  CFS_TRY(check_interrupted());
  const std::string path = release::target_path(file.sha256.hex(), file.name);
  Result<std::string> present = read_repository_file(repository_fd, path, file.size_bytes);
  if (present && is_content_of(file, *present)) return {};
  if (!present && present.error().code == ErrorCode::kPermission) {
    return std::move(present).error();
  }
  std::string content = CFS_TRY(read_release_file(build_fd, file));
  return stage_text(path, content, staging);
}

// The fate of a file of that name with other content.
enum class OtherContent {
  kRefuse,   ///< it may be another release's
  kReplace,  ///< it can only be damaged
};

// Stages a small file, unless the repository has it.
Result<> import_text(int repository_fd, const std::string& path, std::string_view text,
                     OtherContent other, Staging& staging) {
  Result<std::string> present = read_repository_file(repository_fd, path, text.size());
  if (present && *present == text) return {};
  const bool is_other = present || present.error().code == ErrorCode::kCorrupt;  // longer
  if (!is_other && present.error().code != ErrorCode::kNotFound) return std::move(present).error();
  if (is_other && other == OtherContent::kRefuse) {
    return make_error(ErrorCode::kExists,
                      fmt::format("'{}' is in the repository with other content", path))
        .with_hint(
            "published files are never replaced; was this image added by another version "
            "of cfs-sign?");
  }
  return stage_text(path, text, staging);
}

Result<ReleaseDescription> read_description(int build_fd) {
  std::string text =
      CFS_TRY(read_file(build_fd, "release.json", release::kMaxDescriptionBytes, Maker::kCfs));
  return release::parse_description(text);
}

// A jump of the epoch that a numbering of releases does not make by itself: three thousand years of
// a release a second. A change from counting to dates with seconds (20261231235959) is one, and so
// is a first release that counts like that: whoever means it says so.
constexpr uint64_t kMaxEpochJump = 100'000'000'000;

// Devices never go back to a smaller epoch, so the numbers that a release skips are used up.
Result<> check_epoch(const ReleaseDescription& description, const trust::ReleaseTarget* before,
                     EpochJump jump) {
  const uint64_t epoch = description.epoch;
  const uint64_t last = before == nullptr ? 0 : before->epoch;
  const auto maximum = static_cast<uint64_t>(json::kMaxInteger);
  if (before != nullptr && epoch <= last) {
    return make_error(
               ErrorCode::kRollback,
               fmt::format("epoch {} of '{}' is not above epoch {} of version '{}' in channel '{}'",
                           epoch, description.name, last, before->version, before->channel))
        .with_hint(fmt::format("raise the epoch in the manifest above {}", last));
  }
  if (epoch - last > (maximum - last) / 2) {
    return make_error(
               ErrorCode::kInvalidInput,
               fmt::format("epoch {} of '{}' would use up more than half of the numbers that "
                           "its channel has left",
                           epoch, description.name))
        .with_hint("epochs grow with each release and never go back: choose a smaller one");
  }
  if (epoch - last > kMaxEpochJump && jump == EpochJump::kRefuse) {
    const std::string from = before == nullptr
                                 ? "0, where a channel begins"
                                 : fmt::format("epoch {} of version '{}'", last, before->version);
    return make_error(ErrorCode::kInvalidInput,
                      fmt::format("epoch {} of '{}' jumps by {} from {}", epoch, description.name,
                                  epoch - last, from))
        .with_hint("devices never go back: if it is meant so, repeat with --epoch-jump");
  }
  return {};
}

// Succeeds if `description` may follow on what the repository has. A release that is there already
// may, so that its lost files can be put back.
Result<> check_succession(const trust::Verified<trust::Targets>& targets,
                          const ReleaseDescription& description, EpochJump jump) {
  const std::string target = release::release_target_name(description.name, description.version);
  if (targets->entries.contains(target)) return {};
  const std::vector<trust::ReleaseTarget> releases = trust::list_releases(targets);
  const trust::ReleaseTarget* before = nullptr;
  for (const trust::ReleaseTarget& release : releases) {  // sorted by epoch
    if (release.name == description.name && release.channel == description.channel) {
      before = &release;
    }
  }
  CFS_TRY(check_epoch(description, before, jump));
  for (const release::ReleaseFile& file : description.files) {
    auto there = targets->entries.find(file.name);
    if (there != targets->entries.end() && there->second.hash != file.sha256) {
      return make_error(ErrorCode::kExists,
                        fmt::format("the repository has another file '{}'", file.name))
          .with_hint("put the version into the file's name");
    }
  }
  return {};
}

Error other_release(const ReleaseDescription& description) {
  return make_error(ErrorCode::kExists,
                    fmt::format("the repository has another release '{}' version '{}'",
                                description.name, description.version))
      .with_hint("raise version and epoch in the manifest");
}

// Fails if `targets` has a release of that name and version that is not the one that was built.
// This is found before the long work, if the repository still has the description.
Result<> check_is_same(int repository_fd, const trust::Verified<trust::Targets>& targets,
                       const ReleaseDescription& built) {
  const std::string target = release::release_target_name(built.name, built.version);
  auto entry = targets->entries.find(target);
  if (entry == targets->entries.end()) return {};
  Result<std::string> text =
      read_file(repository_fd, entry->second.path(), release::kMaxDescriptionBytes);
  if (!text) return {};
  Result<trust::Verified<ReleaseDescription>> there =
      trust::verify_release(targets, target, Unverified(std::move(*text)));
  if (!there) return {};
  ReleaseDescription as_built = **there;
  as_built.transport.reset();
  return as_built == built ? Result<>() : Result<>(other_release(built));
}

}  // namespace

Result<AddedRelease> add_release(Repository& repository, const KeyDirectory& keys,
                                 const std::string& build_output, EpochJump jump, UnixTime now) {
  int repository_fd = repository.directory_fd();
  UniqueFd build = CFS_TRY(open_at(AT_FDCWD, build_output, O_RDONLY | O_DIRECTORY));
  AddedRelease added;
  ReleaseDescription& description = added.description;
  description = CFS_TRY_WITH(fmt::format("reading the build output '{}'", build_output),
                             read_description(build.get()));
  description.transport.reset();  // ours to say
  // Before the long work.
  Repository::Draft draft = CFS_TRY(repository.draft(keys));
  CFS_TRY(check_succession(draft.targets, description, jump));
  CFS_TRY(check_is_same(repository_fd, draft.targets, description));
  CFS_TRY(check_boots(build.get(), description));
  added.warnings = command_line_warnings(description.kernel.cmdline);

  Staging staging = CFS_TRY(Staging::begin(repository_fd));
  std::vector<Object> objects = CFS_TRY(read_image(build.get(), description));
  CFS_TRY(import_objects(repository_fd, build.get(), objects, staging));

  transport::Manifest manifest;
  for (const Object& object : objects) {
    transport::Entry entry{object.digest, object.size_bytes, object.encoded_size_bytes};
    if (object.digest == description.image.digest) {
      manifest.image = entry;
    } else {
      manifest.objects.push_back(entry);
    }
    added.download_bytes += object.encoded_size_bytes;
    if (object.is_new) {
      ++added.new_objects;
      added.new_bytes += object.encoded_size_bytes;
    }
  }
  std::string transport;
  CFS_TRY(transport::write_manifest(manifest, sink_to_string(transport)));
  description.transport = {verity::sha256(as_bytes(transport)), transport.size()};
  std::string text = CFS_TRY(release::serialise_description(description));
  const std::string target = release::release_target_name(description.name, description.version);
  std::vector<trust::TargetEntry> entries;
  for (const release::ReleaseFile& file : description.files) {
    entries.push_back({.name = file.name, .size_bytes = file.size_bytes, .hash = file.sha256});
  }
  entries.push_back({.name = target,
                     .size_bytes = text.size(),
                     .hash = verity::sha256(as_bytes(text)),
                     .custom = trust::release_custom(description)});
  const auto present = draft.targets->entries.find(target);
  const bool is_present = present != draft.targets->entries.end();
  // The signed description must come out again, to the byte.
  if (is_present && present->second != entries.back()) return other_release(description);

  CFS_TRY(import_text(repository_fd, release::transport_path(description.image.digest), transport,
                      is_present ? OtherContent::kReplace : OtherContent::kRefuse, staging));
  for (const release::ReleaseFile& file : description.files) {
    CFS_TRY(import_file(repository_fd, build.get(), file, staging));
  }
  CFS_TRY(import_text(repository_fd, entries.back().path(), text, OtherContent::kReplace, staging));
  if (is_present && staging.size() == 0) {
    return make_error(ErrorCode::kNothingToDo,
                      fmt::format("'{}' version '{}' is in the repository already",
                                  description.name, description.version))
        .with_hint("'cfs-sign publish' publishes it if that has not been done");
  }
  added.new_files = staging.size();
  CFS_TRY(staging.commit());
  if (!is_present) added.targets_version = CFS_TRY(repository.stage(draft, keys, entries, now));
  return added;
}

}  // namespace cfs::signer
