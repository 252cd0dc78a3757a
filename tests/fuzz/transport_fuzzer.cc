// SPDX-License-Identifier: Apache-2.0
// A transport manifest in pieces: there is exactly one text for a manifest, so what is accepted is
// written back as it was.
#include <cstdint>

#include "lib/base/check.h"
#include "lib/transport/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cfs;  // NOLINT(google-build-using-namespace)
  if (size == 0) return 0;
  const size_t step = size_t{data[0]} + 1;
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  transport::ManifestParser parser;
  for (size_t at = 0; at < text.size(); at += step) {
    if (!parser.feed(text.substr(at, step))) return 0;
  }
  Result<transport::Manifest> manifest = parser.finish();
  if (!manifest) return 0;
  std::string written;
  CFS_CHECK(transport::write_manifest(*manifest, sink_to_string(written)));
  CFS_CHECK(written == text);
  return 0;
}
