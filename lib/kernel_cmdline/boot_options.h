// SPDX-License-Identifier: Apache-2.0
// What cfs-mount-root understands of a kernel command line (docs/FORMATS.md, "Kernel command
// line"). One set of rules for those who boot by it and those who make, sign or install one.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/kernel_cmdline/command_line.h"
#include "lib/verity/digest.h"

namespace cfs::kernel_cmdline {

enum class FailureAction { kReboot, kPowerOff, kHalt };

/// How much is proven before the switch.
enum class VerifyLevel {
  kBoot,  ///< the image, and reading init
  kFull,  ///< also: every file's object is there and has the digest the image names
};

/// How /var is mounted.
enum class VarMode {
  kRestricted,  ///< nosuid, nodev, and /var/tmp in memory, of bounded size
  kPlain,       ///< as it is, which containers need
};

/// What becomes of changes to /etc. From loose to strict.
enum class EtcMode {
  kMerge,      ///< a copy of the image's /etc, into which each new release is merged
  kOverlay,    ///< they stay, and lie over each new release's /etc
  kTransient,  ///< they are gone at the next boot, except for what is kept
  kReadOnly,   ///< there are none
};

/// What becomes of changes to the root outside of /etc and /var. From loose to strict.
enum class RootMode {
  kTransient,  ///< they are in memory
  kReadOnly,   ///< there are none
};

/// "merge", "overlay", "transient", "ro"; "transient", "ro".
[[nodiscard]] std::string_view etc_mode_name(EtcMode mode);
[[nodiscard]] std::string_view root_mode_name(RootMode mode);
/// The mode of that name; nothing for any other text.
[[nodiscard]] std::optional<EtcMode> etc_mode_of(std::string_view name);
[[nodiscard]] std::optional<RootMode> root_mode_of(std::string_view name);

/// What the kernel command line asks for.
struct BootOptions {
  verity::Digest digest;
  std::string root = "LABEL=cfs";
  unsigned root_delay_seconds = 30;  ///< how long to wait for the root device at most
  VerifyLevel verify = VerifyLevel::kBoot;
  VarMode var = VarMode::kRestricted;
  std::optional<EtcMode> etc;         ///< instead of the image's own (root_policy.h)
  std::optional<RootMode> root_mode;  ///< the same
  std::string init = "/sbin/init";
  std::vector<std::string> unknown;  ///< `cfs.`, `composefs.`, `composefs`: what means nothing here
};

inline constexpr char kEtcOption[] = "cfs.etc";
inline constexpr char kRootModeOption[] = "cfs.root";

/// What the boot obeys. kInvalidInput: the pinned digest is missing or malformed, an option of ours
/// has two different values or an unknown one, `init=` is not an absolute path.
[[nodiscard]] Result<BootOptions> parse_boot_options(const CommandLine& command_line);

/// As parse_boot_options(), for those who write a command line into something new (cfs-build,
/// cfs-sign): `text` must also be short enough for the kernel, `root=` must be of a form that the
/// built-in initramfs knows, and options of ours of unknown name (BootOptions::unknown), which a
/// boot only warns about, are refused. Errors: kInvalidInput.
[[nodiscard]] Result<BootOptions> check_new_command_line(std::string_view text);

/// `cfs.on_failure`. Never fails, because it decides what happens to failures: whatever cannot be
/// understood means reboot.
[[nodiscard]] FailureAction parse_failure_action(const CommandLine& command_line);

/// What follows when a file that the kernel has found damaged is repaired. From loose to strict.
enum class CorruptionAction { kReport, kReboot };

/// `cfs.on_corruption`. What cannot be understood, on which a boot stops, means report.
[[nodiscard]] CorruptionAction parse_corruption_action(const CommandLine& command_line);

/// The value of `root=`.
struct RootSpec {
  enum class Kind { kPath, kLabel, kUuid, kPartLabel, kPartUuid };
  Kind kind = Kind::kLabel;
  std::string value;
};

/// kInvalidInput unless LABEL=, UUID=, PARTLABEL=, PARTUUID= or /dev/…, and a name that a device
/// can have: a UUID has the form of one, a partition's label 36 characters at most, a path no "."
/// and "..". `root=LABEL="x"`, of which the kernel leaves the quotes in the value, names none, nor
/// do the kernel's words for network file systems.
[[nodiscard]] Result<RootSpec> parse_root_spec(const std::string& text);

/// COMMAND_LINE_SIZE of x86, less the NUL: the kernel cuts off what is longer, silently.
inline constexpr size_t kMaxCommandLineBytes = 2047;

}  // namespace cfs::kernel_cmdline
