// SPDX-License-Identifier: Apache-2.0
#include "initramfs/boot_options.h"

#include <charconv>
#include <optional>

namespace cfs::initramfs {
namespace {

constexpr unsigned kMaxRootDelaySeconds = 86400;

Error bad_value(const std::string& name, const std::string& value, const std::string& allowed) {
  return make_error(ErrorCode::kInvalidInput,
                    "'" + name + "=" + value + "' is not one of " + allowed);
}

}  // namespace

Result<BootOptions> parse_boot_options(const mount::CommandLine& command_line) {
  BootOptions options;
  std::optional<std::string> digest = CFS_TRY(command_line.only("composefs.digest"));
  if (!digest) {
    return make_error(ErrorCode::kInvalidInput,
                      "no 'composefs.digest=' on the kernel command line");
  }
  options.digest = CFS_TRY_WITH("in 'composefs.digest='", mount::parse_pinned_digest(*digest));

  std::optional<std::string> action = CFS_TRY(command_line.only("cfs.on_failure"));
  if (action && *action != "reboot" && *action != "poweroff" && *action != "halt") {
    return bad_value("cfs.on_failure", *action, "reboot, poweroff, halt");
  }
  std::optional<std::string> verify = CFS_TRY(command_line.only("cfs.verify"));
  if (verify && *verify != "boot" && *verify != "full") {
    return bad_value("cfs.verify", *verify, "boot, full");
  }
  if (verify == "full") options.verify = VerifyLevel::kFull;
  for (const std::string& name : command_line.names_with_prefix("cfs.")) {
    if (name != "cfs.on_failure" && name != "cfs.on-failure" && name != "cfs.verify") {
      options.unknown.push_back(name);
    }
  }

  options.root = command_line.last("root").value_or(options.root);
  options.init = command_line.last("init").value_or(options.init);
  if (std::optional<std::string> delay = command_line.last("rootdelay")) {
    unsigned seconds = 0;
    auto [end, failure] = std::from_chars(delay->data(), delay->data() + delay->size(), seconds);
    if (failure != std::errc() || end != delay->data() + delay->size() ||
        seconds > kMaxRootDelaySeconds) {
      return bad_value("rootdelay", *delay, "0 … 86400 seconds");
    }
    options.root_delay_seconds = seconds;
  }
  return options;
}

FailureAction parse_failure_action(const mount::CommandLine& command_line) {
  Result<std::optional<std::string>> action = command_line.only("cfs.on_failure");
  if (action && *action == "poweroff") return FailureAction::kPowerOff;
  if (action && *action == "halt") return FailureAction::kHalt;
  return FailureAction::kReboot;
}

}  // namespace cfs::initramfs
