// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/sysroot.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>

#include "deployer/work_directory.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/boot/esp.h"
#include "lib/boot/uki.h"
#include "lib/json/canonical.h"
#include "lib/json/reader.h"
#include "lib/mount/fs_context.h"
#include "lib/trust/client.h"
#include "lib/verity/kernel.h"

namespace cfs::deployer {
namespace {

constexpr size_t kMaxDocumentBytes = 64 << 10;
constexpr size_t kMaxProcCommandLineBytes = 64 << 10;
constexpr int kSchema = 1;
constexpr std::string_view kAlgorithm = "fsverity-sha256-12";

Result<> write_json(int directory, const std::string& path, const json::Value& json) {
  return write_file_atomically(directory, path, as_bytes(json::to_canonical(json) + "\n"));
}

/// Enables fs-verity on a small file and throws it away.
Result<> prove_verity(int directory, const std::string& path) {
  const std::string probe = "tmp/verity-probe";
  auto attempt = [&]() -> Result<> {
    CFS_TRY(write_file_atomically(directory, probe, as_bytes("probe")));
    UniqueFd file = CFS_TRY(open_at(directory, probe, O_RDONLY));
    return verity::enable(file.get());
  };
  Result<> result = attempt();
  CFS_TRY(remove_file(directory, probe));
  if (result) return {};
  Error error = std::move(result).error().with("while checking '" + path + "'");
  if (error.code == ErrorCode::kUnsupported) {
    error.code = ErrorCode::kNoVerity;
    error.hint =
        "a device needs fs-verity: make its file system with `mkfs.ext4 -b 4096 -O verity`, or add "
        "it with `tune2fs -O verity`; for a disk image made on a machine without it use "
        "`cfs-deploy install --disk`";
  }
  return error;
}

Result<> check_meta(int directory) {
  std::string text = CFS_TRY(read_file(directory, "meta.json", kMaxDocumentBytes));
  json::Value json = CFS_TRY(json::parse(text, {}, "meta.json"));
  json::Reader reader(json, "meta.json");
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

Result<Origin> read_origin(int directory) {
  std::string text = CFS_TRY(read_file(directory, "origin.json", kMaxDocumentBytes));
  json::Value json = CFS_TRY(json::parse(text, {}, "origin.json"));
  json::Reader reader(json, "origin.json");
  if (CFS_TRY(CFS_TRY(reader.member("schema")).integer()) != kSchema) {
    return make_error(ErrorCode::kUnsupported,
                      "origin.json has a schema that this version does not know");
  }
  Origin origin;
  origin.url = CFS_TRY(CFS_TRY(reader.member("url")).text(4096));
  origin.name = CFS_TRY(CFS_TRY(reader.member("name")).text(64));
  origin.channel = CFS_TRY(CFS_TRY(reader.member("channel")).text(64));
  return origin;
}

Result<UniqueFd> take_lock(int directory, const std::string& path) {
  Result<UniqueFd> opened = open_at(directory, "lock", O_RDWR | O_CREAT, 0600);
  if (!opened && opened.error().code == ErrorCode::kPermission) {
    return Error(std::move(opened).error())
        .with("while locking '" + path + "'")
        .with_hint("changing a device's sysroot needs root");
  }
  UniqueFd lock = CFS_TRY(std::move(opened));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return errno_error("cannot lock '" + path + "/cfs/lock'");
    return make_error(ErrorCode::kBusy, "another cfs-deploy is changing '" + path + "'")
        .with_hint("wait until it has finished, then try again");
  }
  return lock;
}

Result<bool> is_read_only(int directory) {
  struct statvfs status = {};
  if (::fstatvfs(directory, &status) != 0) return errno_error("cannot look at a file system");
  return (status.f_flag & ST_RDONLY) != 0;
}

/// The booted system shows /sysroot read-only, so that nothing but us changes it. What is returned
/// then is a writable mount of it that stands nowhere: nobody else's view changes.
Result<UniqueFd> open_top(const std::string& path, Access access) {
  UniqueFd top = CFS_TRY(open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY));
  if (access == Access::kRead || !CFS_TRY(is_read_only(top.get()))) return top;
  auto make_writable = [&]() -> Result<UniqueFd> {
    UniqueFd mounted = CFS_TRY(mount::clone_mount(top.get()));
    CFS_TRY(mount::set_mount_attributes(mounted.get(), 0, MOUNT_ATTR_RDONLY));
    return mounted;
  };
  Result<UniqueFd> writable = make_writable();
  if (!writable) {
    Error error = std::move(writable).error().with("while making '" + path +
                                                   "' writable, which is mounted read-only");
    if (::geteuid() != 0) error.hint = "this needs root";
    return error;
  }
  if (CFS_TRY(is_read_only(writable->get()))) {
    return make_error(ErrorCode::kPermission, "the file system of '" + path + "' is read-only")
        .with_hint("the kernel log may say why; `mount -o remount,rw` makes it writable");
  }
  return writable;
}

/// Files that write_file_atomically() had not renamed yet when its process was killed.
constexpr std::string_view kTemporaryPrefix = ".tmp-";

Result<> remove_temporaries(int directory, const std::string& path) {
  Result<std::vector<std::string>> names = list_directory(directory, path);
  if (!names) return {};  // nothing there, or nothing that we made
  for (const std::string& name : *names) {
    if (name.starts_with(kTemporaryPrefix)) CFS_TRY(remove_file(directory, path + "/" + name));
  }
  return {};
}

Result<> remove_leftovers(int directory) {
  CFS_TRY(make_directories(directory, "tmp"));
  for (const std::string& name : CFS_TRY(list_directory(directory, "tmp"))) {
    CFS_TRY(remove_tree(directory, "tmp/" + name));
  }
  for (const char* path : {".", "trust"}) CFS_TRY(remove_temporaries(directory, path));
  for (const std::string parent : {"deployments", "releases"}) {
    for (const std::string& name : CFS_TRY(list_directory(directory, parent))) {
      CFS_TRY(remove_temporaries(directory, parent + "/" + name));
    }
  }
  return {};
}

/// The deployment whose directory is `deployments/<id>`. None: one that was cut off while it was
/// being made.
Result<std::optional<Deployment>> read_deployment(int directory, const std::string& id) {
  const std::string parent = "deployments/" + id;
  Result<UniqueFd> file = open_regular_beneath(directory, parent + "/deployment.json");
  if (!file && file.error().code == ErrorCode::kNotFound) {
    std::vector<std::string> names = CFS_TRY(list_directory(directory, parent));
    if (std::all_of(names.begin(), names.end(),
                    [](const std::string& name) { return name.starts_with(kTemporaryPrefix); })) {
      return std::nullopt;
    }
    return make_error(ErrorCode::kCorrupt, "the directory has no deployment.json");
  }
  if (!file) return Error(std::move(file).error());
  Deployment deployment =
      CFS_TRY(parse_deployment(CFS_TRY(read_fd(file->get(), kMaxDocumentBytes))));
  if (deployment.id != id) {
    return make_error(ErrorCode::kCorrupt, "deployment.json belongs to '" + deployment.id + "'");
  }
  return deployment;
}

/// The id that a symlink `refs/…` points to. Errors: kNotFound, kCorrupt (not such a symlink).
Result<std::string> read_reference(int directory, const std::string& path) {
  constexpr std::string_view kParent = "../deployments/";
  char target[256];
  ssize_t size = ::readlinkat(directory, path.c_str(), target, sizeof(target));
  if (size < 0 && errno != EINVAL) return errno_error("cannot read '" + path + "'");
  std::string_view text(target, size < 0 ? 0 : static_cast<size_t>(size));
  if (!text.starts_with(kParent)) {
    return make_error(ErrorCode::kCorrupt, "not a symlink to a deployment");
  }
  return std::string(text.substr(kParent.size()));
}

/// For people and JSON, whatever bytes a name has.
std::string printable(std::string text) {
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

constexpr const char* kReferences[] = {"booted", "previous", "staged"};

/// Which deployment is running? It has the image that the kernel was given; that is certain.
/// Several may have it: releases that differ in the kernel, or in the version only. Each has a boot
/// entry of its own, so the boot loader's word decides. An entry of another image is one that the
/// boot loader started before a kexec, and says nothing. Without the boot loader's word what is
/// known to have run is believed to run still: a staged deployment is not called good on a guess.
std::optional<Deployment> running_deployment(const std::vector<Deployment>& all,
                                             const References& references, const Running& running) {
  std::vector<Deployment> candidates;
  for (const auto* likely : {&references.booted, &references.staged, &references.previous}) {
    if (*likely) candidates.push_back(**likely);
  }
  candidates.insert(candidates.end(), all.begin(), all.end());
  std::erase_if(candidates, [&](const Deployment& one) { return one.digest != running.image; });
  if (candidates.empty()) return std::nullopt;
  auto started = std::find_if(candidates.begin(), candidates.end(), [&](const Deployment& one) {
    return running.entry && boot::same_entry(one.entry, *running.entry);
  });
  return started != candidates.end() ? *started : candidates.front();
}

}  // namespace

Result<Sysroot> Sysroot::create(const Environment& environment, const std::string& path,
                                const Origin& origin, const std::string& root_json) {
  UniqueFd top = CFS_TRY(open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY));
  if (stat_at(top.get(), "cfs/meta.json", AT_SYMLINK_NOFOLLOW)) {
    return make_error(ErrorCode::kExists, "'" + path + "/cfs' is a sysroot already")
        .with_hint("use `cfs-deploy update`");
  }
  Result<std::vector<std::string>> there = list_directory(top.get(), "cfs");
  if (!there && there.error().code != ErrorCode::kNotFound) return Error(std::move(there).error());
  if (there && !there->empty()) {
    return make_error(ErrorCode::kExists, "'" + path + "/cfs' is there and is not a sysroot")
        .with_hint("move it away, or choose another directory with --sysroot");
  }
  WorkDirectory work = CFS_TRY(WorkDirectory::create(path));
  const int directory = work.directory_fd();
  for (const char* name :
       {"objects", "images", "releases", "deployments", "refs/pinned", "state", "tmp"}) {
    CFS_TRY(make_directories(directory, name));
  }
  if (environment.verity == store::VerityPolicy::kRequired) CFS_TRY(prove_verity(directory, path));
  {
    trust::MetadataDirectory trust = CFS_TRY(trust::MetadataDirectory::open(directory, "trust"));
    CFS_TRY_WITH("while reading the trust anchor",
                 trust::trust_root(trust, Unverified<std::string>(root_json)));
  }
  CFS_TRY(write_json(directory, "origin.json",
                     json::Value::Object{{"schema", kSchema},
                                         {"url", origin.url},
                                         {"name", origin.name},
                                         {"channel", origin.channel}}));
  CFS_TRY(write_json(
      directory, "meta.json",
      json::Value::Object{
          {"schema", kSchema}, {"algorithm", kAlgorithm}, {"features", json::Value::Array{}}}));
  if (::fchmod(directory, 0755) != 0) return errno_error("cannot change '" + work.path() + "'");
  CFS_TRY(sync_filesystem(directory));
  CFS_TRY(check_interrupted());
  CFS_TRY(rename_at(AT_FDCWD, work.path(), top.get(), "cfs"));
  CFS_TRY(fsync_fd(top.get()));
  return open(environment, path, Access::kWrite);
}

