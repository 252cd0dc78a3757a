// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>

#include "lib/base/io.h"
#include "lib/boot/uki.h"
#include "lib/trust/client.h"
#include "lib/verity/kernel.h"

namespace cfs::deploy {
namespace {

constexpr size_t kMaxDocumentBytes = 64 << 10;
constexpr size_t kMaxCommandLineBytes = 64 << 10;
constexpr int kSchema = 1;
constexpr std::string_view kAlgorithm = "fsverity-sha256-12";

Result<> write_json(int directory, const std::string& path, const release::Json& json) {
  return write_file_atomically(directory, path, as_bytes(release::to_canonical_json(json) + "\n"));
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
  if (!result && result.error().code == ErrorCode::kUnsupported) {
    return Error(std::move(result).error())
        .with("while checking '" + path + "'")
        .with_hint(
            "a device needs fs-verity: make its file system with `mkfs.ext4 -b 4096 -O "
            "verity`, or add it with `tune2fs -O verity`; for a disk image made on a machine "
            "without it use `cfs-deploy install --disk`");
  }
  return result;
}

Result<> check_meta(int directory) {
  std::string text = CFS_TRY(read_file(directory, "meta.json", kMaxDocumentBytes));
  release::Json json = CFS_TRY(release::parse_json(text, {}, "meta.json"));
  release::JsonReader reader(json, "meta.json");
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
  release::Json json = CFS_TRY(release::parse_json(text, {}, "origin.json"));
  release::JsonReader reader(json, "origin.json");
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
  UniqueFd lock = CFS_TRY(open_at(directory, "lock", O_RDWR | O_CREAT, 0600));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return errno_error("cannot lock '" + path + "/cfs/lock'");
    return make_error(ErrorCode::kBusy, "another cfs-deploy is changing '" + path + "'")
        .with_hint("wait until it has finished, then try again");
  }
  return lock;
}

/// The booted system shows /sysroot read-only, so that nothing but us changes it. Our own view of
/// it becomes writable; nobody else's does.
Result<> make_writable(const std::string& path) {
  struct statvfs status = {};
  if (::statvfs(path.c_str(), &status) != 0) return errno_error("cannot look at '" + path + "'");
  if ((status.f_flag & ST_RDONLY) == 0) return {};
  if (::unshare(CLONE_NEWNS) != 0) return errno_error("cannot make a mount namespace");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
    return errno_error("cannot make mounts private");
  }
  if (::mount(nullptr, path.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV,
              nullptr) != 0) {
    return errno_error("cannot make '" + path + "' writable");
  }
  return {};
}

}  // namespace

Result<Sysroot> Sysroot::create(const Environment& environment, const std::string& path,
                                const Origin& origin, const std::string& root_json) {
  UniqueFd top = CFS_TRY(open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY));
  CFS_TRY(make_directories(top.get(), "cfs"));
  UniqueFd directory = CFS_TRY(open_at(top.get(), "cfs", O_RDONLY | O_DIRECTORY));
  UniqueFd lock = CFS_TRY(take_lock(directory.get(), path));
  if (stat_at(directory.get(), "meta.json", AT_SYMLINK_NOFOLLOW)) {
    return make_error(ErrorCode::kExists, "'" + path + "/cfs' is a sysroot already")
        .with_hint("use `cfs-deploy update`");
  }
  for (const char* name :
       {"objects", "images", "releases", "deployments", "refs/pinned", "state", "tmp"}) {
    CFS_TRY(make_directories(directory.get(), name));
  }
  if (environment.verity == store::VerityPolicy::kRequired) {
    CFS_TRY(prove_verity(directory.get(), path));
  }
  trust::MetadataDirectory trust =
      CFS_TRY(trust::MetadataDirectory::open(directory.get(), "trust"));
  CFS_TRY_WITH("while reading the trust anchor",
               trust::trust_root(trust, Unverified<std::string>(root_json)));
  CFS_TRY(write_json(directory.get(), "origin.json",
                     release::Json::Object{{"schema", kSchema},
                                           {"url", origin.url},
                                           {"name", origin.name},
                                           {"channel", origin.channel}}));
  // Last: it says that the rest is there.
  CFS_TRY(sync_filesystem(directory.get()));
  CFS_TRY(write_json(
      directory.get(), "meta.json",
      release::Json::Object{
          {"schema", kSchema}, {"algorithm", kAlgorithm}, {"features", release::Json::Array{}}}));
  lock.reset();
  return open(environment, path, Access::kWrite);
}

