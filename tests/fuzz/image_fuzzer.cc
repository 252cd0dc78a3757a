// SPDX-License-Identifier: Apache-2.0
// Any bytes: read or refused. What is read can be dumped, and the dump parses to the same image.
#include <cstdlib>

#include "lib/erofs/reader.h"
#include "lib/erofs/writer.h"
#include "lib/tree/dump.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cfs;  // NOLINT(google-build-using-namespace)
  Result<erofs::Image> image = erofs::read_image(std::as_bytes(std::span(data, size)));
  if (!image || image->version > 1) return 0;
  erofs::VersionRange versions{.min = image->version, .max = image->version};
  Result<erofs::ImageInfo> info = erofs::write_image(image->tree, versions, -1);
  if (!info) return 0;
  std::string text;
  Result<> dumped = tree::write_dump(image->tree, {}, sink_to_string(text));
  Result<tree::Tree> tree = tree::parse_dump(text);
  // A node's attributes may be longer as dump text than a line of it may be.
  if (!tree && tree.error().message.find("65535") != std::string::npos) return 0;
  if (!dumped || !tree) std::abort();
  if (erofs::write_image(*tree, versions, -1)->digest != info->digest) std::abort();
  return 0;
}
