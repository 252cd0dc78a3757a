// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "lib/base/result.h"
#include "lib/json/reader.h"
#include "lib/json/value.h"

namespace cfs::deployer {

/// How a boot failed, or why a deployment is not to be used.
enum class ReasonKind {
  kCheck,       ///< a health check failed; `what` is its name
  kFatal,       ///< cfs-mount-root stopped the boot; `what` is its CODE (initramfs/README.md)
  kHung,        ///< the hardware watchdog reset the machine
  kPanicked,    ///< the kernel's last words were a panic
  kNoHealth,    ///< it ended, or its time was up, before it was proven healthy
  kMarkedBad,   ///< `cfs-deploy mark-bad`
  kRolledBack,  ///< `cfs-deploy rollback`
  kCancelled,   ///< `cfs-deploy cancel`
};

/// All texts are printable_text() of lib/base/utf8.h, `what` without line breaks.
struct Reason {
  static constexpr size_t kMaxDetailBytes = 4096;

  ReasonKind kind = ReasonKind::kNoHealth;
  std::string what;    ///< see ReasonKind, else empty
  std::string detail;  ///< the last kMaxDetailBytes of a check's output, or what is known
  std::optional<int> exit_status;  ///< of a check
  uint64_t when = 0;               ///< Unix time
  bool operator==(const Reason&) const = default;
};

/// "check", "fatal", "hung", "panicked", "no-health", "marked-bad", "rolled-back", "cancelled".
[[nodiscard]] std::string_view kind_name(ReasonKind kind);

/// One line for people.
[[nodiscard]] std::string describe(const Reason& reason);

/// `text` as it may stand in Reason::what and Reason::detail: what is not printable is replaced,
/// and of the detail the end is kept.
[[nodiscard]] std::string what_of(std::string_view text);
[[nodiscard]] std::string detail_of(std::string_view text);

[[nodiscard]] json::Value to_json(const Reason& reason);
/// Every field is checked. Errors: kCorrupt.
[[nodiscard]] Result<Reason> parse_reason(const json::Reader& reader);

}  // namespace cfs::deployer
