// SPDX-License-Identifier: Apache-2.0
#include "lib/kernel_cmdline/boot_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cfs::kernel_cmdline {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kHex(64, '7');
const std::string kPin = "composefs.digest=" + kHex + " ";

Result<BootOptions> options_of(const std::string& text) {
  return parse_boot_options(CommandLine::parse(text));
}

TEST(BootOptionsTest, Defaults) {
  Result<BootOptions> options = options_of(kPin);
  ASSERT_TRUE(options);
  EXPECT_EQ(options->digest.hex(), kHex);
  EXPECT_EQ(options->root, "LABEL=cfs");
  EXPECT_EQ(options->root_delay_seconds, 30U);
  EXPECT_EQ(options->verify, VerifyLevel::kBoot);
  EXPECT_EQ(options->init, "/sbin/init");
  EXPECT_EQ(options->var, VarMode::kRestricted);
}

TEST(BootOptionsTest, Everything) {
  Result<BootOptions> options = options_of(kPin +
                                           "root=/dev/a root=/dev/b rootdelay=2 cfs.verify=full "
                                           "init=/bin/x cfs.new=1 cfs.var=plain quiet");
  ASSERT_TRUE(options);
  EXPECT_EQ(options->root, "/dev/b");
  EXPECT_EQ(options->root_delay_seconds, 2U);
  EXPECT_EQ(options->verify, VerifyLevel::kFull);
  EXPECT_EQ(options->init, "/bin/x");
  EXPECT_EQ(options->var, VarMode::kPlain);
  EXPECT_THAT(options->unknown, ElementsAre("cfs.new"));
}

TEST(BootOptionsTest, RefusesWhatCouldLoosenThePolicy) {
  for (const std::string& text : {std::string("quiet"),
                                  std::string("composefs.digest="),
                                  std::string("composefs.digest"),
                                  "composefs.digest=?" + kHex,
                                  kPin + "composefs.digest=" + std::string(64, '8'),
                                  kPin + "composefs.digest=",
                                  kPin + "cfs.verify=none",
                                  kPin + "cfs.verify=boot cfs.verify=full",
                                  kPin + "cfs.on_failure=shell",
                                  kPin + "rootdelay=-1",
                                  kPin + "cfs.var=open",
                                  kPin + "cfs.var=plain cfs.var=restricted",
                                  kPin + "rootdelay=1x",
                                  kPin + "init=",
                                  kPin + "init",
                                  kPin + "init=init",
                                  kPin + "init=sh",
                                  kPin + "init=/",
                                  kPin + "init=/sbin/init init=../sbin/init",
                                  kPin + "init=/sbin/"}) {
    Result<BootOptions> options = options_of(text);
    ASSERT_FALSE(options) << text;
    EXPECT_EQ(options.error().code, ErrorCode::kInvalidInput) << text;
  }
  EXPECT_TRUE(options_of(kPin + kPin)) << "the same value twice is one value";
}

TEST(BootOptionsTest, AllNamesOfOursThatMeanNothingAreReported) {
  EXPECT_THAT(
      options_of(kPin + "cfs.verfy=full composefs.diegst=1 cfs.on-failure=halt -- cfs.x")->unknown,
      ElementsAre("cfs.verfy", "composefs.diegst"));
  EXPECT_THAT(options_of(kPin + "composefs=1")->unknown, ElementsAre("composefs"));
}

TEST(NewCommandLine, IsOneThatBootsAndMeansSomething) {
  Result<BootOptions> options =
      check_new_command_line("quiet root=PARTLABEL=cfs cfs.on-failure=halt " + kPin);
  ASSERT_TRUE(options) << options.error().describe();
  EXPECT_EQ(options->digest.hex(), kHex);
  const std::string room(kMaxCommandLineBytes - kPin.size(), 'x');
  EXPECT_TRUE(check_new_command_line(kPin + room));
  for (const std::string& text :
       {std::string("quiet"), kPin + "composefs.digest=" + std::string(64, '8'),
        kPin + "cfs.verify=none", kPin + "cfs.verfy=full", kPin + "composefs.diegst=1",
        kPin + "cfs.on_failure", kPin + "root=vda", kPin + "rootdelay=x", "-- " + kPin,
        kPin + room + "x"}) {
    Result<BootOptions> refused = check_new_command_line(text);
    ASSERT_FALSE(refused) << text;
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidInput) << text;
  }
  EXPECT_THAT(check_new_command_line(kPin + "cfs.verfy=full").error().describe(),
              HasSubstr("'cfs.verfy'"));
}

