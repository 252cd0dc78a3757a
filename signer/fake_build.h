// SPDX-License-Identifier: Apache-2.0
// A build output as docs/FORMATS.md describes it, small, for tests: made of the real tree and image
// writer, without cfs-build.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <map>
#include <string>

#include "lib/base/check.h"
#include "lib/base/io.h"
#include "lib/erofs/writer.h"
#include "lib/release/description.h"
#include "lib/tree/tree.h"
#include "lib/verity/merkle.h"

namespace cfs::signer {

inline void write_test_file(const std::string& path, std::string_view content) {
  CFS_CHECK(write_file_atomically(AT_FDCWD, path, as_bytes(content)));
}

/// What goes into a build; write() makes the directory.
struct FakeBuild {
  std::string name = "os";
  std::string version = "1";
  uint64_t epoch = 1;
  std::string channel = "stable";
  /// Files in the root directory of the image, each an object (so not empty).
  std::map<std::string, std::string> files = {{"hello", std::string(5000, 'h')},
                                              {"world", std::string(300000, 'w')}};
  std::string kernel_image = "not really a PE file";

  /// The description that write() wrote last.
  release::ReleaseDescription description;

  void write(const std::string& output) {
    CFS_CHECK(make_directories(AT_FDCWD, output + "/objects"));
    tree::Tree tree;
    std::map<verity::Digest, uint64_t> objects;
    for (const auto& [file_name, content] : files) {
      verity::Digest digest = verity::digest_of(as_bytes(content));
      objects[digest] = content.size();
      tree::Node* node = *tree.add(tree.root(), file_name, {.mode = S_IFREG | 0644});
      tree.set_object(*node, digest, content.size());
      CFS_CHECK(make_directories(AT_FDCWD, output + "/objects/" + digest.hex().substr(0, 2)));
      write_test_file(output + "/objects/" + digest.object_path(), content);
    }
    UniqueFd image = *open_at(AT_FDCWD, output + "/image.cfs", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    erofs::ImageInfo info = *erofs::write_image(tree, {}, image.get());

    description = {};
    description.name = name;
    description.version = version;
    description.epoch = epoch;
    description.arch = "amd64";
    description.channel = channel;
    description.created = 1700000000;
    description.image = {info.digest, info.size_bytes};
    description.objects.count = objects.size();
    for (const auto& [digest, size_bytes] : objects) description.objects.size_bytes += size_bytes;
    description.kernel = {"6.12.0", "composefs.digest=" + info.digest.hex()};
    std::string uki = name + "_" + version + ".efi";
    write_test_file(output + "/" + uki, kernel_image);
    description.files = {{uki, "uki", verity::sha256(as_bytes(kernel_image)), kernel_image.size()}};
    write_test_file(output + "/release.json", *release::serialise_description(description));
  }
};

}  // namespace cfs::signer
