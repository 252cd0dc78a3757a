// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/sysroot.h"

#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>

#include "deployer/sysroot/board.h"
#include "deployer/sysroot/copies.h"
#include "lib/base/free_space.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/work_directory.h"
#include "lib/json/canonical.h"
#include "lib/json/reader.h"
#include "lib/mount/fs_context.h"
#include "lib/sysroot/layout.h"
#include "lib/trust/client.h"
#include "lib/verity/kernel.h"

namespace cfs::deployer {
namespace {

using sysroot::mode_of;

constexpr size_t kMaxDocumentBytes = 64 << 10;
constexpr int kSchema = 1;
constexpr std::string_view kAlgorithm = "fsverity-sha256-12";

Result<> write_json(const Directory& cfs, const std::string& path, const json::Value& json) {
  return cfs.write_file(path, as_bytes(json::to_canonical(json) + "\n"), mode_of(path, false));
}

/// Enables fs-verity on a small file and throws it away.
Result<> prove_verity(const Directory& cfs, const std::string& path) {
  const std::string probe = std::string(sysroot::kTemporary) + "/verity-probe";
  auto attempt = [&]() -> Result<> {
    CFS_TRY(cfs.write_file(probe, as_bytes("probe"), 0600));
    UniqueFd file = CFS_TRY(cfs.open_file(probe));
    return verity::enable(file.get());
  };
  Result<> result = attempt();
  CFS_TRY(cfs.remove_file(probe));
  if (result) return {};
  Error error = std::move(result).error().with("while checking '" + path + "'");
  if (error.code == ErrorCode::kUnsupported) {
    error.code = ErrorCode::kNoVerity;
    error.hint =
        "a device needs fs-verity: make its file system with 'mkfs.ext4 -b 4096 -O verity', or add "
        "it with 'tune2fs -O verity'; for a disk image made on a machine without it use "
        "'cfs-deploy install --disk'";
  }
  return error;
}

Result<> check_meta(const std::string& text) {
  json::Value json = CFS_TRY(json::parse(text, {}, sysroot::kMeta));
  json::Reader reader(json, sysroot::kMeta);
  uint64_t schema = CFS_TRY(CFS_TRY(reader.member("schema")).integer());
  std::string algorithm = CFS_TRY(CFS_TRY(reader.member("algorithm")).text(64));
  auto features = CFS_TRY(CFS_TRY(reader.member("features")).elements(64));
  if (schema != kSchema || algorithm != kAlgorithm || !features.empty()) {
    return make_error(ErrorCode::kUnsupported,
                      "this sysroot was made for a later version of cfs-deploy")
        .with_hint("install a newer cfs-deploy; meta.json says what it needs");
  }
  return {};
}

Result<Origin> parse_origin(const std::string& text) {
  json::Value json = CFS_TRY(json::parse(text, {}, sysroot::kOrigin));
  json::Reader reader(json, sysroot::kOrigin);
  if (CFS_TRY(CFS_TRY(reader.member("schema")).integer()) != kSchema) {
    return make_error(ErrorCode::kUnsupported,
                      "origin.json has a schema that this version does not know");
  }
  json::Reader url = CFS_TRY(reader.member("url"));
  Result<net::Url> parsed = net::Url::parse(CFS_TRY(url.text(net::Url::kMaxBytes)));
  if (!parsed) return url.refuse("is not a URL: " + parsed.error().describe());
  json::Reader name = CFS_TRY(reader.member("name"));
  json::Reader channel = CFS_TRY(reader.member("channel"));
  Origin origin{.url = std::move(*parsed), .name = {}, .channel = {}};
  origin.name = CFS_TRY(name.text(64));
  origin.channel = CFS_TRY(channel.text(64));
  if (!release::is_release_name(origin.name)) return name.refuse("is not a release's name");
  if (!release::is_channel(origin.channel)) return channel.refuse("is not a channel");
  return origin;
}

Result<> check_origin(const std::string& text) {
  CFS_TRY(parse_origin(text));
  return {};
}

Result<> check_root(const std::string& text) {
  CFS_TRY(trust::verify_first_root(text));
  return {};
}

constexpr Original kMetaFile{sysroot::kMeta, kMaxDocumentBytes, check_meta};
constexpr Original kOriginFile{sysroot::kOrigin, kMaxDocumentBytes, check_origin};

/// What a device has once and cannot do without.
std::vector<Original> originals() {
  return {kMetaFile,
          kOriginFile,
          kBoardFile,
          {sysroot::kTrustedRoot, trust::max_size_bytes(trust::Role::kRoot), check_root}};
}

Result<FileLock> take_lock(const Directory& cfs, const std::string& path) {
  Result<UniqueFd> opened =
      cfs.open_file(sysroot::kLock, O_RDWR | O_CREAT, mode_of(sysroot::kLock, false));
  if (!opened) {
    Error error = std::move(opened).error().with("while locking '" + path + "'");
    if (error.code == ErrorCode::kPermission) {
      error.hint = "changing a device's sysroot needs root";
    }
    return error;
  }
  Result<FileLock> lock = FileLock::try_take(std::move(*opened), LockMode::kExclusive);
  if (lock || lock.error().code != ErrorCode::kBusy) return lock;
  return make_error(ErrorCode::kBusy, "another cfs-deploy is changing '" + path + "'")
      .with_hint("wait until it has finished, then try again");
}

/// The directory `path`. The booted system shows /sysroot read-only, so that nothing but us changes
/// it; for a writer a writable mount of it is returned then, which stands nowhere: nobody else's
/// view changes.
Result<Directory> open_top(const std::string& path, Access access) {
  Directory top = CFS_TRY(Directory::open(AT_FDCWD, path));
  auto is_read_only = [](const Directory& directory) -> Result<bool> {
    return CFS_TRY(file_system_space(directory.fd())).is_read_only;
  };
  if (access == Access::kRead || !CFS_TRY(is_read_only(top))) return top;
  auto make_writable = [&]() -> Result<UniqueFd> {
    UniqueFd mounted = CFS_TRY(mount::clone_mount(top.fd()));
    CFS_TRY(mount::set_mount_attributes(mounted.get(), 0, MOUNT_ATTR_RDONLY));
    return mounted;
  };
  Result<UniqueFd> mounted = make_writable();
  if (!mounted) {
    Error error = std::move(mounted).error().with("while making '" + path +
                                                  "' writable, which is mounted read-only");
    if (::geteuid() != 0) error.hint = "this needs root";
    return error;
  }
  Directory writable = CFS_TRY(Directory::open(mounted->get(), "."));
  if (CFS_TRY(is_read_only(writable))) {
    return make_error(ErrorCode::kPermission, "the file system of '" + path + "' is read-only")
        .with_hint("the kernel log may say why; 'mount -o remount,rw' makes it writable");
  }
  return writable;
}

Result<> set_mode(int fd, mode_t mode, const std::string& path) {
  constexpr mode_t kPermissions = 07777;
  if ((CFS_TRY(fstat_fd(fd)).st_mode & kPermissions) == mode) return {};
  if (::fchmod(fd, mode) != 0) return errno_error("cannot change the mode of '" + path + "'");
  return {};
}

/// Makes the directories that are missing, and gives what is there the modes that create() would
/// give it: an earlier version took them from the umask of whoever ran it.
Result<> mend_directories(const Directory& cfs) {
  auto mend_directory = [&](const std::string& path) -> Result<> {
    Directory directory = CFS_TRY(cfs.open_directory(path));
    return set_mode(directory.fd(), mode_of(path, true), path);
  };
  CFS_TRY(set_mode(cfs.fd(), mode_of("", true), sysroot::kSysrootDirectory));
  for (const char* path : sysroot::directories()) {
    CFS_TRY(cfs.make_directories(path, mode_of(path, true)));
    CFS_TRY(mend_directory(path));
  }
  for (const std::string& name : CFS_TRY(cfs.list(sysroot::kObjects))) {
    const std::string path = std::string(sysroot::kObjects) + "/" + name;
    // What is no directory stops a batch, and `cfs-deploy fsck --repair` removes it.
    const bool is_directory = S_ISDIR(CFS_TRY(cfs.stat(path)).st_mode);
    if (name.size() == 2 && is_directory) CFS_TRY(mend_directory(path));
  }
  return {};
}

/// As mend_directories(). What is lost has no mode.
Result<> mend_files(const Directory& cfs, const std::vector<Loss>& losses) {
  for (const std::string path : {sysroot::kMeta, sysroot::kOrigin, sysroot::kLock}) {
    const bool is_lost = std::any_of(losses.begin(), losses.end(), [&](const Loss& loss) {
      return loss.path == path && !loss.is_restored;
    });
    if (is_lost) continue;
    UniqueFd file = CFS_TRY(cfs.open_file(path));
    CFS_TRY(set_mode(file.get(), mode_of(path, false), path));
  }
  return {};
}

Result<> remove_leftovers(const Directory& cfs) {
  CFS_TRY(cfs.make_directories(sysroot::kTemporary, mode_of(sysroot::kTemporary, true)));
  for (const std::string& name : CFS_TRY(cfs.list(sysroot::kTemporary))) {
    CFS_TRY(cfs.remove_tree(std::string(sysroot::kTemporary) + "/" + name));
  }
  for (const char* path : {".", sysroot::kTrust, sysroot::kImages, sysroot::kReferences,
                           sysroot::kPinned, sysroot::kEtc, sysroot::kState, sysroot::kBootState}) {
    CFS_TRY(cfs.remove_stale(path));
  }
  for (const char* parent : {sysroot::kDeployments, sysroot::kReleases}) {
    for (const std::string& name : CFS_TRY(cfs.list(parent))) {
      const std::string path = std::string(parent) + "/" + name;
      Result<struct stat> status = cfs.stat(path);
      if (status && S_ISDIR(status->st_mode)) CFS_TRY(cfs.remove_stale(path));
    }
  }
  return {};
}

/// What a writer does first.
Result<std::vector<Loss>> mend(const Directory& cfs) {
  CFS_TRY(mend_directories(cfs));
  CFS_TRY(remove_leftovers(cfs));
  std::vector<Loss> losses = CFS_TRY(restore_losses(cfs, originals()));
  CFS_TRY(mend_files(cfs, losses));
  return losses;
}

}  // namespace

Result<Sysroot> Sysroot::create(const Environment& environment, const std::string& path,
                                const Origin& origin, const std::string& root_json,
                                const std::string& board) {
  Directory top = CFS_TRY(Directory::open(AT_FDCWD, path));
  Result<std::vector<std::string>> there = top.list(sysroot::kSysrootDirectory);
  if (!there && there.error().code != ErrorCode::kNotFound) {
    return Error(std::move(there).error()).with("while looking at '" + path + "'");
  }
  if (there && !there->empty()) {
    auto has = [&](const char* name) {
      return std::find(there->begin(), there->end(), name) != there->end();
    };
    if (has(sysroot::kMeta) || has(sysroot::kCopies)) {
      return make_error(ErrorCode::kExists, "'" + path + "/cfs' is a sysroot already")
          .with_hint("use 'cfs-deploy update'");
    }
    return make_error(ErrorCode::kExists, "'" + path + "/cfs' is there and is not a sysroot")
        .with_hint("move it away, or choose another directory with --sysroot");
  }
  WorkDirectory work = CFS_TRY(WorkDirectory::create(AT_FDCWD, path, kWorkPrefix));
  Directory cfs = CFS_TRY(Directory::open(work.fd(), "."));
  for (const char* name : sysroot::directories()) {
    CFS_TRY(cfs.make_directories(name, mode_of(name, true)));
  }
  // Its mode is the image's later on.
  CFS_TRY(cfs.make_directories(sysroot::kVar, mode_of(sysroot::kVar, true)));
  if (environment.verity == store::VerityPolicy::kRequired) CFS_TRY(prove_verity(cfs, path));
  {
    Directory trust = CFS_TRY(cfs.open_directory(sysroot::kTrust));
    trust::MetadataDirectory store = CFS_TRY(trust::MetadataDirectory::open(trust.fd(), "."));
    CFS_TRY_WITH("while reading the trust anchor",
                 trust::trust_root(store, Unverified<std::string>(root_json)));
  }
  CFS_TRY(write_json(cfs, sysroot::kOrigin,
                     json::Value::Object{{"schema", kSchema},
                                         {"url", origin.url.with_password()},
                                         {"name", origin.name},
                                         {"channel", origin.channel}}));
  if (!board.empty()) CFS_TRY(write_board(cfs, board));
  CFS_TRY(write_json(
      cfs, sysroot::kMeta,
      json::Value::Object{
          {"schema", kSchema}, {"algorithm", kAlgorithm}, {"features", json::Value::Array{}}}));
  const std::vector<Loss> no_copies = CFS_TRY(restore_losses(cfs, originals()));
  for (const Loss& loss : no_copies) {
    if (loss.left) return *loss.left;
  }
  CFS_TRY(check_interrupted());
  // An empty directory of that name may be there; anything else is not replaced.
  CFS_TRY(work.publish(top.fd(), sysroot::kSysrootDirectory, mode_of("", true),
                       there ? Existing::kReplace : Existing::kRefuse));
  return open(environment, path, Access::kWrite);
}

Result<Sysroot> Sysroot::open_when_free(const Environment& environment, const std::string& path,
                                        std::optional<std::chrono::seconds> limit) {
  const auto begin = std::chrono::steady_clock::now();
  for (;;) {
    Result<Sysroot> sysroot = open(environment, path, Access::kWrite);
    if (sysroot || sysroot.error().code != ErrorCode::kBusy) return sysroot;
    if (limit && std::chrono::steady_clock::now() - begin >= *limit) return sysroot;
    ::sleep(1);  // NOLINT(concurrency-mt-unsafe): one thread
    CFS_TRY(check_interrupted());
  }
}

Result<Sysroot> Sysroot::open(const Environment& environment, const std::string& path,
                              Access access) {
  std::optional<Directory> top;
  auto open_directory = [&]() -> Result<Directory> {
    top = CFS_TRY(open_top(path, access));
    return top->open_directory(sysroot::kSysrootDirectory);
  };
  Result<Directory> opened = open_directory();
  Result<std::string> meta =
      opened ? read_original(*opened, kMetaFile) : Result<std::string>(Error(opened.error()));
  const bool was_one = opened && opened->exists(sysroot::kOrigin).value_or(false);
  if (!meta && meta.error().code == ErrorCode::kNotFound && !was_one) {
    return make_error(ErrorCode::kNotFound, "'" + path + "' holds no cfs sysroot")
        .with_hint("make one with 'cfs-deploy init'");
  }
  if (!meta) {
    Error error = std::move(meta).error().with("while opening sysroot '" + path + "'");
    if (error.code == ErrorCode::kPermission && error.hint.empty()) {
      error.hint = "only root may look into a device's sysroot";
    }
    return error;
  }
  Directory cfs = std::move(*opened);
  std::optional<FileLock> lock;
  std::vector<Loss> losses;
  if (access == Access::kWrite) {
    lock = CFS_TRY(take_lock(cfs, path));
    losses = CFS_TRY(mend(cfs));
    CFS_TRY(TemporaryName::remove_stale(top->fd(), kWorkPrefix));  // of create()
  } else {
    losses = CFS_TRY(find_losses(cfs, originals()));
  }
  for (const Loss& loss : losses) {
    if (loss.is_copy || !loss.is_restored) continue;
    environment.print("'" + loss.path + "' is put back from its copy: " + loss.problem + "\n");
  }
  const std::string origin_text =
      CFS_TRY_WITH("while opening sysroot '" + path + "'", read_original(cfs, kOriginFile));
  Origin origin = CFS_TRY(parse_origin(origin_text));
  Directory objects = CFS_TRY(cfs.open_directory(sysroot::kObjects));
  store::ObjectStore store = CFS_TRY(store::ObjectStore::open(
      objects.fd(), ".",
      {.verity = environment.verity,
       .object_mode = mode_of(sysroot::object_path({}), false),
       .directory_mode = mode_of(sysroot::kObjects, true),
       .shown_path = path + "/" + sysroot::kSysrootDirectory + "/" + sysroot::kObjects}));
  return Sysroot(path, std::move(cfs), std::move(lock), std::move(losses), std::move(origin),
                 environment.verity, std::move(store));
}

Result<trust::MetadataDirectory> Sysroot::trust_store() const {
  Directory trust = CFS_TRY(directory_.open_directory(sysroot::kTrust));
  return trust::MetadataDirectory::open(trust.fd(), ".");
}

Result<> Sysroot::require_verity() const {
  if (verity_ != store::VerityPolicy::kRequired) return {};
  return prove_verity(directory_, path_);
}

Result<> Sysroot::publish_image(const verity::Digest& image) {
  return directory_.write_symlink(sysroot::image_path(image), sysroot::image_target(image));
}

Result<> Sysroot::save_release(const trust::Verified<release::ReleaseDescription>& description) {
  const verity::Digest& image = description->image.digest;
  const std::string path = sysroot::description_path(image);
  std::string text = CFS_TRY(release::serialise_description(*description));
  CFS_TRY(directory_.make_directories(sysroot::release_directory(image),
                                      mode_of(sysroot::release_directory(image), true)));
  CFS_TRY(directory_.write_file(path, as_bytes(text), mode_of(path, false)));
  return directory_.sync(sysroot::kReleases);
}

Result<release::ReleaseDescription> Sysroot::read_release(const verity::Digest& image) const {
  const std::string path = sysroot::description_path(image);
  std::string text = CFS_TRY(directory_.read_file(path, release::kMaxDescriptionBytes));
  release::ReleaseDescription description =
      CFS_TRY_WITH("while reading '" + path + "'", release::parse_description(text));
  if (description.image.digest != image) {
    return make_error(ErrorCode::kCorrupt, "'" + path + "' describes another image");
  }
  return description;
}

}  // namespace cfs::deployer
