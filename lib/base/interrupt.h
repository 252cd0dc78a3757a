// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lib/base/result.h"

namespace cfs {

/// Makes SIGINT and SIGTERM set a flag instead of killing the process; ignores SIGPIPE. Called once
/// by `main`. A second signal kills at once.
void catch_interrupts();

/// kInterrupted once SIGINT or SIGTERM came. Long loops call it between objects, so that temporary
/// files are removed and nothing half-made stays. Thread-safe.
[[nodiscard]] Result<> check_interrupted();

}  // namespace cfs