Result<Sysroot> Sysroot::open(const Environment& environment, const std::string& path,
                              Access access) {
  auto open_directory = [&]() -> Result<UniqueFd> {
    UniqueFd top = CFS_TRY(open_top(path, access));
    return open_at(top.get(), "cfs", O_RDONLY | O_DIRECTORY);
  };
  Result<UniqueFd> opened = open_directory();
  Result<> meta = opened ? check_meta(opened->get()) : Result<>(Error(opened.error()));
  if (!meta && meta.error().code == ErrorCode::kNotFound) {
    return make_error(ErrorCode::kNotFound, "'" + path + "' holds no cfs sysroot")
        .with_hint("make one with `cfs-deploy init`");
  }
  if (!meta) return Error(std::move(meta).error()).with("while opening sysroot '" + path + "'");
  UniqueFd directory = std::move(*opened);
  UniqueFd lock;
  if (access == Access::kWrite) {
    lock = CFS_TRY(take_lock(directory.get(), path));
    CFS_TRY(remove_leftovers(directory.get()));
  }
  Origin origin = CFS_TRY(read_origin(directory.get()));
  store::ObjectStore objects = CFS_TRY(store::ObjectStore::open(
      directory.get(), "objects", {.verity = environment.verity, .object_mode = 0444}));
  return Sysroot(path, std::move(directory), std::move(lock), std::move(origin), environment.verity,
                 std::move(objects));
}