TEST(FailureActionTest, RebootsWhenInDoubt) {
  auto action = [](const std::string& text) {
    return parse_failure_action(CommandLine::parse(text));
  };
  EXPECT_EQ(action(""), FailureAction::kReboot);
  EXPECT_EQ(action("cfs.on_failure=poweroff"), FailureAction::kPowerOff);
  EXPECT_EQ(action("cfs.on_failure=halt"), FailureAction::kHalt);
  EXPECT_EQ(action("cfs.on_failure=shell"), FailureAction::kReboot);
  EXPECT_EQ(action("cfs.on_failure=halt cfs.on_failure=poweroff"), FailureAction::kReboot);
}

TEST(CorruptionActionTest, IsReportUnlessReboot) {
  auto action = [](const std::string& text) {
    return parse_corruption_action(CommandLine::parse(text));
  };
  EXPECT_EQ(action(""), CorruptionAction::kReport);
  EXPECT_EQ(action("cfs.on_corruption=report"), CorruptionAction::kReport);
  EXPECT_EQ(action("cfs.on_corruption=reboot"), CorruptionAction::kReboot);
  EXPECT_EQ(action("cfs.on_corruption=panic"), CorruptionAction::kReport);
}

TEST(RootSpecTest, Kinds) {
  using Kind = RootSpec::Kind;
  auto check = [](const std::string& text, Kind kind, const std::string& value) {
    Result<RootSpec> spec = parse_root_spec(text);
    ASSERT_TRUE(spec) << text;
    EXPECT_EQ(spec->kind, kind) << text;
    EXPECT_EQ(spec->value, value) << text;
  };
  check("/dev/vda2", Kind::kPath, "/dev/vda2");
  check("LABEL=Cfs", Kind::kLabel, "Cfs");
  check("/dev/disk/by-id/x", Kind::kPath, "/dev/disk/by-id/x");
  check("UUID=0001020A-0405-0607-0809-0a0b0c0d0E0F", Kind::kUuid,
        "0001020a-0405-0607-0809-0a0b0c0d0e0f");
  check("PARTLABEL=cfs", Kind::kPartLabel, "cfs");
  const std::string longest = std::string(34, 'x') + "\xf0\x9f\x98\x80";
  check("PARTLABEL=" + longest, Kind::kPartLabel, longest);
  check("PARTUUID=0001020A-0405-0607-0809-0a0b0c0d0e0f", Kind::kPartUuid,
        "0001020a-0405-0607-0809-0a0b0c0d0e0f");
  check("PARTUUID=1234ABCD-02", Kind::kPartUuid, "1234abcd-02");
  for (const char* bad : {"",
                          "vda",
                          "LABEL=",
                          "8:1",
                          "ZFS=x",
                          "label=x",
                          "PARTLABEL=\"x\"",
                          "LABEL=a\"b",
                          "\"LABEL=x\"",
                          "/dev/nfs",
                          "/dev/cifs",
                          "/dev/",
                          "/dev//vda",
                          "/dev/../etc",
                          "/dev/./vda",
                          "/dev/vda/",
                          "UUID=xyz",
                          "UUID=ab-cd",
                          "UUID=00010203-0405-0607-0809-0a0b0c0d0e0",
                          "UUID=1234abcd-02",
                          "UUID=00010203-0405-0607-0809-0a0b0c0d0e0f0",
                          "UUID=0001020304050607-0809-0a0b0c0d0e0f-",
                          "PARTUUID=AB",
                          "PARTUUID=1234abcd-2",
                          "PARTUUID=1234abcd02"}) {
    EXPECT_FALSE(parse_root_spec(bad)) << bad;
  }
  EXPECT_FALSE(parse_root_spec("PARTLABEL=" + std::string(37, 'x')));
}

}  // namespace
}  // namespace cfs::kernel_cmdline
