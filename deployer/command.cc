// SPDX-License-Identifier: Apache-2.0
#include "deployer/command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

#include "deployer/install.h"
#include "deployer/status.h"
#include "deployer/update.h"
#include "lib/base/io.h"
#include "lib/disk/disk_image.h"
#include "lib/json/canonical.h"
#include "lib/release/description.h"

namespace cfs::deployer {
namespace {

constexpr size_t kMaxRootBytes = 512 << 10;

struct Arguments {
  std::string sysroot = "/sysroot";
  std::string esp;
  std::string root;
  std::string device_url;
  std::string free = "1GiB";
  bool check = false;
  bool json = false;
  Origin origin{.url = "", .name = "", .channel = "stable"};
  InstallOptions install;
};

Result<int> init(const Arguments& arguments, const Environment& environment) {
  std::string root = CFS_TRY(read_file(AT_FDCWD, arguments.root, kMaxRootBytes));
  CFS_TRY(Sysroot::create(environment, arguments.sysroot, arguments.origin, root));
  environment.print("made a sysroot in " + arguments.sysroot + "\n");
  return 0;
}

Result<int> update(const Arguments& arguments, const Environment& environment) {
  Sysroot sysroot = CFS_TRY(Sysroot::open(environment, arguments.sysroot, Access::kWrite));
  MountedEsp esp = CFS_TRY(MountedEsp::open(arguments.esp));
  UpdateResult result = CFS_TRY(deployer::update(
      sysroot, esp, environment, {.url = arguments.origin.url, .check_only = arguments.check}));
  return result.up_to_date ? exit_status(ErrorCode::kNothingToDo) : 0;
}

Result<int> status(const Arguments& arguments, const Environment& environment) {
  Sysroot sysroot = CFS_TRY(Sysroot::open(environment, arguments.sysroot, Access::kRead));
  Status status = CFS_TRY(read_status(sysroot, environment));
  environment.print(arguments.json ? json::to_canonical(to_json(status)) + "\n" : to_text(status));
  return 0;
}

Result<int> rollback(const Arguments& arguments, const Environment& environment) {
  Sysroot sysroot = CFS_TRY(Sysroot::open(environment, arguments.sysroot, Access::kWrite));
  CFS_TRY(note_what_booted(sysroot, environment));
  MountedEsp esp = CFS_TRY(MountedEsp::open(arguments.esp));
  Deployment next = CFS_TRY(roll_back(sysroot, *esp));
  environment.print(next.name + " " + next.version + " (epoch " + std::to_string(next.epoch) +
                    ") boots next\n");
  return 0;
}

/// "1073741824", "1GiB", "1gb", "1G": powers of 1024.
std::optional<uint64_t> parse_size(std::string_view text) {
  uint64_t number = 0;
  auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc()) return std::nullopt;
  std::string unit(end, text.data() + text.size());
  for (char& c : unit) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  for (unsigned power = 0; power <= 4; ++power) {
    const std::string prefix = std::string("kmgt").substr(power == 0 ? 4 : power - 1, 1);
    if (unit != prefix && unit != prefix + "b" && (power == 0 || unit != prefix + "ib")) continue;
    if (number > std::numeric_limits<uint64_t>::max() >> (10 * power)) return std::nullopt;
    return number << (10 * power);
  }
  return std::nullopt;
}

Result<int> install(Arguments& arguments, const Environment& environment) {
  InstallOptions& options = arguments.install;
  options.root_json = CFS_TRY(read_file(AT_FDCWD, arguments.root, kMaxRootBytes));
  options.free_bytes = parse_size(arguments.free).value();
  options.url = arguments.origin.url;
  options.origin = arguments.origin;
  if (!arguments.device_url.empty()) options.origin.url = arguments.device_url;
  CFS_TRY(deployer::install(options, environment));
  return 0;
}

std::string check_url(const std::string& text) {
  for (const char* scheme : {"https://", "http://", "file:///"}) {
    if (text.starts_with(scheme)) return "";
  }
  return "'" + text + "' is not an https://, http:// or file:/// URL";
}

std::string check_name(const std::string& text) {
  if (release::is_release_name(text)) return "";
  return "'" + text + "' cannot be a release's name: [a-z0-9][a-z0-9.-]{0,63}";
}

std::string check_channel(const std::string& text) {
  if (release::is_channel(text)) return "";
  return "'" + text + "' cannot be a channel: [a-z0-9][a-z0-9-]{0,31}";
}

std::string check_not_empty(const std::string& text) {
  return text.empty() ? "the path is empty" : "";
}

std::string check_free(const std::string& text) {
  std::optional<uint64_t> bytes = parse_size(text);
  if (bytes && *bytes <= disk::kMaxRootFreeBytes) return "";
  return "'" + text + "' is not a size from 0 to 1TiB, as 2GiB or 512MiB";
}

void add_release_options(CLI::App& command, Arguments& arguments) {
  command.add_option("--url", arguments.origin.url, "Where the release repository is")
      ->required()
      ->check(check_url);
  command.add_option("--root", arguments.root, "Trusted root metadata (root.json)")->required();
  command.add_option("--name", arguments.origin.name, "Name of the releases to follow")
      ->required()
      ->check(check_name);
  command.add_option("--channel", arguments.origin.channel, "Channel to follow")
      ->check(check_channel)
      ->capture_default_str();
}

void add_sysroot_option(CLI::App& command, Arguments& arguments) {
  command.add_option("--sysroot", arguments.sysroot, "Directory that holds cfs/")
      ->check(check_not_empty)
      ->capture_default_str();
}

void add_esp_option(CLI::App& command, Arguments& arguments) {
  command.add_option("--esp", arguments.esp,
                     "EFI system partition's directory (default: /boot/efi, /efi or /boot; else "
                     "partition cfs-esp is mounted meanwhile)");
}

}  // namespace

