// SPDX-License-Identifier: Apache-2.0
#include "builder/passes/extensions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "builder/test_support.h"

namespace cfs::builder {
namespace {

using testing::HasSubstr;

/// Debian's systemd: both units are there, neither is enabled.
struct SystemdImage : Workbench {
  SystemdImage() {
    TarMaker tar;
    tar.add("lib", {.type = '2', .link = "usr/lib"});
    for (const char* name : {"sysext", "confext"}) {
      std::string program = std::string("systemd-") + name;
      tar.add("usr/lib/systemd/system/" + program + ".service", {},
              "[Service]\nExecStart=" + program + " refresh\n[Install]\nWantedBy=sysinit.target\n");
    }
    tar.add("usr/lib/systemd/system/systemd-sysext@.service", {},
            "[Service]\nExecStart=-systemd-sysext\n");
    tar.add("usr/lib/systemd/system/other.service", {},
            "# Wants=systemd-sysext.service\n[Unit]\nAfter=systemd-sysext.service\n"
            "[Service]\nExecStart=/usr/bin/other systemd-\n");
    tar.add("usr/lib/systemd/system/sysinit.target.wants/other.service",
            {.type = '2', .link = "../other.service"});
    must(import(tar.finish()));
  }
  void add(const std::string& path, const TarMaker::Entry& entry, const std::string& text = "") {
    TarMaker tar;
    tar.add(path, entry, text);
    must(import(tar.finish()));
  }
};

TEST(Extensions, UnitsThatNobodyStartsAreFine) {
  SystemdImage image;
  EXPECT_TRUE(refuse_extensions_from_var(image.rootfs));
}

TEST(Extensions, WhateverStartsThemIsRefused) {
  struct {
    const char* path;
    TarMaker::Entry entry;
    const char* text;
  } cases[] = {
      {"etc/systemd/system/sysinit.target.wants/systemd-sysext.service",
       {.type = '2', .link = "/usr/lib/systemd/system/systemd-sysext.service"},
       ""},
      {"usr/lib/systemd/system/multi-user.target.requires/systemd-confext.service",
       {.type = '2', .link = "/lib/systemd/system/systemd-confext.service"},
       ""},
      {"lib/systemd/system/multi-user.target.upholds/x.service",
       {.type = '2', .link = "../systemd-sysext.service"},
       ""},
      {"etc/systemd/system/x.service",
       {},
       "[Unit]\nWants=a.service \\\n  systemd-sysext.service\n"},
      {"etc/systemd/system/x.timer", {}, "[Timer]\nUnit = systemd-sysext.service\n"},
      {"etc/systemd/system/other.service.d/more.conf",
       {},
       "[Unit]\nBindsTo=systemd-confext.service"},
      {"usr/local/lib/systemd/system/x.service",
       {},
       "[Service]\nExecStart=/bin/sh -c 'systemd-sysext merge'\n"},
  };
  for (const auto& [path, entry, text] : cases) {
    SystemdImage image;
    image.add(path, entry, text);
    Result<> done = refuse_extensions_from_var(image.rootfs);
    ASSERT_FALSE(done) << path;
    EXPECT_EQ(done.error().code, ErrorCode::kInvalidInput);
    EXPECT_THAT(done.error().message, HasSubstr("systemd/system/"));
    EXPECT_THAT(done.error().hint, HasSubstr("allow: [extensions-from-var]"));
  }
}

TEST(Extensions, AnAliasIsTheUnit) {
  SystemdImage image;
  image.add("etc/systemd/system/alias.service",
            {.type = '2', .link = "/usr/lib/systemd/system/systemd-sysext.service"});
  EXPECT_TRUE(refuse_extensions_from_var(image.rootfs));
  image.add("etc/systemd/system/basic.target.wants/alias.service",
            {.type = '2', .link = "../alias.service"});
  EXPECT_THAT(refuse_extensions_from_var(image.rootfs).error().message,
              HasSubstr("/basic.target.wants/alias.service"));
}

TEST(Extensions, AMaskedUnitDoesNothing) {
  for (const TarMaker::Entry& mask :
       {TarMaker::Entry{.type = '2', .link = "/dev/null"}, TarMaker::Entry{}}) {
    SystemdImage image;
    image.add("etc/systemd/system/sysinit.target.wants/systemd-sysext.service",
              {.type = '2', .link = "/usr/lib/systemd/system/systemd-sysext.service"});
    image.add("etc/systemd/system/systemd-sysext.service", mask);
    EXPECT_TRUE(refuse_extensions_from_var(image.rootfs));
  }
}

TEST(Extensions, WithoutSystemdThereIsNothingToRefuse) {
  Workbench bench;
  EXPECT_TRUE(refuse_extensions_from_var(bench.rootfs));
}

}  // namespace
}  // namespace cfs::builder
