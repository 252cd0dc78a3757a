// SPDX-License-Identifier: Apache-2.0
#include "builder/boot/kernel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "builder/test_support.h"
#include "lib/base/subprocess.h"

namespace cfs::builder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kDep =
    "kernel/fs/erofs/erofs.ko.xz: kernel/fs/netfs/netfs.ko.xz kernel/lib/libcrc32c.ko.xz\n"
    "kernel/fs/netfs/netfs.ko.xz:\n"
    "kernel/lib/libcrc32c.ko.xz: kernel/crypto/crc32c-x.ko.xz\n"
    "kernel/crypto/crc32c-x.ko.xz:\n"
    "kernel/drivers/block/virtio_blk.ko.xz:\n";
constexpr const char* kBuiltin = "kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio/virtio-pci.ko\n";

Result<std::vector<std::string>> load_order(std::string_view dependencies,
                                            const std::vector<std::string>& names) {
  return module_load_order({.dependencies = dependencies, .builtin = kBuiltin}, names);
}

TEST(ModuleLoadOrder, DependenciesComeFirstAndOnce) {
  EXPECT_THAT(must(load_order(kDep, {"erofs", "virtio-blk", "libcrc32c", "ext4"})),
              ElementsAre("kernel/crypto/crc32c-x.ko.xz", "kernel/lib/libcrc32c.ko.xz",
                          "kernel/fs/netfs/netfs.ko.xz", "kernel/fs/erofs/erofs.ko.xz",
                          "kernel/drivers/block/virtio_blk.ko.xz"));
  EXPECT_THAT(must(load_order(kDep, {"virtio_pci"})), testing::IsEmpty());
}

TEST(ModuleLoadOrder, UnknownModulesAreErrors) {
  Error unknown = load_order(kDep, {"nope"}).error();
  EXPECT_THAT(unknown.message, HasSubstr("'nope'"));
  EXPECT_FALSE(load_order("a.ko: missing.ko\n", {"a"}));
}

TEST(ModuleLoadOrder, ACircleEnds) {
  EXPECT_THAT(must(load_order("a.ko: b.ko\nb.ko: a.ko\n", {"a"})), ElementsAre("b.ko", "a.ko"));
}

TEST(ModuleLoadOrder, AChainMayBeLongerThanTheStack) {
  constexpr int kLength = 100'000;
  std::string dependencies;
  for (int i = 0; i < kLength; ++i) {
    dependencies += "m" + std::to_string(i) + ".ko: m" + std::to_string(i + 1) + ".ko\n";
  }
  dependencies += "m" + std::to_string(kLength) + ".ko:\n";
  std::vector<std::string> order = must(load_order(dependencies, {"m0"}));
  ASSERT_EQ(order.size(), size_t{kLength} + 1);
  EXPECT_EQ(order.front(), "m" + std::to_string(kLength) + ".ko");
  EXPECT_EQ(order.back(), "m0.ko");
}