Result<int> run(std::vector<std::string> arguments, const Environment& environment) {
  Arguments values;
  CLI::App app("Installs signed releases on this device, or into a disk image.", "cfs-deploy");
  app.require_subcommand(1);
  app.footer(
      "Exit status: 0 done, 1 failed, 2 usage, 6 signature or trust, 7 corrupt data, 8 network,\n"
      "9 no space, 10 nothing to do (update).");

  CLI::App* init_command =
      app.add_subcommand("init", "Make a sysroot and trust a repository's root");
  add_sysroot_option(*init_command, values);
  add_release_options(*init_command, values);

  CLI::App* update_command =
      app.add_subcommand("update", "Fetch the newest release and boot it next");
  add_sysroot_option(*update_command, values);
  add_esp_option(*update_command, values);
  update_command
      ->add_option("--url", values.origin.url, "Fetch from here this time (mirror, USB stick)")
      ->check(check_url);
  update_command->add_flag("--check", values.check, "Only say what would be fetched");

  CLI::App* status_command = app.add_subcommand("status", "Show what is installed");
  add_sysroot_option(*status_command, values);
  status_command->add_flag("--json", values.json, "As JSON");

  CLI::App* rollback_command = app.add_subcommand(
      "rollback", "Give up a staged update, or boot the previous deployment next");
  add_sysroot_option(*rollback_command, values);
  add_esp_option(*rollback_command, values);

  CLI::App* install_command =
      app.add_subcommand("install", "Make a bootable disk image; needs no root rights");
  install_command
      ->add_option("--disk", values.install.disk, "File to make; must not exist, or be empty")
      ->required();
  add_release_options(*install_command, values);
  install_command
      ->add_option("--device-url", values.device_url, "Where the device finds updates (as --url)")
      ->check(check_url);
  install_command
      ->add_option("--free", values.free,
                   "Room for updates on the root file system: bytes, or with K, M, G, T "
                   "(powers of 1024), at most 1TiB")
      ->check(check_free)
      ->capture_default_str();

  try {
    std::reverse(arguments.begin(), arguments.end());  // CLI11's order for vectors
    app.parse(arguments);
  } catch (const CLI::CallForHelp&) {
    CLI::App* asked = &app;
    for (CLI::App* command : app.get_subcommands()) asked = command;
    environment.print(asked->help());
    return 0;
  } catch (const CLI::Error& error) {
    return make_error(ErrorCode::kUsage, error.what()).with_hint("see `cfs-deploy --help`");
  }
  if (init_command->parsed()) return init(values, environment);
  if (update_command->parsed()) return update(values, environment);
  if (status_command->parsed()) return status(values, environment);
  if (rollback_command->parsed()) return rollback(values, environment);
  return install(values, environment);
}

}  // namespace cfs::deployer
