// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "lib/base/result.h"

namespace cfs::signer {

/// The command `cfs-sign`, without the program's name in `arguments`. Results go to `out`.
[[nodiscard]] Result<> run(const std::vector<std::string>& arguments, std::ostream& out);

}  // namespace cfs::signer
