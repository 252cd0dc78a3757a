// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/test_release.h"

#include <unistd.h>

#include <random>
#include <set>

#include "lib/base/io.h"
#include "lib/boot/esp.h"
#include "lib/boot/uki.h"
#include "lib/erofs/writer.h"
#include "lib/store/object_store.h"
#include "lib/verity/merkle.h"

namespace cfs::tests {
namespace {

constexpr size_t kInlineBytes = 64;
constexpr int64_t kTime = 1'700'000'000;

tree::Attributes attributes(uint32_t mode) {
  return {.mode = mode, .uid = ::geteuid(), .gid = ::getegid(), .nlink = 1, .mtime = {kTime, 5}};
}

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

}  // namespace

std::string random_text(size_t size_bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string text(size_bytes, '\0');
  for (char& c : text) c = static_cast<char>('a' + random() % 26);
  return text;
}

Result<release::ReleaseDescription> make_build_output(const TestRelease& release,
                                                      const std::string& path) {
  CFS_TRY(make_directories(AT_FDCWD, path));
  store::ObjectStore store = CFS_TRY(store::ObjectStore::open(AT_FDCWD, path + "/objects", {}));
  store::Batch batch = CFS_TRY(store.begin());
  release::ReleaseDescription description;
  tree::Tree tree;
  std::set<verity::Digest> objects;
  for (const auto& [file_path, content] : release.files) {
    tree::Node* parent = CFS_TRY(make_parent(tree, file_path));
    std::string name = file_path.substr(file_path.rfind('/') + 1);
    tree::Node* file = CFS_TRY(tree.add(*parent, name, attributes(S_IFREG | 0640)));
    if (content.size() <= kInlineBytes) {
      CFS_TRY(tree.set_content(*file, content));
      continue;
    }
    auto object = CFS_TRY(batch.put_bytes(as_bytes(content)));
    tree.set_object(*file, object.digest, content.size());
    if (objects.insert(object.digest).second) description.objects.size_bytes += content.size();
  }
  tree::Node* lib = CFS_TRY(make_parent(tree, "/var/lib/x"));
  tree::Node* link = CFS_TRY(tree.add(*lib, "link", attributes(S_IFLNK | 0777)));
  CFS_TRY(tree.set_symlink_target(*link, "target"));
  tree::Node* first = CFS_TRY(tree.add(*lib, "first", attributes(S_IFREG | 0600)));
  CFS_TRY(tree.set_content(*first, "two names"));
  CFS_TRY(tree.add_link(*lib, "second", *first));
  tree.count_links();

  const std::string image_path = path + "/image.cfs";
  UniqueFd image = CFS_TRY(open_at(AT_FDCWD, image_path, O_RDWR | O_CREAT | O_EXCL, 0644));
  erofs::ImageInfo info = CFS_TRY(erofs::write_image(tree, {.min = 1, .max = 1}, image.get()));
  CFS_TRY(batch.put_bytes(as_bytes(CFS_TRY(read_file(AT_FDCWD, image_path, 64 << 20)))));
  CFS_TRY(batch.commit());

  description.name = release.name;
  description.version = release.version;
  description.channel = release.channel;
  description.epoch = release.epoch;
  description.arch = "amd64";
  description.created = static_cast<uint64_t>(kTime);
  description.image = {.digest = info.digest, .size_bytes = info.size_bytes};
  description.objects.count = objects.size();
  description.kernel = {.version = "6.12.0-test",
                        .cmdline = "composefs.digest=" + info.digest.hex() + " quiet"};

  std::string stub = CFS_TRY(boot::read_efi_program(boot::kSystemdStubPath));
  std::string kernel = "MZ" + random_text(50'000, release.epoch);
  std::vector<std::byte> uki =
      CFS_TRY(boot::make_uki({.stub = as_bytes(stub),
                              .os_release = "ID=test\nPRETTY_NAME=\"Test\"\n",
                              .cmdline = description.kernel.cmdline,
                              .uname = description.kernel.version,
                              .kernel = as_bytes(kernel),
                              .initrd = as_bytes("initrd")}));
  std::string uki_name = release.name + "_" + release.version + ".efi";
  CFS_TRY(write_file_atomically(AT_FDCWD, path + "/" + uki_name, uki));
  description.files.push_back(
      {.name = uki_name, .role = "uki", .sha256 = verity::sha256(uki), .size_bytes = uki.size()});
  CFS_TRY(write_file_atomically(AT_FDCWD, path + "/release.json",
                                as_bytes(CFS_TRY(release::serialise_description(description)))));
  return description;
}

}  // namespace cfs::tests
