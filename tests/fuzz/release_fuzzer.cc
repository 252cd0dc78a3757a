// SPDX-License-Identifier: Apache-2.0
// release.json: what our reader accepts, our writer writes, and it is the same again.
#include <cstdint>

#include "lib/base/check.h"
#include "lib/release/description.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cfs;  // NOLINT(google-build-using-namespace)
  Result<release::ReleaseDescription> description =
      release::parse_description({reinterpret_cast<const char*>(data), size});
  if (!description) return 0;
  Result<std::string> text = release::serialise_description(*description);
  // The canonical form may be longer than the input, and so beyond the limit.
  if (!text) {
    CFS_CHECK(size > release::kMaxDescriptionBytes / 8);
    return 0;
  }
  Result<release::ReleaseDescription> again = release::parse_description(*text);
  CFS_CHECK(again && *again == *description);
  return 0;
}
