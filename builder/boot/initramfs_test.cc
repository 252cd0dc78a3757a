// SPDX-License-Identifier: Apache-2.0
#include "builder/boot/initramfs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "builder/test_support.h"
#include "lib/base/subprocess.h"

namespace cfs::builder {
namespace {

using testing::HasSubstr;

constexpr const char* kModules = "usr/lib/modules/6.12-x/";

/// A kernel with EROFS, overlayfs, a disk driver and a network card.
struct KernelBench : Workbench {
  /// `disk_driver`: the file of that driver.
  explicit KernelBench(const std::string& disk_driver = "the module virtio-blk") {
    TarMaker tar;
    auto add_module = [&](const std::string& name, const std::string& content) {
      write("m", content);
      tar.add(kModules + ("kernel/" + name + ".ko.xz"), {},
              must(run_command({.arguments = {"xz", "-c", path("m")}})));
    };
    tar.add(kModules + std::string("modules.dep"), {},
            "kernel/erofs.ko.xz: kernel/netfs.ko.xz\n"
            "kernel/netfs.ko.xz:\n"
            "kernel/overlay.ko.xz:\n"
            "kernel/virtio-blk.ko.xz:\n"
            "kernel/e1000.ko.xz:\n"
            "kernel/sha256-x.ko.xz:\n");
    tar.add(kModules + std::string("modules.builtin"), {}, "kernel/ext4.ko\n");
    tar.add(kModules + std::string("modules.alias"), {},
            "alias fs-erofs erofs\n"
            "alias virtio:d2v* virtio_blk\n"
            "alias crypto-sha256 sha256_x\n"
            "alias cpu:type:x86* sha256_x\n"
            // No such module: the index says nothing of it.
            "alias crypto-sha256 sha256_gone\n"
            "alias cpu:type:x86* sha256_gone\n");
    for (const char* name : {"erofs", "netfs", "overlay", "e1000", "sha256-x"}) {
      add_module(name, "the module " + std::string(name));
    }
    add_module("virtio-blk", disk_driver);
    must(import(tar.finish()));
    kernel.version = "6.12-x";
    kernel.config = KernelConfig("CONFIG_MODULE_DECOMPRESS=y\nCONFIG_MODULE_COMPRESS_XZ=y\n");
  }

  Result<Initramfs> make(const InitramfsWishes& wishes = {}) {
    return make_initramfs(rootfs, kernel, wishes, "#!init");
  }