TEST(ModuleLoadOrder, SoftDependenciesComeAlong) {
  constexpr const char* kModules =
      "fs/ext4.ko: fs/jbd2.ko\n"
      "fs/jbd2.ko:\n"
      "lib/libcrc32c.ko:\n"
      "crypto/crc32c-intel.ko:\n"
      "crypto/crc32c_generic.ko: lib/helper.ko\n"
      "lib/helper.ko:\n"
      "drivers/hba.ko:\n"
      "drivers/hba-management.ko:\n"
      "drivers/other.ko:\n";
  constexpr const char* kSoft =
      "# Soft dependencies extracted from modules themselves.\n"
      "softdep ext4 pre: crc32c\n"
      "softdep libcrc32c pre: crypto-crc32c\n"
      "softdep hba post: hba_management missing\n"
      "softdep hba pre: other jbd2\n"
      "softdep other pre: hba\n"       // a circle
      "softdep jbd2 hba_management\n"  // neither before nor after: says nothing
      "softdep\n";
  constexpr const char* kAliases =
      "# Aliases extracted from modules themselves.\n"
      "alias crc32c crc32c_generic\n"
      "alias crc32c crc32c_intel\n"
      "alias crypto-crc32c crc32c_intel\n"
      "alias crypto-crc32c not_in_modules_dep\n"
      "alias cpu:type:x86,ven*fam*mod*:feature:*0094* crc32c_intel\n";
  ModuleIndexes indexes{.dependencies = kModules,
                        .builtin = kBuiltin,
                        .soft_dependencies = kSoft,
                        .aliases = kAliases};
  // "ext4" is built in according to kBuiltin.
  EXPECT_THAT(must(module_load_order(indexes, {"ext4"})), testing::IsEmpty());
  indexes.builtin = "";
  std::vector<std::string> ext4 = must(module_load_order(indexes, {"ext4"}));
  EXPECT_THAT(ext4,
              testing::UnorderedElementsAre("fs/jbd2.ko", "crypto/crc32c-intel.ko", "lib/helper.ko",
                                            "crypto/crc32c_generic.ko", "fs/ext4.ko"));
  EXPECT_EQ(ext4.back(), "fs/ext4.ko");
  EXPECT_THAT(must(module_load_order(indexes, {"libcrc32c"})),
              ElementsAre("crypto/crc32c-intel.ko", "lib/libcrc32c.ko"));
  EXPECT_THAT(
      must(module_load_order(indexes, {"hba"})),
      ElementsAre("drivers/other.ko", "fs/jbd2.ko", "drivers/hba.ko", "drivers/hba-management.ko"));
  // An alias is how soft dependencies name modules, not how the manifest does.
  EXPECT_FALSE(module_load_order(indexes, {"crc32c"}));
}

struct KernelBench : Workbench {
  KernelBench() {
    std::string modules = "usr/lib/modules/6.1-x/";
    std::string packed;
    write("m", "the module erofs");
    packed = must(run_command({.arguments = {"xz", "-c", path("m")}}));
    TarMaker tar;
    tar.add(modules + "modules.dep", {},
            "kernel/erofs.ko.xz: kernel/netfs.ko\nkernel/netfs.ko:\nkernel/sum-x.ko:\n");
    tar.add(modules + "modules.builtin", {}, "kernel/ext4.ko\n");
    tar.add(modules + "modules.softdep", {}, "softdep netfs pre: sum\n");
    tar.add(modules + "modules.alias", {}, "alias sum sum_x\n");
    tar.add(modules + "kernel/erofs.ko.xz", {}, packed);
    tar.add(modules + "kernel/netfs.ko", {}, "the module netfs");
    tar.add(modules + "kernel/sum-x.ko", {}, "the module sum");
    tar.add("boot/vmlinuz-6.1-x", {}, std::string(5000, 'k'));
    tar.add("boot/System.map-6.1-x", {}, "map");
    tar.add("boot/grub/x", {}, "x");
    tar.add("vmlinuz", {.type = '2', .link = "boot/vmlinuz-6.1-x"});
    must(import(tar.finish()));
  }
};

TEST(TakeKernel, LeavesAnEmptyBoot) {
  KernelBench bench;
  KernelImage kernel = must(take_kernel(bench.tree, bench.contents));
  EXPECT_EQ(kernel.version, "6.1-x");
  EXPECT_EQ(kernel.image, std::string(5000, 'k'));
  EXPECT_TRUE(bench.at("/boot").children().empty());
  EXPECT_EQ(bench.tree.find("/vmlinuz"), nullptr);
}

TEST(TakeKernel, RefusesNoneAndSeveralAndOneWithoutModules) {
  Workbench empty;
  EXPECT_THAT(take_kernel(empty.tree, empty.contents).error().message, HasSubstr("no source"));
  KernelBench two;
  TarMaker tar;
  tar.add("boot/vmlinuz-6.2", {}, "k");
  must(two.import(tar.finish()));
  EXPECT_THAT(take_kernel(two.tree, two.contents).error().message, HasSubstr("several"));
  Workbench bare;
  must(bare.import(tar.finish()));
  EXPECT_THAT(take_kernel(bare.tree, bare.contents).error().message,
              HasSubstr("no /usr/lib/modules"));
}

