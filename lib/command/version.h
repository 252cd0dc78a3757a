// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace cfs {

/// The project's version, and the git revision when this was built from a checkout: "0.1.0",
/// "0.1.0 (git 1a2b3c4d5e6f)". Written while building (cmake/WriteVersion.cmake).
extern const char* const kVersion;

}  // namespace cfs
