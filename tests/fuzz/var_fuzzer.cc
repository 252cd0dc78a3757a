// SPDX-License-Identifier: Apache-2.0
// What an image says of its /var, and what a device has noted of its own. There is exactly one text
// for a list of policies; a record that is accepted means the same when it is written and read
// again.
#include <cstdint>

#include "deployer/var/delivered.h"
#include "lib/base/check.h"
#include "lib/sysroot/var_policy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cfs;  // NOLINT(google-build-using-namespace)
  std::string_view text(reinterpret_cast<const char*>(data), size);
  if (Result<std::vector<sysroot::VarRule>> rules = sysroot::parse_var_rules(text)) {
    CFS_CHECK(sysroot::serialise_var_rules(*rules).value() == text);
  }
  if (Result<deployer::DeliveryRecord> record = deployer::parse_delivery_record(text)) {
    std::string written = deployer::serialise_delivery_record(*record);
    CFS_CHECK(deployer::parse_delivery_record(written).value() == *record);
  }
  return 0;
}