TEST(Initramfs, HoldsInitModulesAndNothingElse) {
  KernelBench bench;
  std::string archive =
      must(make_initramfs(bench.tree, bench.contents, "6.1-x", {"erofs", "ext4"}, "#!init"));
  EXPECT_EQ(archive,
            must(make_initramfs(bench.tree, bench.contents, "6.1-x", {"erofs", "ext4"}, "#!init")));
  // GNU cpio is the judge.
  bench.write("initramfs", archive);
  UniqueFd fd = must(open_at(AT_FDCWD, bench.path("initramfs"), O_RDONLY));
  EXPECT_EQ(must(run_command({.arguments = {"cpio", "--quiet", "-t"}, .stdin_fd = fd.get()})),
            "init\ndev\nproc\nrun\nsys\nsysroot\nusr\nusr/lib\nusr/lib/cfs\nusr/lib/modules\n"
            "usr/lib/modules/6.1-x\nusr/lib/modules/6.1-x/kernel\nusr/lib/cfs/modules\n"
            "usr/lib/modules/6.1-x/kernel/erofs.ko\nusr/lib/modules/6.1-x/kernel/netfs.ko\n"
            "usr/lib/modules/6.1-x/kernel/sum-x.ko\n");
  must(make_directories(AT_FDCWD, bench.path("out")));
  ASSERT_EQ(::lseek(fd.get(), 0, SEEK_SET), 0);
  must(run_command({.arguments = {"cpio", "--quiet", "-idm", "--no-preserve-owner"},
                    .working_directory = bench.path("out"),
                    .stdin_fd = fd.get()}));
  auto read = [&](const std::string& name) {
    return must(read_file(AT_FDCWD, bench.path("out/" + name), 1 << 20));
  };
  EXPECT_EQ(read("init"), "#!init");
  EXPECT_EQ(must(stat_at(AT_FDCWD, bench.path("out/init"), 0)).st_mode, S_IFREG | 0755U);
  EXPECT_EQ(read("usr/lib/modules/6.1-x/kernel/erofs.ko"), "the module erofs");
  EXPECT_EQ(read("usr/lib/cfs/modules"),
            "/usr/lib/modules/6.1-x/kernel/sum-x.ko\n/usr/lib/modules/6.1-x/kernel/netfs.ko\n"
            "/usr/lib/modules/6.1-x/kernel/erofs.ko\n");
}

TEST(Initramfs, RefusesAModuleListThatCfsMountRootWouldNotRead) {
  Workbench bench;
  std::string modules = "usr/lib/modules/6.1-x/";
  std::string dependencies;
  std::vector<std::string> names;
  TarMaker tar;
  for (int i = 0; i < 1000; ++i) {
    std::string name = "module_with_a_rather_long_name_" + std::to_string(i);
    std::string path = "kernel/drivers/" + name + ".ko";
    dependencies += path + ":\n";
    names.push_back(name);
    tar.add(modules + path, {}, "m");
  }
  tar.add(modules + "modules.dep", {}, dependencies);
  tar.add(modules + "modules.builtin", {});
  must(bench.import(tar.finish()));
  Result<std::string> archive =
      make_initramfs(bench.tree, bench.contents, "6.1-x", names, "#!init");
  ASSERT_FALSE(archive);
  EXPECT_EQ(archive.error().code, ErrorCode::kInvalidInput);
  EXPECT_THAT(archive.error().message, HasSubstr("1000 modules"));
  names.resize(700);
  EXPECT_TRUE(make_initramfs(bench.tree, bench.contents, "6.1-x", names, "#!init"));
}

}  // namespace
}  // namespace cfs::builder
