// SPDX-License-Identifier: Apache-2.0
#include "lib/json/value.h"

#include "lib/base/check.h"

namespace cfs::json {

Value::Value(uint64_t value) : value_(static_cast<int64_t>(value)) {
  CFS_CHECK(value <= uint64_t{kMaxInteger});
}

}  // namespace cfs::json
