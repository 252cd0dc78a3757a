// SPDX-License-Identifier: Apache-2.0
// A build output as docs/FORMATS.md describes it, small, for tests: made of the real tree and image
// writer, without cfs-build.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <map>
#include <string>

#include "lib/base/atomic_file.h"
#include "lib/base/check.h"
#include "lib/base/io.h"
#include "lib/boot/uki.h"
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
  std::string kernel = "MZ kernel";
  /// Comes before the pin on the kernel command line.
  std::string options = "quiet ";

  /// What write() made last.
  release::ReleaseDescription description;
  std::string uki;

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
    description.kernel = {"6.12.0", options + "composefs.digest=" + info.digest.hex()};
    std::vector<std::byte> made =
        *boot::make_uki({.stub = as_bytes(*boot::read_efi_program(boot::kSystemdStubPath)),
                         .os_release = "PRETTY_NAME=\"Test\"\n",
                         .cmdline = description.kernel.cmdline,
                         .uname = description.kernel.version,
                         .kernel = as_bytes(kernel),
                         .initrd = as_bytes("initrd")});
    write_uki(output, std::string(as_text(made)));
  }

  /// Puts `content` into the place of the UKI and writes the description with it.
  void write_uki(const std::string& output, std::string content) {
    uki = std::move(content);
    std::string file = name + "_" + version + ".efi";
    write_test_file(output + "/" + file, uki);
    description.files = {{file, "uki", verity::sha256(as_bytes(uki)), uki.size()}};
    write_description(output);
  }

  void write_description(const std::string& output) {
    write_test_file(output + "/release.json", *release::serialise_description(description));
  }
};

}  // namespace cfs::signer
