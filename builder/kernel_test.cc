// SPDX-License-Identifier: Apache-2.0
#include "builder/kernel.h"

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

TEST(ModuleLoadOrder, DependenciesComeFirstAndOnce) {
  EXPECT_THAT(must(module_load_order(kDep, kBuiltin, {"erofs", "virtio-blk", "libcrc32c", "ext4"})),
              ElementsAre("kernel/crypto/crc32c-x.ko.xz", "kernel/lib/libcrc32c.ko.xz",
                          "kernel/fs/netfs/netfs.ko.xz", "kernel/fs/erofs/erofs.ko.xz",
                          "kernel/drivers/block/virtio_blk.ko.xz"));
  EXPECT_THAT(must(module_load_order(kDep, kBuiltin, {"virtio_pci"})), testing::IsEmpty());
}

TEST(ModuleLoadOrder, UnknownModulesAreErrors) {
  Error unknown = module_load_order(kDep, kBuiltin, {"nope"}).error();
  EXPECT_THAT(unknown.message, HasSubstr("'nope'"));
  EXPECT_FALSE(module_load_order("a.ko: missing.ko\n", "", {"a"}));
}

TEST(ModuleLoadOrder, ACircleEnds) {
  EXPECT_THAT(must(module_load_order("a.ko: b.ko\nb.ko: a.ko\n", "", {"a"})),
              ElementsAre("b.ko", "a.ko"));
}

struct KernelBench : Workbench {
  KernelBench() {
    std::string modules = "usr/lib/modules/6.1-x/";
    std::string packed;
    write("m", "the module erofs");
    packed = must(run_command({.arguments = {"xz", "-c", path("m")}}));
    TarMaker tar;
    tar.add(modules + "modules.dep", {}, "kernel/erofs.ko.xz: kernel/netfs.ko\nkernel/netfs.ko:\n");
    tar.add(modules + "modules.builtin", {}, "kernel/ext4.ko\n");
    tar.add(modules + "kernel/erofs.ko.xz", {}, packed);
    tar.add(modules + "kernel/netfs.ko", {}, "the module netfs");
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
            "usr/lib/modules/6.1-x/kernel/erofs.ko\nusr/lib/modules/6.1-x/kernel/netfs.ko\n");
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
            "/usr/lib/modules/6.1-x/kernel/netfs.ko\n/usr/lib/modules/6.1-x/kernel/erofs.ko\n");
}

}  // namespace
}  // namespace cfs::builder
