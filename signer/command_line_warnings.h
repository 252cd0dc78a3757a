// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cfs::signer {

/// What a person should know before signing this kernel command line, one sentence each: options
/// that open a shell or replace init, and those that the kernel does not know and hands to init as
/// environment variables. They stay inside what the image holds, so they are no errors.
[[nodiscard]] std::vector<std::string> command_line_warnings(std::string_view command_line);

}  // namespace cfs::signer
