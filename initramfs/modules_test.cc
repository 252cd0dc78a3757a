// SPDX-License-Identifier: Apache-2.0
#include "initramfs/modules.h"

#include <gmock/gmock.h>

namespace cfs::initramfs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Alias, AsFnmatchDoes) {
  struct Case {
    const char* pattern;
    const char* text;
    bool fits;
  };
  for (const Case& c : {
           Case{"virtio:d00000002v*", "virtio:d00000002v00001AF4", true},
           {"virtio:d00000002v*", "virtio:d00000001v00001AF4", false},
           {"pci:v*d*sv*sd*bc01sc06i01*", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01",
            true},
           {"usb:v03EEp6901d000[0-9]dc*", "usb:v03EEp6901d0005dcFF", true},
           {"usb:v03EEp6901d000[0-9]dc*", "usb:v03EEp6901d000AdcFF", false},
           {"a[!0-9]b", "axb", true},
           {"a[!0-9]b", "a5b", false},
           {"a[]x]b", "a]b", true},
           {"a?c", "abc", true},
           {"a?c", "ac", false},
           {"*", "", true},
           {"", "", true},
           {"", "a", false},
           {"a*b*c", "axxbyyc", true},
           {"a*b*c", "axxbyyd", false},
           {"*aab", "aaaab", true},
           {"fs-ext4", "fs-ext4", true},
           {"fs-ext4", "fs-ext40", false},
       }) {
    EXPECT_EQ(matches_alias(c.pattern, c.text), c.fits) << c.pattern << " " << c.text;
  }
  for (const char* odd : {"[", "[]", "[a", "a[", "[a-", "[a-]", "[!", "[!]", "***", "*["}) {
    (void)matches_alias(odd, "a");  // the sanitizers watch
  }
}

TEST(ModuleIndexText, Parses) {
  ModuleIndex index = parse_module_index(
      "always wdt.ko\nlate ahci usb\n\nnonsense\nalias onlytwo\n"
      "module ahci libata.ko.xz ahci.ko.xz\n"
      "module erofs erofs.ko\n"
      "alias pci:v*bc01sc06i01* ahci\n"
      "alias acpi*:AHCI:* ahci\n"
      "alias fs-erofs erofs");
  EXPECT_THAT(index.always, ElementsAre("wdt.ko"));
  EXPECT_THAT(index.late, ElementsAre("ahci", "usb"));
  EXPECT_THAT(index.orders.at("ahci"), ElementsAre("libata.ko.xz", "ahci.ko.xz"));
  EXPECT_THAT(index.modules_for("pci:v1bc01sc06i01"), ElementsAre("ahci"));
  EXPECT_THAT(index.modules_for("fs-erofs"), ElementsAre("erofs"));
  EXPECT_THAT(index.modules_for("fs-ext4"), IsEmpty());
  EXPECT_TRUE(index.asks_on_bus("pci"));
  EXPECT_TRUE(index.asks_on_bus("acpi"));
  EXPECT_FALSE(index.asks_on_bus("memory"));
  EXPECT_THAT(parse_module_index("").aliases, IsEmpty());
}

}  // namespace
}  // namespace cfs::initramfs