Result<trust::MetadataDirectory> Sysroot::trust_store() const {
  return trust::MetadataDirectory::open(directory_.get(), "trust");
}

Result<> Sysroot::require_verity() const {
  if (verity_ != store::VerityPolicy::kRequired) return {};
  return prove_verity(directory_.get(), path_);
}

Result<Inventory> Sysroot::inventory() const {
  Inventory inventory;
  const int cfs = directory_.get();
  for (const std::string& id : CFS_TRY(list_directory(cfs, "deployments"))) {
    CFS_TRY(check_interrupted());
    Result<std::optional<Deployment>> deployment = read_deployment(cfs, id);
    if (!deployment) {
      inventory.damaged.push_back(
          {printable("deployments/" + id), printable(deployment.error().describe())});
    } else if (*deployment) {
      inventory.deployments.push_back(std::move(**deployment));
    }
  }
  std::stable_sort(inventory.deployments.begin(), inventory.deployments.end(),
                   [](const Deployment& a, const Deployment& b) { return a.epoch > b.epoch; });
  for (const char* name : kReferences) {
    const std::string path = "refs/" + std::string(name);
    Result<std::string> id = read_reference(cfs, path);
    if (!id) {
      if (id.error().code == ErrorCode::kNotFound) continue;
      inventory.damaged.push_back({path, printable(id.error().describe())});
    } else if (std::none_of(inventory.deployments.begin(), inventory.deployments.end(),
                            [&](const Deployment& one) { return one.id == *id; })) {
      inventory.damaged.push_back(
          {path, printable("points to '" + *id + "', which is not a deployment")});
    }
  }
  return inventory;
}

