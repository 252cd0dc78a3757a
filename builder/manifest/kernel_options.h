// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/verity/digest.h"

namespace cfs::builder {

/// The kernel command line: `options`, `systemd.gpt_auto=0` unless they say something about that,
/// then the digest that pins the image.
/// Errors: kInvalidInput when it is not printable ASCII or kernel_cmdline::check_new_command_line()
/// refuses it: cfs-mount-root would not boot by it, or options of ours mean nothing.
[[nodiscard]] Result<std::string> kernel_command_line(const std::vector<std::string>& options,
                                                      const verity::Digest& image);

}  // namespace cfs::builder