  /// GNU cpio is the judge.
  std::string listing(const std::string& archive) {
    write("initramfs", archive);
    UniqueFd fd = must(open_at(AT_FDCWD, path("initramfs"), O_RDONLY));
    return must(run_command({.arguments = {"cpio", "--quiet", "-t"}, .stdin_fd = fd.get()}));
  }
  std::string content(const std::string& archive, const std::string& name) {
    write("initramfs", archive);
    UniqueFd fd = must(open_at(AT_FDCWD, path("initramfs"), O_RDONLY));
    return must(run_command(
        {.arguments = {"cpio", "--quiet", "-i", "--to-stdout", name}, .stdin_fd = fd.get()}));
  }
  KernelImage kernel;
};

TEST(Initramfs, HoldsWhatMountingNeedsAndTheDiskDrivers) {
  KernelBench bench;
  Initramfs initramfs = must(bench.make());
  EXPECT_EQ(initramfs.archive, must(bench.make()).archive);
  EXPECT_EQ(bench.listing(initramfs.archive),
            "init\ndev\nproc\nrun\nsys\nsysroot\nusr\nusr/lib\nusr/lib/cfs\n"
            "usr/lib/cfs/modules\n"
            "usr/lib/cfs/modules/erofs.ko\n"
            "usr/lib/cfs/modules/index\n"
            "usr/lib/cfs/modules/netfs.ko\n"
            "usr/lib/cfs/modules/overlay.ko\n"
            "usr/lib/cfs/modules/sha256_x.ko\n"
            "usr/lib/cfs/modules/virtio_blk.ko.xz\n");
  EXPECT_EQ(bench.content(initramfs.archive, "init"), "#!init");
  EXPECT_EQ(bench.content(initramfs.archive, "usr/lib/cfs/modules/erofs.ko"), "the module erofs");
  EXPECT_EQ(bench.content(initramfs.archive, "usr/lib/cfs/modules/index"),
            "module erofs netfs.ko erofs.ko\n"
            "module overlay overlay.ko\n"
            "module sha256_x sha256_x.ko\n"
            "module virtio_blk virtio_blk.ko.xz\n"
            "alias fs-erofs erofs\n"
            "alias virtio:d2v* virtio_blk\n"
            "alias cpu:type:x86* sha256_x\n");
}

TEST(Initramfs, AddsModulesAndNarrowsDrivers) {
  KernelBench bench;
  Initramfs initramfs = must(bench.make({.modules = {"e1000"}, .drivers = {{"virtio"}}}));
  EXPECT_THAT(bench.content(initramfs.archive, "usr/lib/cfs/modules/index"),
              testing::StartsWith("always e1000.ko\n"));
  EXPECT_THAT(bench.listing(initramfs.archive), HasSubstr("/virtio_blk.ko.xz\n"));
  EXPECT_THAT(bench.listing(must(bench.make({.drivers = {std::vector<std::string>()}})).archive),
              testing::Not(HasSubstr("virtio_blk")));
  EXPECT_THAT(bench.make({.drivers = {{"nvme"}}}).error().message, HasSubstr("'nvme'"));
  EXPECT_THAT(bench.make({.modules = {"nope"}}).error().message, HasSubstr("'nope'"));
}

TEST(Initramfs, TakesTheFirmwareThatADriverNamesAlong) {
  KernelBench bench(module_with(std::string("firmware=a/b.bin\0firmware=gone.bin\0", 35)));
  TarMaker tar;
  tar.add("usr/lib/firmware/a/c.bin.xz", {}, "firmware");
  tar.add("usr/lib/firmware/a/b.bin.xz", {.type = '2', .link = "c.bin.xz"});
  must(bench.import(tar.finish()));
  Initramfs initramfs = must(bench.make());
  EXPECT_EQ(bench.content(initramfs.archive, "lib/firmware/a/b.bin.xz"), "firmware");
  EXPECT_THAT(initramfs.warnings,
              testing::ElementsAre(HasSubstr("may need the firmware gone.bin")));
}

TEST(Initramfs, UnpacksWhatTheKernelCannot) {
  KernelBench bench;
  bench.kernel.config = KernelConfig();
  std::string archive = must(bench.make()).archive;
  EXPECT_EQ(bench.content(archive, "usr/lib/cfs/modules/virtio_blk.ko"), "the module virtio-blk");
}

TEST(Initramfs, RefusesAKernelWithoutDiskDriverOrWithoutAModuleOfItsConfiguration) {
  KernelBench bench;
  bench.kernel.config = KernelConfig("CONFIG_BLK_DEV_LOOP=m\n");
  EXPECT_THAT(bench.make().error().message, HasSubstr("module 'loop'"));
  Workbench bare;
  TarMaker tar;
  tar.add(kModules + std::string("modules.dep"), {});
  tar.add(kModules + std::string("modules.builtin"), {}, "kernel/overlay.ko\nkernel/erofs.ko\n");
  must(bare.import(tar.finish()));
  KernelImage kernel{.version = "6.12-x", .image = "", .config = {}};
  EXPECT_THAT(make_initramfs(bare.rootfs, kernel, {}, "i").error().message,
              HasSubstr("no disk driver"));
}

TEST(StaticProgram, IsToldFromADynamicOne) {
  EXPECT_TRUE(check_static_program(static_program("x"), "p"));
  Result<> dynamic =
      check_static_program(must(read_file(AT_FDCWD, "/proc/self/exe", 1 << 30)), "/bin/p");
  ASSERT_FALSE(dynamic);
  EXPECT_THAT(dynamic.error().message,
              HasSubstr("'/bin/p' cannot be /init: it is dynamic and needs "
                        "/lib64/ld-linux-x86-64.so.2"));
  for (const std::string& bad : {std::string(), std::string("#!/bin/sh"), std::string(100, 'x'),
                                 static_program("").substr(0, 50)}) {
    EXPECT_FALSE(check_static_program(bad, "p"));
  }
}

}  // namespace
}  // namespace cfs::builder
