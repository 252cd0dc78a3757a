// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/debian.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "builder/manifest/manifest.h"
#include "builder/sources/source.h"
#include "builder/test_support.h"

namespace cfs::builder {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::StartsWith;

TEST(Debian, CommandHasNoShellAndNoSurprises) {
  DebianSource source{.suite = "bookworm",
                      .components = {"main"},
                      .mirrors = {},
                      .variant = "essential",
                      .packages = {{"dbus", ""}, {"udev", ""}, {"linux", ""}},
                      .recommends = false,
                      .dpkg_exclude = {"/usr/share/man/*"},
                      .suite_place = {}};
  SourceContext context;
  context.arch = "amd64";
  context.source_date_epoch = 5;
  Command command = mmdebstrap_command(source, context, {"deb http://m bookworm main"},
                                       {"Acquire::Retries \"3\";"});
  EXPECT_EQ(command.arguments.front(), "mmdebstrap");
  EXPECT_THAT(command.arguments, Contains("--include=dbus,udev,linux"));
  EXPECT_THAT(command.arguments, Contains("--aptopt=APT::Install-Recommends \"false\";"));
  EXPECT_THAT(command.arguments, Contains("--aptopt=Acquire::Retries \"3\";"));
  EXPECT_THAT(command.arguments, Contains("--dpkgopt=path-exclude=/usr/share/man/*"));
  EXPECT_THAT((std::vector<std::string>(command.arguments.end() - 3, command.arguments.end())),
              ElementsAre("bookworm", "-", "deb http://m bookworm main"));
  EXPECT_THAT(command.environment, ElementsAre("SOURCE_DATE_EPOCH=5",
                                               StartsWith("PATH=/usr/sbin:/usr/bin:/sbin:/bin:")));
  EXPECT_EQ(command.working_directory, "/");
}

TEST(Debian, APlusAtTheEndIsPartOfTheName) {
  std::vector<MissingPackage> missing =
      packages_with_a_plus({"bash", "bash+", "g++", "none+", "bash=1.0+"}, {"bash", "dash", "g++"});
  ASSERT_EQ(missing.size(), 1U);
  EXPECT_EQ(missing[0].name, "bash+");
}

TEST(Debian, ASuiteThatTheHostLacksIsNamedWithItsPlace) {
  Result<Manifest> manifest = parse_manifest(
      "cfs: 1\nimage: {name: n, version: v, epoch: 1}\n"
      "sources: [{id: a, debian: {suite: no-such-suite}}]\n",
      "m.yaml", "/", source_kinds());
  ASSERT_TRUE(manifest) << manifest.error().describe();
  Result<> prepared = manifest->sources[0].source->prepare(SourceContext());
  ASSERT_FALSE(prepared);
  EXPECT_THAT(prepared.error().message,
              testing::StartsWith("m.yaml:3:35: sources[0].debian.suite: apt on this machine has "
                                  "no source for 'no-such-suite'"));
}

// No packages are named, so that apt is not asked before.
TEST(Debian, ABadMirrorIsOneLineOfMmdebstrap) {
  Result<Manifest> manifest = parse_manifest(
      "cfs: 1\nimage: {name: n, version: v, epoch: 1}\n"
      "sources: [{id: a, debian: {suite: x, mirrors: ['deb file:/nonexistent x main']}}]\n",
      "m.yaml", "/", source_kinds());
  ASSERT_TRUE(manifest) << manifest.error().describe();
  SourceContext context{.arch = "amd64"};
  must(manifest->sources[0].source->prepare(context));
  Workbench bench;
  Result<> imported = manifest->sources[0].source->import(context, bench.rootfs);
  ASSERT_FALSE(imported);
  EXPECT_EQ(imported.error().code, ErrorCode::kNetwork);
  EXPECT_EQ(imported.error().describe(),
            "apt cannot use a mirror: The repository 'file:/nonexistent x Release' does not have a "
            "Release file.");
}

TEST(Debian, MissingPackagesAreNamedWithTheirPlaceAndWhatIsNear) {
  std::vector<WantedPackage> wanted = {
      {"dbuss", "m:1: "}, {"udev=9", "m:2: "}, {"zzzzzz", "m:3: "}};
  std::vector<std::string> names = {"dbus", "udev"};
  Error one = missing_packages_error("bookworm", wanted, {{"dbuss", "does not exist"}}, names);
  EXPECT_EQ(one.code, ErrorCode::kNotFound);
  EXPECT_EQ(one.message, "m:1: the package 'dbuss' does not exist in bookworm");
  EXPECT_EQ(one.hint, "did you mean 'dbus'?");
  Error all = missing_packages_error(
      "bookworm", wanted, {{"udev", "has no version '9'"}, {"zzzzzz", "does not exist"}}, names);
  EXPECT_EQ(all.message,
            "the list of packages has 2 errors:\n"
            "m:2: the package 'udev' has no version '9' in bookworm\n"
            "m:3: the package 'zzzzzz' does not exist in bookworm");
}

}  // namespace
}  // namespace cfs::builder
