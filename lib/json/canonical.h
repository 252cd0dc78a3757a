// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "lib/json/value.h"

namespace cfs::json {

/// The canonical text: keys sorted by bytes, no white space, only `"`, `\` and control characters
/// escaped. Without a newline at the end. Parsing it gives `value` again.
[[nodiscard]] std::string to_canonical(const Value& value);

/// The bytes that TUF signatures and key ids are made over: as to_canonical, but only `"` and
/// `\` are escaped, so that with control characters in a string it is no JSON any more.
/// Spec: TUF 1.0.34 §4.2 "canonical JSON" (OLPC).
[[nodiscard]] std::string to_signing_form(const Value& value);

}  // namespace cfs::json