Result<std::vector<Deployment>> Sysroot::deployments() const {
  return CFS_TRY(inventory()).deployments;
}

Result<std::string> Sysroot::unused_id(const verity::Digest& image) const {
  for (unsigned serial = 0;; ++serial) {
    std::string id = image.hex().substr(0, 12) + "." + std::to_string(serial);
    Result<std::optional<Deployment>> there = read_deployment(directory_.get(), id);
    if (there ? !*there : there.error().code == ErrorCode::kNotFound) return id;
    CFS_TRY(check_interrupted());
  }
}

Result<> Sysroot::save(const Deployment& deployment) {
  std::string directory = "deployments/" + deployment.id;
  CFS_TRY(make_directories(directory_.get(), directory));
  CFS_TRY(write_json(directory_.get(), directory + "/deployment.json", to_json(deployment)));
  return fsync_directory(directory_.get(), "deployments");
}

Result<std::optional<Deployment>> Sysroot::reference(const std::string& name) const {
  Result<std::string> id = read_reference(directory_.get(), "refs/" + name);
  if (id) {
    for (Deployment& deployment : CFS_TRY(deployments())) {
      if (deployment.id == *id) return std::move(deployment);
    }
  } else if (id.error().code != ErrorCode::kNotFound && id.error().code != ErrorCode::kCorrupt) {
    return Error(std::move(id).error()).with("while reading '" + path_ + "/cfs'");
  }
  return std::nullopt;
}

Result<> Sysroot::replace_symlink(const std::string& target, const std::string& path) {
  const std::string temporary = "tmp/link";
  CFS_TRY(remove_file(directory_.get(), temporary));
  if (::symlinkat(target.c_str(), directory_.get(), temporary.c_str()) != 0) {
    return errno_error("cannot make a symlink in '" + path_ + "/cfs/tmp'");
  }
  CFS_TRY(rename_at(directory_.get(), temporary, directory_.get(), path));
  return fsync_directory(directory_.get(), path.substr(0, path.rfind('/')));
}

