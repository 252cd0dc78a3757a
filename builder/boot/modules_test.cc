// SPDX-License-Identifier: Apache-2.0
#include "builder/boot/modules.h"

#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "builder/manifest/manifest.h"
#include "builder/test_support.h"

namespace cfs::builder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

constexpr const char* kDep =
    "kernel/fs/erofs/erofs.ko.xz: kernel/fs/netfs/netfs.ko.xz kernel/lib/libcrc32c.ko.xz\n"
    "kernel/fs/netfs/netfs.ko.xz:\n"
    "kernel/lib/libcrc32c.ko.xz: kernel/crypto/crc32c-x.ko.xz\n"
    "kernel/crypto/crc32c-x.ko.xz:\n"
    "kernel/drivers/block/virtio_blk.ko.xz:\n";
constexpr const char* kBuiltin = "kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio/virtio-pci.ko\n";

/// Paths of what is loaded for `names`, in order.
Result<std::vector<std::string>> load_order(const ModuleIndexes& indexes,
                                            const std::vector<std::string>& names) {
  ModulePlan plan = CFS_TRY(plan_modules(indexes, {.always = names}));
  std::vector<std::string> paths;
  for (const std::string& name : plan.always) paths.push_back(plan.modules.at(name).path);
  return paths;
}

Result<std::vector<std::string>> load_order(std::string_view dependencies,
                                            const std::vector<std::string>& names) {
  return load_order({.dependencies = dependencies, .builtin = kBuiltin}, names);
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
  EXPECT_THAT(must(load_order(indexes, {"ext4"})), testing::IsEmpty());
  indexes.builtin = "";
  std::vector<std::string> ext4 = must(load_order(indexes, {"ext4"}));
  EXPECT_THAT(ext4,
              testing::UnorderedElementsAre("fs/jbd2.ko", "crypto/crc32c-intel.ko", "lib/helper.ko",
                                            "crypto/crc32c_generic.ko", "fs/ext4.ko"));
  EXPECT_EQ(ext4.back(), "fs/ext4.ko");
  EXPECT_THAT(must(load_order(indexes, {"libcrc32c"})),
              ElementsAre("crypto/crc32c-intel.ko", "lib/libcrc32c.ko"));
  EXPECT_THAT(
      must(load_order(indexes, {"hba"})),
      ElementsAre("drivers/other.ko", "fs/jbd2.ko", "drivers/hba.ko", "drivers/hba-management.ko"));
  // An alias is how soft dependencies name modules, not how the manifest does.
  EXPECT_FALSE(load_order(indexes, {"crc32c"}));
}

TEST(PlanModules, KeepsWhatIsAskedForByNameAndBySomebody) {
  constexpr const char* kModules =
      "fs/overlay.ko.xz:\n"
      "fs/erofs.ko.xz: lib/libcrc32c.ko.xz\n"
      "lib/libcrc32c.ko.xz:\n"
      "fs/ext4.ko.xz: lib/libcrc32c.ko.xz\n"
      "drivers/scsi_mod.ko.xz:\n"
      "drivers/sd-mod.ko.xz: drivers/scsi_mod.ko.xz\n"
      "drivers/ahci.ko.xz: drivers/scsi_mod.ko.xz\n"
      "drivers/net.ko.xz:\n"
      "drivers/wdt.ko.xz:\n";
  constexpr const char* kAliases =
      "alias fs-erofs erofs\n"
      "alias fs-ext4 ext4\n"
      "alias ext4 ext4\n"
      "alias block-major-8-* sd_mod\n"
      "alias scsi:t-0x00* sd_mod\n"
      "alias pci:v*bc01* ahci\n"
      "alias pci:v*bc02* net\n";
  ModuleIndexes indexes{.dependencies = kModules, .builtin = "", .aliases = kAliases};
  ModulePlan plan = must(plan_modules(indexes, {.always = {"wdt"},
                                                .mounting = {"overlay", "erofs"},
                                                .on_demand = {"sd_mod", "nvme", "ext4"},
                                                .late = {"ahci", "sd_mod", "megaraid", "ahci"}}));
  EXPECT_THAT(plan.always, ElementsAre("wdt"));
  EXPECT_THAT(plan.orders.at("erofs"), ElementsAre("libcrc32c", "erofs"));
  EXPECT_THAT(plan.orders.at("ahci"), ElementsAre("scsi_mod", "ahci"));
  EXPECT_THAT(plan.orders.at("sd_mod"), ElementsAre("scsi_mod", "sd_mod"));
  EXPECT_THAT(plan.late, ElementsAre("ahci"));
  EXPECT_FALSE(plan.orders.contains("nvme")) << "the kernel does not have it";
  EXPECT_FALSE(plan.modules.contains("net")) << "nobody wants it";
  EXPECT_EQ(plan.modules.at("sd_mod").path, "drivers/sd-mod.ko.xz");
  EXPECT_TRUE(plan.modules.at("libcrc32c").every_boot);
  EXPECT_TRUE(plan.modules.at("wdt").every_boot);
  EXPECT_FALSE(plan.modules.at("scsi_mod").every_boot);
  EXPECT_THAT(plan.aliases,
              ElementsAre(Pair("fs-erofs", "erofs"), Pair("fs-ext4", "ext4"),
                          Pair("scsi:t-0x00*", "sd_mod"), Pair("pci:v*bc01*", "ahci")));
  EXPECT_FALSE(plan_modules(indexes, {.always = {"nope"}}));
  EXPECT_FALSE(plan_modules(indexes, {.mounting = {"btrfs"}}));
}

TEST(DriverGroups, HaveDrivers) {
  for (std::string_view group : kDriverGroups) {
    EXPECT_THAT(driver_group(group).modules, testing::Not(IsEmpty()));
  }
}

TEST(Sha256Modules, AreThoseThatTheProcessorAsksFor) {
  ModuleIndexes indexes{.dependencies = "",
                        .builtin = "",
                        .aliases =
                            "alias crypto-sha256 sha256_ssse3\n"
                            "alias cpu:type:x86,ven*fam*mod*:feature:*0089* sha256-ssse3\n"
                            "alias crypto-sha256 some_card\n"
                            "alias pci:v1 some_card\n"
                            "alias cpu:type:x86,ven*fam*mod*:feature:*0094* crc32c_intel\n"};
  EXPECT_THAT(sha256_modules(indexes), ElementsAre("sha256_ssse3"));
}

TEST(Firmware, IsNamedInTheModule) {
  std::string module =
      module_with(std::string("license=GPL\0firmware=a/b.bin\0\0firmware=c.fw\0", 44));
  EXPECT_THAT(firmware_of_module(module), ElementsAre("a/b.bin", "c.fw"));
  EXPECT_THAT(firmware_of_module("the module"), IsEmpty());
  for (size_t size = 0; size < module.size(); ++size) {
    (void)firmware_of_module(std::string_view(module).substr(0, size));  // the sanitizers watch
  }
  for (size_t i = 0; i < sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Shdr); ++i) {
    std::string wild = module;
    wild[i] = '\xff';
    (void)firmware_of_module(wild);
  }
}

}  // namespace
}  // namespace cfs::builder
