// SPDX-License-Identifier: Apache-2.0
#include "builder/passes/extensions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

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
      {"etc/systemd/system/systemd-sysext-more.service",
       {},
       "[Unit]\nWants=systemd-sysext.service\n"},
      {"etc/systemd/system/x.socket",
       {},
       "[Socket]\nListenFIFO=/run/x\nService=systemd-sysext.service\n"},
      {"etc/systemd/system.attached/x.service", {}, "[Unit]\nRequires=systemd-sysext.service\n"},
      {"etc/systemd/system.attached/x.target.wants/systemd-sysext.service",
       {.type = '2', .link = "/usr/lib/systemd/system/systemd-sysext.service"},
       ""},
      {"etc/udev/rules.d/1.rules",
       {},
       "# all\nSUBSYSTEM==\"block\", TAG+=\"systemd\", \\\n"
       "  ENV{SYSTEMD_WANTS}+=\"systemd-sysext.service\"\n"},
      {"usr/lib/udev/rules.d/1.rules", {}, "ENV{SYSTEMD_WANTS}=\"a b systemd-confext.service\"\n"},
      {"usr/local/lib/udev/rules.d/1.rules", {}, "RUN+=\"/usr/bin/systemd-sysext refresh\"\n"},
      {"lib/udev/rules.d/1.rules", {}, "IMPORT{program}=\"systemd-confext status\"\n"},
  };
  for (const auto& [path, entry, text] : cases) {
    SystemdImage image;
    image.add(path, entry, text);
    std::string real = path;
    if (real.starts_with("lib/")) real = "usr/" + real;
    Result<> done = refuse_extensions_from_var(image.rootfs);
    ASSERT_FALSE(done) << path;
    EXPECT_EQ(done.error().code, ErrorCode::kInvalidInput);
    EXPECT_THAT(done.error().message, HasSubstr(std::string("by '/") + real));
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

TEST(Extensions, FilesThatLinksLeadToAreRead) {
  const std::string unit = "[Service]\nExecStart=systemd-sysext merge\n";
  const std::string rule = "RUN+=\"systemd-sysext refresh\"\n";
  for (const auto& [link, target, text] : std::vector<std::array<std::string, 3>>{
           {"etc/systemd/system/x.service", "/opt/file", unit},
           {"etc/systemd/system/x.service", "../../../opt/file", unit},
           {"etc/systemd/system/other.service.d/x.conf", "/opt/file", unit},
           {"etc/udev/rules.d/x.rules", "/opt/file", rule}}) {
    SystemdImage image;
    image.add("opt/file", {}, text);
    EXPECT_TRUE(refuse_extensions_from_var(image.rootfs));
    image.add(link, {.type = '2', .link = target});
    Result<> done = refuse_extensions_from_var(image.rootfs);
    ASSERT_FALSE(done) << link;
    EXPECT_THAT(done.error().message, HasSubstr("by '/opt/file'"));
  }
  SystemdImage image;
  image.add("etc/systemd/system/x.service", {.type = '2', .link = "x.service"});
  image.add("etc/systemd/system/y.service", {.type = '2', .link = "/nowhere/y.service"});
  EXPECT_TRUE(refuse_extensions_from_var(image.rootfs));
}

TEST(Extensions, AMaskedUnitRunsNothing) {
  SystemdImage image;
  image.add("usr/lib/systemd/system/x.service", {}, "[Service]\nExecStart=systemd-sysext merge\n");
  EXPECT_FALSE(refuse_extensions_from_var(image.rootfs));
  image.add("etc/systemd/system/x.service", {.type = '2', .link = "/dev/null"});
  EXPECT_TRUE(refuse_extensions_from_var(image.rootfs));
}

TEST(Extensions, AnEnabledTimerPathOrSocketOfTheirNameStartsThem) {
  for (const char* kind : {"timer", "path", "socket"}) {
    const std::string name = std::string("systemd-confext.") + kind;
    const std::string file = "usr/lib/systemd/system/" + name;
    for (const char* text : {"[Socket]\nAccept=no\n", "[Unit]\n"}) {
      SystemdImage image;
      image.add(file, {}, text);
      EXPECT_TRUE(refuse_extensions_from_var(image.rootfs));  // nobody enables it
      image.add("etc/systemd/system/x.target.wants/" + name, {.type = '2', .link = "/" + file});
      EXPECT_FALSE(refuse_extensions_from_var(image.rootfs)) << name;
      image.add("etc/systemd/system/" + name, {.type = '2', .link = "/dev/null"});
      EXPECT_TRUE(refuse_extensions_from_var(image.rootfs));
    }
  }
  // As systemd 256 has it: the service that answers does what a client asks for.
  SystemdImage image;
  image.add("usr/lib/systemd/system/systemd-sysext.socket", {}, "[Socket]\nAccept=yes\n");
  image.add("usr/lib/systemd/system/sockets.target.wants/systemd-sysext.socket",
            {.type = '2', .link = "../systemd-sysext.socket"});
  EXPECT_TRUE(refuse_extensions_from_var(image.rootfs));
}

TEST(Extensions, OtherRulesAndMaskedOnesAreFine) {
  SystemdImage image;
  image.add("usr/lib/udev/rules.d/1.rules", {},
            "# RUN+=\"systemd-sysext\"\nENV{SYSTEMD_WANTS}+=\"other.service\"\n"
            "ENV{ID_X}=\"systemd-sysext.service\"\n");
  image.add("usr/lib/udev/rules.d/README", {}, "RUN+=\"systemd-sysext\"\n");
  image.add("usr/lib/udev/rules.d/2.rules", {}, "RUN+=\"systemd-sysext refresh\"\n");
  EXPECT_FALSE(refuse_extensions_from_var(image.rootfs));
  image.add("etc/udev/rules.d/2.rules", {.type = '2', .link = "/dev/null"});
  EXPECT_TRUE(refuse_extensions_from_var(image.rootfs));
}

TEST(Extensions, WithoutSystemdThereIsNothingToRefuse) {
  Workbench bench;
  EXPECT_TRUE(refuse_extensions_from_var(bench.rootfs));
}

}  // namespace
}  // namespace cfs::builder