Result<> Sysroot::set_reference(const std::string& name, const Deployment& deployment) {
  return replace_symlink("../deployments/" + deployment.id, "refs/" + name);
}

Result<> Sysroot::remove_reference(const std::string& name) {
  CFS_TRY(remove_file(directory_.get(), "refs/" + name));
  return fsync_directory(directory_.get(), "refs");
}

Result<std::vector<std::string>> Sysroot::pinned() const {
  Result<std::vector<std::string>> names = list_directory(directory_.get(), "refs/pinned");
  if (!names && names.error().code == ErrorCode::kNotFound) return std::vector<std::string>();
  return names;
}

Result<> Sysroot::publish_image(const verity::Digest& image) {
  return replace_symlink("../objects/" + image.object_path(), "images/" + image.hex());
}

std::string Sysroot::release_directory(const verity::Digest& image) {
  return "releases/" + image.hex();
}

Result<> Sysroot::save_release(const trust::Verified<release::ReleaseDescription>& description) {
  std::string directory = release_directory(description->image.digest);
  CFS_TRY(make_directories(directory_.get(), directory));
  CFS_TRY(write_file_atomically(directory_.get(), directory + "/release.json",
                                as_bytes(CFS_TRY(release::serialise_description(*description)))));
  return fsync_directory(directory_.get(), "releases");
}

Result<std::optional<Running>> running_system(const Environment& environment) {
  std::string text =
      CFS_TRY(read_file(AT_FDCWD, environment.kernel_command_line, kMaxProcCommandLineBytes));
  while (text.ends_with('\n')) text.pop_back();
  Result<verity::Digest> digest = boot::pinned_digest(text);
  if (!digest && digest.error().code == ErrorCode::kNotFound) return std::nullopt;
  if (!digest) {
    return Error(std::move(digest).error())
        .with("while reading '" + environment.kernel_command_line + "'");
  }
  return Running{.image = *digest,
                 .entry = CFS_TRY(boot::selected_entry(environment.efi_variables))};
}

Result<References> references_now(const Sysroot& sysroot, const Environment& environment) {
  References references;
  references.booted = CFS_TRY(sysroot.reference("booted"));
  references.staged = CFS_TRY(sysroot.reference("staged"));
  references.previous = CFS_TRY(sysroot.reference("previous"));
  std::optional<Running> running = CFS_TRY(running_system(environment));
  if (!running) return references;
  std::optional<Deployment> now =
      running_deployment(CFS_TRY(sysroot.deployments()), references, *running);
  if (!now) return references;  // the running system is not from this sysroot
  now->state = DeploymentState::kGood;
  if (references.booted && references.booted->id != now->id) {
    references.previous = references.booted;
  }
  references.booted = now;
  if (references.staged && references.staged->id == now->id) references.staged.reset();
  return references;
}

Result<> note_what_booted(Sysroot& sysroot, const Environment& environment) {
  References wanted = CFS_TRY(references_now(sysroot, environment));
  auto id = [](const std::optional<Deployment>& deployment) {
    return deployment ? deployment->id : std::string();
  };
  // A power cut between any two of these: the next run does the rest.
  std::optional<Deployment> booted = CFS_TRY(sysroot.reference("booted"));
  if (wanted.previous && id(wanted.previous) != id(CFS_TRY(sysroot.reference("previous")))) {
    CFS_TRY(sysroot.set_reference("previous", *wanted.previous));
  }
  if (wanted.booted && *wanted.booted != booted) {
    CFS_TRY(sysroot.save(*wanted.booted));
    CFS_TRY(sysroot.set_reference("booted", *wanted.booted));
  }
  if (!wanted.staged && CFS_TRY(sysroot.reference("staged"))) {
    CFS_TRY(sysroot.remove_reference("staged"));
  }
  return {};
}

}  // namespace cfs::deployer
