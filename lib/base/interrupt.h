// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lib/base/result.h"

namespace cfs {

/// Makes SIGINT, SIGTERM and SIGHUP set a flag instead of killing the process (those that were
/// ignored stay so); ignores SIGPIPE and SIGXFSZ, so that a write nobody reads and a file above the
/// limit of its size are errors of the call (EPIPE, EFBIG); no longer ignores SIGCHLD. Called once,
/// by run_program(). A second signal kills at once. Children have none of this
/// (lib/base/subprocess.h).
void catch_interrupts();

/// Returns true once one of them came. Blocked calls of lib/base/io.h then end with EINTR.
/// Thread-safe.
[[nodiscard]] bool is_interrupted();

/// Fails with kInterrupted once one of them came. Long loops call it between objects, so that
/// temporary files are removed and nothing half-made stays. Thread-safe.
[[nodiscard]] Result<> check_interrupted();

}  // namespace cfs
