// SPDX-License-Identifier: Apache-2.0
#include "deployer/fake_release.h"

#include <unistd.h>
#include <zstd.h>

#include <random>

#include "lib/base/byte_stream.h"
#include "lib/base/io.h"
#include "lib/boot/uki.h"
#include "lib/erofs/writer.h"
#include "lib/release/layout.h"
#include "lib/transport/manifest.h"
#include "lib/tree/content_placement.h"
#include "lib/trust/releases.h"
#include "lib/verity/merkle.h"

namespace cfs::deployer {
namespace {

constexpr int64_t kTime = 1'700'000'000;

tree::Attributes attributes(uint32_t mode) {
  return {.mode = mode, .uid = ::geteuid(), .gid = ::getegid(), .nlink = 1, .mtime = {kTime, 5}};
}

/// The directory that will hold `path`.
Result<tree::Node*> make_parent(tree::Tree& tree, const std::string& path) {
  tree::Node* node = &tree.root();
  for (size_t start = 1; start < path.size();) {
    size_t end = path.find('/', start);
    if (end == std::string::npos) break;
    std::string name = path.substr(start, end - start);
    tree::Node* next = tree.child(*node, name);
    node = next != nullptr ? next : CFS_TRY(tree.add(*node, name, attributes(S_IFDIR | 0750)));
    start = end + 1;
  }
  return node;
}

/// Puts an object into the repository.
transport::Entry add_object(trust::FakeRepository& repository, const std::string& content) {
  transport::Entry entry{.digest = verity::digest_of(as_bytes(content)),
                         .size_bytes = content.size(),
                         .encoded_size_bytes = 0};
  std::string encoded(ZSTD_compressBound(content.size()), '\0');
  encoded.resize(ZSTD_compress(encoded.data(), encoded.size(), content.data(), content.size(), 3));
  entry.encoded_size_bytes = encoded.size();
  repository.files[release::encoded_object_path(entry.digest)] = std::move(encoded);
  return entry;
}

Result<std::string> make_image(const tree::Tree& tree) {
  TemporaryDirectory work = CFS_TRY(TemporaryDirectory::create());
  UniqueFd fd = CFS_TRY(open_at(AT_FDCWD, work.path() + "/image", O_RDWR | O_CREAT, 0600));
  CFS_TRY(erofs::write_image(tree, {.min = 1, .max = 1}, fd.get()));
  return read_file(AT_FDCWD, work.path() + "/image", 64 << 20);
}

Result<std::string> make_uki(const FakeRelease& release, const std::string& cmdline) {
  std::string stub = CFS_TRY(boot::read_efi_program(boot::kSystemdStubPath));
  std::string kernel = "MZ" + random_text(50'000, release.epoch);
  std::vector<std::byte> uki =
      CFS_TRY(boot::make_uki({.stub = as_bytes(stub),
                              .os_release = "ID=test\nPRETTY_NAME=\"Test\"\n",
                              .cmdline = cmdline,
                              .uname = "6.12.0-test",
                              .kernel = as_bytes(kernel),
                              .initrd = as_bytes("initrd")}));
  return std::string(as_text(uki));
}

}  // namespace

std::string random_text(size_t size_bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string text(size_bytes, '\0');
  for (char& c : text) c = static_cast<char>('a' + random() % 26);
  return text;
}

Result<release::ReleaseDescription> publish(trust::FakeRepository& repository,
                                            const FakeRelease& release) {
  tree::Tree tree;
  std::map<verity::Digest, transport::Entry> objects;
  for (const auto& [path, content] : release.files) {
    tree::Node* parent = CFS_TRY(make_parent(tree, path));
    tree::Node* file =
        CFS_TRY(tree.add(*parent, path.substr(path.rfind('/') + 1), attributes(S_IFREG | 0640)));
    if (tree::placement_of(content.size()) == tree::Placement::kInline) {
      CFS_TRY(tree.set_content(*file, content));
      continue;
    }
    transport::Entry entry = add_object(repository, content);
    tree.set_object(*file, entry.digest, content.size());
    objects[entry.digest] = entry;
  }

  transport::Manifest manifest;
  std::string image = CFS_TRY(make_image(tree));
  manifest.image = add_object(repository, image);
  release::ReleaseDescription description{
      .name = release.name,
      .version = release.version,
      .epoch = release.epoch,
      .arch = "amd64",
      .channel = release.channel,
      .created = static_cast<uint64_t>(release.created),
      .image = {.digest = manifest.image.digest, .size_bytes = image.size()}};
  for (const auto& [digest, entry] : objects) {
    manifest.objects.push_back(entry);
    description.objects.size_bytes += entry.size_bytes;
  }
  description.compatible = release.compatible;
  description.state_version = release.state_version;
  description.objects.count = objects.size();
  std::string text;
  CFS_TRY(transport::write_manifest(manifest, sink_to_string(text)));
  description.transport = {.sha256 = verity::sha256(as_bytes(text)), .size_bytes = text.size()};
  repository.files[release::transport_path(description.image.digest)] = text;

  const std::string image_digest = description.image.digest.hex();
  description.kernel = {.version = release.kernel_version,
                        .cmdline = "composefs.digest=" + image_digest};
  std::string uki = CFS_TRY(make_uki(
      release, "quiet composefs.digest=" + (release.pin.empty() ? image_digest : release.pin)));
  release::ReleaseFile file{.name = release.name + "_" + release.version + ".efi",
                            .role = "uki",
                            .sha256 = verity::sha256(as_bytes(uki)),
                            .size_bytes = uki.size()};
  repository.files[release::target_path(file.sha256.hex(), file.name)] = uki;
  description.files.push_back(file);

  repository.add_target(release::release_target_name(release.name, release.version),
                        CFS_TRY(release::serialise_description(description)),
                        trust::release_custom(description));
  return description;
}

Result<> write_repository(const trust::FakeRepository& repository, const std::string& path) {
  for (const auto& [name, content] : repository.files) {
    std::string file = path + "/" + name;
    CFS_TRY(make_directories(AT_FDCWD, file.substr(0, file.rfind('/'))));
    UniqueFd fd = CFS_TRY(open_at(AT_FDCWD, file, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    CFS_TRY(write_full(fd.get(), as_bytes(content)));
  }
  return {};
}

}  // namespace cfs::deployer
