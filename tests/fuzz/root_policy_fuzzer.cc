// SPDX-License-Identifier: Apache-2.0
// root.conf: a text that is read is the only one that says this.
#include <cstdint>

#include "lib/base/check.h"
#include "lib/kernel_cmdline/root_policy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cfs;  // NOLINT(google-build-using-namespace)
  std::string_view text(reinterpret_cast<const char*>(data), size);
  Result<kernel_cmdline::RootPolicy> policy = kernel_cmdline::parse_root_policy(text);
  if (!policy) return 0;
  Result<std::string> again = kernel_cmdline::serialise_root_policy(*policy);
  CFS_CHECK(again && *again == text);
  (void)kernel_cmdline::is_kept(policy->keep, "/etc/ssh/ssh_host_rsa_key");
  return 0;
}