Result<Sysroot> Sysroot::open(const Environment& environment, const std::string& path,
                              Access access) {
  if (access == Access::kWrite) CFS_TRY(make_writable(path));
  Result<UniqueFd> opened = open_at(AT_FDCWD, path + "/cfs", O_RDONLY | O_DIRECTORY);
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
    for (const std::string& name : CFS_TRY(list_directory(directory.get(), "tmp"))) {
      CFS_TRY(remove_tree(directory.get(), "tmp/" + name));
    }
  }
  Origin origin = CFS_TRY(read_origin(directory.get()));
  store::ObjectStore objects = CFS_TRY(store::ObjectStore::open(
      directory.get(), "objects", {.verity = environment.verity, .object_mode = 0444}));
  return Sysroot(path, std::move(directory), std::move(lock), std::move(origin),
                 std::move(objects));
}

Result<trust::MetadataDirectory> Sysroot::trust_store() const {
  return trust::MetadataDirectory::open(directory_.get(), "trust");
}

Result<std::vector<Deployment>> Sysroot::deployments() const {
  std::vector<Deployment> all;
  for (const std::string& id : CFS_TRY(list_directory(directory_.get(), "deployments"))) {
    std::string path = "deployments/" + id + "/deployment.json";
    Result<std::string> text = read_file(directory_.get(), path, kMaxDocumentBytes);
    if (!text && text.error().code == ErrorCode::kNotFound) continue;  // cut off while being made
    if (!text) return text.error();
    Deployment deployment =
        CFS_TRY_WITH("while reading '" + path_ + "/cfs/" + path + "'", parse_deployment(*text));
    if (deployment.id != id) {
      return make_error(ErrorCode::kCorrupt,
                        "'" + path_ + "/cfs/" + path + "' belongs to '" + deployment.id + "'");
    }
    all.push_back(std::move(deployment));
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Deployment& a, const Deployment& b) { return a.epoch > b.epoch; });
  return all;
}

Result<> Sysroot::save(const Deployment& deployment) {
  std::string directory = "deployments/" + deployment.id;
  CFS_TRY(make_directories(directory_.get(), directory));
  CFS_TRY(write_json(directory_.get(), directory + "/deployment.json", to_json(deployment)));
  return fsync_directory(directory_.get(), "deployments");
}

Result<std::optional<Deployment>> Sysroot::reference(const std::string& name) const {
  std::string target(256, '\0');
  std::string path = "refs/" + name;
  ssize_t size = ::readlinkat(directory_.get(), path.c_str(), target.data(), target.size());
  if (size < 0) {
    if (errno == ENOENT) return std::nullopt;
    return errno_error("cannot read '" + path_ + "/cfs/" + path + "'");
  }
  target.resize(static_cast<size_t>(size));
  std::string id = target.substr(target.rfind('/') + 1);
  for (Deployment& deployment : CFS_TRY(deployments())) {
    if (deployment.id == id) return std::move(deployment);
  }
  return make_error(ErrorCode::kCorrupt, "'" + path_ + "/cfs/" + path + "' points to '" + target +
                                             "', which is not a deployment");
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
  return list_directory(directory_.get(), "refs/pinned");
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

Result<std::optional<verity::Digest>> booted_image(const Environment& environment) {
  std::string text =
      CFS_TRY(read_file(AT_FDCWD, environment.kernel_command_line, kMaxCommandLineBytes));
  while (text.ends_with('\n')) text.pop_back();
  Result<verity::Digest> digest = boot::pinned_digest(text);
  if (digest) return *digest;
  if (digest.error().code == ErrorCode::kNotFound) return std::nullopt;
  return Error(std::move(digest).error())
      .with("while reading '" + environment.kernel_command_line + "'");
}

Result<References> references_now(const Sysroot& sysroot, const Environment& environment) {
  References references{.booted = CFS_TRY(sysroot.reference("booted")),
                        .staged = CFS_TRY(sysroot.reference("staged")),
                        .previous = CFS_TRY(sysroot.reference("previous"))};
  std::optional<verity::Digest> running = CFS_TRY(booted_image(environment));
  if (!running) return references;
  // Several deployments may have one image: the one that was meant to run is the likeliest.
  std::optional<Deployment> now;
  for (const std::optional<Deployment>& likely : {references.staged, references.booted}) {
    if (!now && likely && likely->digest == *running) now = likely;
  }
  for (const Deployment& deployment : CFS_TRY(sysroot.deployments())) {
    if (!now && deployment.digest == *running) now = deployment;
  }
  if (!now) return references;  // the running system is not from this sysroot
  now->state = DeploymentState::kGood;
  if (references.booted && references.booted->id != now->id)
    references.previous = references.booted;
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

}  // namespace cfs::deploy
