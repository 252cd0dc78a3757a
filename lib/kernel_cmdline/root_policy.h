// SPDX-License-Identifier: Apache-2.0
// What an image says of the root that is made of it: `/usr/lib/cfs/root.conf` (docs/FORMATS.md).
// cfs-build writes it, cfs-mount-root obeys it. The kernel command line can ask for a stricter
// policy and for no other.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/kernel_cmdline/boot_options.h"

namespace cfs::kernel_cmdline {

inline constexpr char kRootPolicyPath[] = "/usr/lib/cfs/root.conf";
inline constexpr size_t kMaxRootPolicyBytes = 64 << 10;
inline constexpr size_t kMaxKeptPaths = 256;

/// What is the device's own, and not the release's: the id that names it in its journal and on its
/// network, and the keys by which ssh knows it.
inline constexpr std::string_view kIdentityPaths[] = {"/etc/machine-id", "/etc/ssh/ssh_host_*"};

struct RootPolicy {
  EtcMode etc = EtcMode::kTransient;
  RootMode root = RootMode::kReadOnly;
  /// The keep-list: paths below /etc, whose content the device keeps whatever `etc` says, for all
  /// releases. In the last name `*` stands for any characters and `?` for one. All that is below a
  /// directory that matches is kept.
  std::vector<std::string> keep;

  bool operator==(const RootPolicy&) const = default;
};

/// The policy of an image that says nothing: the defaults above, and the identity is kept.
[[nodiscard]] RootPolicy default_root_policy();

/// Returns true if `path` may be in a keep-list: "/etc/" and at least one name; names of printable
/// ASCII, without `[`, `]` and `\`, and not "." or ".."; `*` and `?` in the last name only.
[[nodiscard]] bool is_keepable(std::string_view path);

/// Returns true if `path`, absolute and below /etc, is one of `keep` or lies below one.
[[nodiscard]] bool is_kept(const std::vector<std::string>& keep, const std::string& path);

/// Errors: kCorrupt. Trust: input is attacker-controlled.
[[nodiscard]] Result<RootPolicy> parse_root_policy(std::string_view text);
/// Exactly the text that parse_root_policy() takes. Errors: kInvalidInput (a rule is broken).
[[nodiscard]] Result<std::string> serialise_root_policy(const RootPolicy& policy);

/// The policy with what the kernel command line asks for. Errors: kInvalidInput when that is looser
/// than the image's.
[[nodiscard]] Result<RootPolicy> tightened(RootPolicy policy, const BootOptions& options);

}  // namespace cfs::kernel_cmdline
