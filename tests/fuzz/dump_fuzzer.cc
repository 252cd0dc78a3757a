// SPDX-License-Identifier: Apache-2.0
// A dump that is accepted can be written as an image, and that image reads back to itself.
#include <cstdlib>

#include "lib/erofs/reader.h"
#include "lib/erofs/writer.h"
#include "lib/tree/dump.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cfs;  // NOLINT(google-build-using-namespace)
  std::string_view text(reinterpret_cast<const char*>(data), size);
  Result<tree::Tree> tree = tree::parse_dump(text);
  if (!tree) return 0;
  std::string image;
  Result<erofs::ImageInfo> info = erofs::write_image(*tree, {}, [&](Bytes piece) -> Result<> {
    image += as_text(piece);
    return {};
  });
  if (!info) return 0;
  if (!erofs::check_image(as_bytes(image))) std::abort();
  return 0;
}
