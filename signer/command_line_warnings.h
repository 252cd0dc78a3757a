// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cfs::signer {

/// Warnings about a kernel command line for the person who is about to sign it, one sentence each:
/// options that open a shell or replace init, and options that the kernel does not know and hands
/// to init as environment variables. All of them stay inside the image, so they are no errors.
[[nodiscard]] std::vector<std::string> command_line_warnings(std::string_view command_line);

}  // namespace cfs::signer
