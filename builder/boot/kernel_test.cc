// SPDX-License-Identifier: Apache-2.0
#include "builder/boot/kernel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "builder/test_support.h"

namespace cfs::builder {
namespace {

using testing::HasSubstr;

constexpr const char* kConfig =
    "# Linux\n"
    "CONFIG_FS_VERITY=y\n"
    "CONFIG_OVERLAY_FS=m\n"
    "CONFIG_EROFS_FS=m\n"
    "CONFIG_EROFS_FS_XATTR=y\n"
    "CONFIG_EROFS_FS_BACKED_BY_FILE=y\n"
    "# CONFIG_BLK_DEV_LOOP is not set\n"
    "CONFIG_EXT4_FS=y\n"
    "CONFIG_BLK_DEV_INITRD=y\n"
    "CONFIG_DEVTMPFS=y\n"
    "CONFIG_TMPFS=y\n"
    "CONFIG_LOCALVERSION=\"\"\n";

struct KernelBench : Workbench {
  KernelBench() {
    TarMaker tar;
    tar.add("usr/lib/modules/6.12-x/modules.dep", {});
    tar.add("boot/vmlinuz-6.12-x", {}, std::string(5000, 'k'));
    tar.add("boot/System.map-6.12-x", {}, "map");
    tar.add("boot/grub/x", {}, "x");
    tar.add("boot/config-6.12-x", {}, kConfig);
    tar.add("vmlinuz", {.type = '2', .link = "boot/vmlinuz-6.12-x"});
    must(import(tar.finish()));
  }
};

TEST(TakeKernel, LeavesAnEmptyBoot) {
  KernelBench bench;
  KernelImage kernel = must(take_kernel(bench.rootfs, 7));
  EXPECT_EQ(kernel.version, "6.12-x");
  EXPECT_EQ(kernel.image, std::string(5000, 'k'));
  EXPECT_TRUE(kernel.config.is_module("CONFIG_EROFS_FS"));
  EXPECT_TRUE(bench.at("/boot").children().empty());
  EXPECT_EQ(bench.at("/sysroot").attributes.mtime.seconds, 7);
  EXPECT_EQ(bench.tree.find("/vmlinuz"), nullptr);
}

TEST(TakeKernel, RefusesNoneAndSeveralAndOneWithoutModules) {
  Workbench empty;
  EXPECT_THAT(take_kernel(empty.rootfs, 7).error().message, HasSubstr("no source"));
  KernelBench two;
  TarMaker tar;
  tar.add("boot/vmlinuz-6.13", {}, "k");
  must(two.import(tar.finish()));
  EXPECT_THAT(take_kernel(two.rootfs, 7).error().message, HasSubstr("several"));
  Workbench bare;
  must(bare.import(tar.finish()));
  EXPECT_THAT(take_kernel(bare.rootfs, 7).error().message, HasSubstr("no /usr/lib/modules"));
}

std::string without(const std::string& line) {
  std::string text = kConfig;
  size_t begin = text.find(line);
  return text.erase(begin, text.find('\n', begin) + 1 - begin);
}

TEST(CheckKernel, OneThatCanDoIt) {
  EXPECT_TRUE(check_kernel("6.12.1-amd64", KernelConfig(kConfig)));
  EXPECT_TRUE(check_kernel("7.0.1", KernelConfig()));
  EXPECT_TRUE(check_kernel("6.6", KernelConfig()));
  EXPECT_TRUE(check_kernel(
      "6.12", KernelConfig(without("CONFIG_EROFS_FS_BACKED_BY_FILE") + "CONFIG_BLK_DEV_LOOP=m\n")));
  EXPECT_TRUE(check_kernel("custom", KernelConfig(kConfig)));
}

TEST(CheckKernel, SaysAllThatItLacks) {
  auto says = [](const std::string& version, const std::string& config) {
    Result<> checked = check_kernel(version, KernelConfig(config));
    EXPECT_FALSE(checked) << version;
    if (checked) return std::string();
    EXPECT_EQ(checked.error().code, ErrorCode::kUnsupported);
    return checked.error().message;
  };
  EXPECT_THAT(says("6.1.0-50-amd64", kConfig), HasSubstr("older than 6.6"));
  EXPECT_THAT(says("5.10", ""), HasSubstr("older than 6.6"));
  EXPECT_THAT(says("6.12", without("CONFIG_FS_VERITY")), HasSubstr("no fs-verity"));
  EXPECT_THAT(says("6.12", without("CONFIG_EROFS_FS_BACKED_BY_FILE")),
              HasSubstr("neither EROFS from a file nor loop devices"));
  EXPECT_THAT(says("6.12", "CONFIG_TMPFS=y\n"),
              testing::AllOf(HasSubstr("no overlayfs"), HasSubstr("no EROFS"),
                             HasSubstr("no devtmpfs"), testing::Not(HasSubstr("no tmpfs"))));
}

TEST(TakeKernel, RefusesOneThatCannotDoIt) {
  Workbench bench;
  TarMaker tar;
  tar.add("usr/lib/modules/6.12-x/modules.dep", {});
  tar.add("boot/vmlinuz-6.12-x", {}, "k");
  tar.add("boot/config-6.12-x", {}, without("CONFIG_FS_VERITY"));
  must(bench.import(tar.finish()));
  EXPECT_EQ(take_kernel(bench.rootfs, 7).error().code, ErrorCode::kUnsupported);
}

TEST(ModuleCompression, IsTheKernelsOwn) {
  KernelConfig config("CONFIG_MODULE_DECOMPRESS=y\nCONFIG_MODULE_COMPRESS_XZ=y\n");
  EXPECT_TRUE(config.unpacks_modules(".xz"));
  EXPECT_FALSE(config.unpacks_modules(".zst"));
  EXPECT_FALSE(config.unpacks_modules(""));
  EXPECT_FALSE(KernelConfig("CONFIG_MODULE_COMPRESS_XZ=y\n").unpacks_modules(".xz"));
}

}  // namespace
}  // namespace cfs::builder
