// SPDX-License-Identifier: Apache-2.0
#include "deployer/health/built_in.h"

#include <algorithm>
#include <array>
#include <optional>

#include "deployer/config/config.h"
#include "deployer/mounted_esp.h"
#include "deployer/sysroot/running.h"
#include "deployer/sysroot/sysroot.h"
#include "deployer/systemctl.h"
#include "deployer/upkeep/space.h"
#include "deployer/var/delivered.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

/// The description of the running release; nothing when this system was not booted by cfs.
Result<std::optional<release::ReleaseDescription>> running_release(const Environment& environment,
                                                                   const Sysroot& sysroot) {
  std::optional<release::ReleaseDescription> description;
  std::optional<Running> running = CFS_TRY(running_system(environment, std::nullopt));
  if (!running) return description;
  description = CFS_TRY(sysroot.read_release(running->image));
  return description;
}

/// With a file that cannot be read no update would ever come, unattended.
Result<std::string> check_config(const Environment& environment, const HealthOptions&) {
  CFS_TRY(read_config(environment));
  return "";
}

Result<std::string> check_sysroot(const Environment& environment, const HealthOptions& options) {
  Result<Sysroot> sysroot = Sysroot::open(environment, options.sysroot, Access::kWrite);
  if (!sysroot && sysroot.error().code == ErrorCode::kBusy) {
    return "another cfs-deploy is changing it";  // having found that it can
  }
  if (!sysroot) return Error(std::move(sysroot).error());
  const Directory& cfs = sysroot->directory();
  const std::string probe = std::string(sysroot::kTemporary) + "/health-probe";
  CFS_TRY(cfs.write_file(probe, as_bytes("probe"), 0600));
  CFS_TRY(cfs.remove_file(probe));
  return "";
}

/// Where no boot entry can be changed, neither a trial ends nor a release is left.
Result<std::string> check_esp(const Environment& environment, const HealthOptions& options) {
  Result<Sysroot> sysroot = Sysroot::open(environment, options.sysroot, Access::kWrite);
  if (!sysroot && sysroot.error().code == ErrorCode::kBusy) {
    return "another cfs-deploy is changing it";
  }
  const Sysroot held = CFS_TRY(std::move(sysroot));  // with its lock, as MountedEsp::open() wants
  CFS_TRY(MountedEsp::open(options.esp, environment, Access::kWrite));
  return "";
}

/// By the record that a complete delivery leaves.
Result<std::string> check_var(const Environment& environment, const HealthOptions& options) {
  Sysroot sysroot = CFS_TRY(Sysroot::open(environment, options.sysroot, Access::kRead));
  std::optional<Running> running = CFS_TRY(running_system(environment, std::nullopt));
  if (!running) return "the running system is no release of this sysroot";
  const Directory root = CFS_TRY(Directory::open(AT_FDCWD, environment.root));
  if (!CFS_TRY(root.exists(sysroot::kFactoryVar))) return "";
  DeliveryRecord record;
  if (CFS_TRY(sysroot.directory().exists(sysroot::kVarRecord))) {
    record = CFS_TRY(parse_delivery_record(
        CFS_TRY(sysroot.directory().read_file(sysroot::kVarRecord, kMaxDeliveredBytes))));
  }
  if (record.image == running->image) return "";
  return make_error(ErrorCode::kNotFound, "what this release ships for /var was not brought there")
      .with_hint("'journalctl -u cfs-var' says why; 'cfs-deploy apply-var' does it");
}

/// A clock without a battery, and no network to set it by: signatures may look not yet valid, or
/// valid still.
Result<std::string> check_clock(const Environment& environment, const HealthOptions& options) {
  Sysroot sysroot = CFS_TRY(Sysroot::open(environment, options.sysroot, Access::kRead));
  auto description = CFS_TRY(running_release(environment, sysroot));
  if (!description) return "the running system is no release of this sysroot";
  const auto created = static_cast<UnixTime>(description->created);
  const UnixTime now = environment.now();
  if (now >= created) return "";
  return make_error(ErrorCode::kInvalidInput,
                    "the clock says " + format_time(std::max<UnixTime>(now, 0)) +
                        ", the running release was made at " + format_time(created));
}

Result<std::string> check_space(const Environment& environment, const HealthOptions& options) {
  Sysroot sysroot = CFS_TRY(Sysroot::open(environment, options.sysroot, Access::kRead));
  if (!CFS_TRY(running_system(environment, std::nullopt))) {
    return "the running system is no release of this sysroot";
  }
  MountedEsp esp = CFS_TRY(MountedEsp::open(options.esp, environment, Access::kRead));
  const Inventory inventory =
      CFS_TRY(inventory_now(sysroot, environment, CFS_TRY(esp.loader().selected())));
  const uint64_t keep = CFS_TRY(read_config(environment)).keep;
  const Garbage garbage = CFS_TRY(
      find_garbage(sysroot, esp.loader(), environment, inventory, {.keep = keep, .also = {}}));
  CFS_TRY(check_room_for_another(sysroot, esp.loader(), inventory, garbage));
  return "";
}

/// The number of failed units is what systemd calls "degraded". `is-system-running --wait` cannot
/// be asked: it waits for the end of the start of the system, of which this check is a part.
Result<std::string> check_systemd(const Environment& environment, const HealthOptions&) {
  const std::string failed =
      CFS_TRY(systemctl(environment, {"list-units", "--state=failed", "--plain", "--no-legend",
                                      "--no-pager", "--full"}));
  std::string units;
  for (std::string_view rest = failed; !rest.empty();) {
    std::string_view line = rest.substr(0, std::min(rest.find('\n'), rest.size()));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    units += (units.empty() ? "" : ", ") + std::string(line.substr(0, line.find(' ')));
  }
  if (units.empty()) return "";
  return make_error(ErrorCode::kSubprocess, "failed units: " + units);
}

constexpr std::array<BuiltInCheck, 7> kChecks = {{
    {"config", CheckKind::kRequired, "the files of docs/CONFIG.md can be read", check_config},
    {"sysroot", CheckKind::kRequired, "a file can be made, made durable and removed in the sysroot",
     check_sysroot},
    {"esp", CheckKind::kRequired, "the boot loader's entries can be changed", check_esp},
    {"var", CheckKind::kRequired, "what the running release ships for /var has been brought there",
     check_var},
    {"clock", CheckKind::kAdvisory, "the clock is not earlier than the running release was made",
     check_clock},
    {"space", CheckKind::kAdvisory,
     "the sysroot and the EFI system partition have room for another release of this size",
     check_space},
    {"systemd", CheckKind::kAdvisory, "no unit of systemd has failed", check_systemd},
}};

}  // namespace

std::span<const BuiltInCheck> built_in_checks() { return kChecks; }

}  // namespace cfs::deployer
