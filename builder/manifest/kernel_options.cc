// SPDX-License-Identifier: Apache-2.0
#include "builder/manifest/kernel_options.h"

#include <algorithm>

#include "lib/base/check.h"
#include "lib/kernel_cmdline/boot_options.h"

namespace cfs::builder {

Result<std::string> kernel_command_line(const std::vector<std::string>& options,
                                        const verity::Digest& image) {
  std::string line;
  for (const std::string& option : options) line += option + ' ';
  // The partitions of a disk that somebody adds are not for us to mount
  // (docs/decisions/022-what-var-and-added-disks-may-do.md).
  if (!kernel_cmdline::CommandLine::parse(line).last("systemd.gpt_auto")) {
    line += "systemd.gpt_auto=0 ";
  }
  line += std::string(kernel_cmdline::kPinOption) + "=" + image.hex();
  if (!std::all_of(line.begin(), line.end(), [](char c) { return c >= ' ' && c <= '~'; })) {
    return make_error(ErrorCode::kInvalidInput, "the kernel command line must be printable ASCII");
  }
  Result<kernel_cmdline::BootOptions> understood = kernel_cmdline::check_new_command_line(line);
  if (!understood) {
    Error error = std::move(understood).error();
    // Options that hide the digest say nothing else that is wrong.
    if (!kernel_cmdline::pinned_digest(line)) {
      error.hint = "'composefs.digest=' comes after these options and must be seen by the kernel";
    }
    return error;
  }
  CFS_CHECK(understood->digest == image);
  return line;
}

}  // namespace cfs::builder
