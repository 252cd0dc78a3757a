// SPDX-License-Identifier: Apache-2.0
#include "signer/command_line_warnings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cfs::signer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(CommandLineWarningsTest, OrdinaryLinesHaveNone) {
  const std::string pin = "composefs.digest=" + std::string(64, 'a');
  for (const std::string& line :
       {pin, "quiet console=ttyS0,115200 console=tty0 loglevel=3 " + pin,
        "root=LABEL=cfs rootflags=noatime rw panic=10 mitigations=auto cfs.verify=full " + pin,
        "init=/usr/lib/systemd/systemd systemd.show_status=0 net.ifnames=0 "
        "usbcore.autosuspend=-1 " +
            pin,
        "module_blacklist=nouveau,radeon netconsole=@/,@10.0.0.1/ mem_sleep_default=deep "
        "cgroup_no_v1=all split_lock_detect=off efi=debug hugetlb_cma=1G kgdboc=ttyS0 "
        "movablecore=1G mtdparts=x:1M(a) panic_print=1 rodata=full spectre_bhi=off srso=off "
        "trace_options=stacktrace initrd=\\x swapaccount=1 reserve=0x300,8 thp_anon=16K:always " +
            pin,
        std::string("quiet splash nosmt -- anything=else")}) {
    EXPECT_THAT(command_line_warnings(line), IsEmpty()) << line;
  }
}

TEST(CommandLineWarningsTest, WhatOpensAShellOrReplacesInit) {
  EXPECT_THAT(command_line_warnings("rdinit=/bin/evil"),
              ElementsAre(HasSubstr("'rdinit=/bin/evil'")));
  EXPECT_THAT(command_line_warnings("init=/bin/sh"), ElementsAre(HasSubstr("is a shell")));
  EXPECT_THAT(command_line_warnings("init=/usr/bin/bash init=/bin/dash"),
              ElementsAre(HasSubstr("'init=/bin/dash'")));
  for (const char* option :
       {"systemd.debug_shell", "systemd.debug-shell=1", "rd.systemd.debug_shell=ttyS0", "rd.break",
        "break=top", "rd.shell", "systemd.run=/bin/evil", "systemd.setenv=A=b",
        "systemd.unit=emergency.target", "\"systemd.debug-shell\""}) {
    EXPECT_THAT(command_line_warnings(std::string("quiet ") + option),
                ElementsAre(HasSubstr("without a login")))
        << option;
  }
}

TEST(CommandLineWarningsTest, WhatBecomesInitsEnvironment) {
  EXPECT_THAT(command_line_warnings("LD_PRELOAD=/var/evil.so quiet"),
              ElementsAre(HasSubstr("'LD_PRELOAD=/var/evil.so' is no kernel option")));
  EXPECT_THAT(command_line_warnings("\"PATH=/var/bin:/usr/bin\" consle=ttyS0"),
              ElementsAre(HasSubstr("'PATH=/var/bin:/usr/bin'"), HasSubstr("'consle=ttyS0'")));
}

}  // namespace
}  // namespace cfs::signer
