// SPDX-License-Identifier: Apache-2.0
#include "signer/command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "lib/base/progress.h"
#include "lib/command/command_line.h"
#include "signer/add_release.h"
#include "signer/repository.h"
#include "signer/signing/file_key.h"

namespace cfs::signer {
namespace {

constexpr const char* kAbout =
    "cfs-sign makes and signs release repositories: plain files that any web server can serve.\n"
    "\n"
    "  cfs-sign init REPO --keys KEYS               a new repository with new keys\n"
    "  cfs-sign release add REPO --keys KEYS BUILD  import what cfs-build made\n"
    "  cfs-sign publish REPO --keys KEYS            let devices see it\n"
    "\n"
    "Devices need REPO/metadata/1.root.json once; everything else they verify from there.\n"
    "Publish again before the published metadata expires (7 days by default), also when there is\n"
    "nothing new: devices refuse a repository that has stood still for longer.";

std::string to_text(const Published& published) {
  std::string text =
      fmt::format("published: root {}, targets {}, snapshot {}, timestamp {}; expires {}\n",
                  published.root_version, published.targets_version, published.snapshot_version,
                  published.timestamp_version, format_time(published.expires));
  for (const std::string& note : published.notes) text += fmt::format("note: {}\n", note);
  return text;
}

struct Arguments {
  std::string key_file;
  std::string repository;
  std::string keys;
  std::string build_output;
  Lifetimes lifetimes;
  bool epoch_jump = false;
};

// What is made in a repository is for a web server to read, whatever the umask: directories 0755,
// files 0644. Keys and the lock are made with modes of their own.
class PublicFiles {
 public:
  PublicFiles() = default;
  ~PublicFiles() { (void)::umask(mask_); }
  PublicFiles(const PublicFiles&) = delete;
  PublicFiles& operator=(const PublicFiles&) = delete;

 private:
  mode_t mask_ = ::umask(022);
};

Result<int> keygen(const Arguments& arguments, const Io& io) {
  FileKey key = CFS_TRY(FileKey::generate());
  CFS_TRY(key.save_new(AT_FDCWD, arguments.key_file));
  CFS_TRY(print(io, fmt::format("private key: {0}\npublic key: {0}.pub\nkey id: {1}\n",
                                arguments.key_file, key.public_key().id())));
  return 0;
}

Result<int> init(const Arguments& arguments, const Io& io) {
  KeyDirectory keys(arguments.keys);
  std::string made;
  for (const std::string& path : CFS_TRY(keys.create_missing())) {
    made += fmt::format("new key: {}\n", path);
  }
  // The keys are there whatever becomes of the repository, and that whatever becomes of this line.
  Result<> printed = print(io, made);
  Published published =
      CFS_TRY(Repository::create(arguments.repository, keys, arguments.lifetimes, current_time()));
  CFS_TRY(std::move(printed));
  CFS_TRY(print(io, fmt::format("new repository: {0}\nroot for devices: {0}/metadata/1.root.json\n",
                                arguments.repository)));
  CFS_TRY(print(io, to_text(published)));
  return 0;
}

Result<int> add(const Arguments& arguments, const Io& io) {
  Repository repository = CFS_TRY(Repository::open(arguments.repository));
  AddedRelease added = CFS_TRY(
      add_release(repository, KeyDirectory(arguments.keys), arguments.build_output,
                  arguments.epoch_jump ? EpochJump::kAllow : EpochJump::kRefuse, current_time()));
  const release::ReleaseDescription& description = added.description;
  for (const std::string& warning : added.warnings) {
    CFS_TRY(print(io, fmt::format("warning: kernel command line: {}\n", warning)));
  }
  if (added.targets_version == 0) {
    CFS_TRY(print(io, fmt::format("{} {} is in the repository already: {} files put back\n",
                                  description.name, description.version, added.new_files)));
    return 0;
  }
  CFS_TRY(print(
      io, fmt::format("added {} {}: channel {}, epoch {}, image {}\n"
                      "objects: {}, {} to download at most; {} new, {}\n"
                      "staged in targets {}: 'cfs-sign publish' lets devices see it\n",
                      description.name, description.version, description.channel, description.epoch,
                      description.image.digest.hex(), description.objects.count,
                      format_bytes(added.download_bytes), added.new_objects,
                      format_bytes(added.new_bytes), added.targets_version)));
  return 0;
}

Result<int> publish(const Arguments& arguments, const Io& io) {
  Repository repository = CFS_TRY(Repository::open(arguments.repository));
  Published published = CFS_TRY(
      repository.publish(KeyDirectory(arguments.keys), arguments.lifetimes, current_time()));
  CFS_TRY(print(io, to_text(published)));
  return 0;
}

}  // namespace

Result<int> run(const std::vector<std::string>& arguments, const Io& io) {
  Arguments parsed;
  CLI::App app(kAbout, "cfs-sign");
  app.require_subcommand(1);
  auto repository_option = [&](CLI::App* command) {
    command->add_option("REPO", parsed.repository, "directory of the repository")->required();
    command
        ->add_option(
            "--keys", parsed.keys,
            "directory with root.pem, targets.pem, snapshot.pem, timestamp.pem; further keys of a "
            "role as root.NAME.pem")
        ->required();
  };
  auto expires_option = [&](CLI::App* command) {
    command
        ->add_option("--expires-days", parsed.lifetimes.published_days,
                     "how long devices accept what is published (default 7)")
        ->check(command::integer_between(1, 36500));
  };

  CLI::App* keygen_command = app.add_subcommand(
      "keygen", "Make an Ed25519 key pair: FILE (private, PEM, mode 0600) and FILE.pub.");
  keygen_command->add_option("--out", parsed.key_file, "FILE; never overwritten")->required();
  CLI::App* init_command = app.add_subcommand(
      "init", "Make an empty repository; keys that are missing in --keys are made.");
  repository_option(init_command);
  expires_option(init_command);
  CLI::App* release_command = app.add_subcommand("release", "Work on releases.");
  release_command->require_subcommand(1);
  CLI::App* add_command = release_command->add_subcommand(
      "add",
      "Check and import the output of cfs-build and stage it as a release.\n"
      "Needs targets.pem. Ends with status 10 when that release is there already.");
  repository_option(add_command);
  add_command->add_option("BUILD", parsed.build_output, "output directory of cfs-build")
      ->required();
  add_command->add_flag("--epoch-jump", parsed.epoch_jump,
                        "accept an epoch more than 100000000000 above the last one (0 at first)");
  CLI::App* publish_command = app.add_subcommand(
      "publish",
      "Let devices see what is staged; without anything staged, prolong what they see.\n"
      "Needs snapshot.pem and timestamp.pem, and targets.pem when something is staged; with\n"
      "targets.pem and root.pem, targets and root are renewed in time.");
  repository_option(publish_command);
  expires_option(publish_command);

  if (CFS_TRY(command::parse(app, arguments, io)) == command::Parsed::kHelpPrinted) return 0;
  const PublicFiles modes;
  if (keygen_command->parsed()) return keygen(parsed, io);
  if (init_command->parsed()) return init(parsed, io);
  if (add_command->parsed()) return add(parsed, io);
  return publish(parsed, io);
}

}  // namespace cfs::signer
