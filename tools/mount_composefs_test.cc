// SPDX-License-Identifier: Apache-2.0
#include "tools/mount_composefs.h"

#include <gmock/gmock.h>
#include <sys/mount.h>

namespace cfs::tools {
namespace {

using mount::Access;
using mount::Verity;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kHex(64, 'a');

MountRequest parsed(const std::vector<std::string>& arguments) {
  auto request = parse_mount_arguments(arguments);
  EXPECT_TRUE(request) << (request ? "" : request.error().message);
  return request ? std::get<MountRequest>(*request) : MountRequest{};
}

std::string refusal(const std::vector<std::string>& arguments) {
  auto request = parse_mount_arguments(arguments);
  EXPECT_FALSE(request);
  return request ? "" : request.error().message;
}

std::string refused_options(const std::string& options) {
  return refusal({"-o", options, "image", "dir"});
}

TEST(MountComposefs, TakesWhatMountGivesItsHelpers) {
  // mount(8): the operands first, then the options, with "rw" put in front.
  MountRequest request = parsed({"image", "dir", "-o", "rw,basedir=a:b"});
  EXPECT_EQ(request.image, "image");
  EXPECT_EQ(request.target, "dir");
  EXPECT_THAT(request.options.object_directories, ElementsAre("a", "b"));
  EXPECT_EQ(request.options.verity, Verity::kNone);
  EXPECT_EQ(request.options.access, Access::kReadWrite);
  EXPECT_FALSE(request.options.expected_digest);
}

TEST(MountComposefs, EveryOption) {
  MountRequest request = parsed(
      {"-t", "composefs", "-orw,ro,basedir=s,upperdir=u\\,1,workdir=w\\\\=,idmap=/n,digest=" + kHex,
       "--", "-image", "dir"});
  EXPECT_EQ(request.image, "-image");
  EXPECT_EQ(request.options.access, Access::kReadOnly);
  EXPECT_EQ(request.options.upper_directory, "u,1");
  EXPECT_EQ(request.options.work_directory, "w\\=");
  EXPECT_EQ(request.user_namespace, "/n");
  EXPECT_EQ(request.options.expected_digest->hex(), kHex);
  EXPECT_EQ(request.options.verity, Verity::kRequired) << "digest implies verity";
}

TEST(MountComposefs, Verity) {
  EXPECT_EQ(parsed({"-obasedir=a,verity", "i", "d"}).options.verity, Verity::kRequired);
  EXPECT_EQ(parsed({"-obasedir=a,tryverity", "i", "d"}).options.verity, Verity::kTry);
  EXPECT_EQ(parsed({"-obasedir=a,tryverity,verity", "i", "d"}).options.verity, Verity::kRequired);
}

TEST(MountComposefs, LastOptionStringWins) {
  MountRequest request = parsed({"-o", "basedir=a,verity", "-o", "basedir=b", "i", "d"});
  EXPECT_THAT(request.options.object_directories, ElementsAre("b"));
  EXPECT_EQ(request.options.verity, Verity::kNone);
}

TEST(MountComposefs, RefusesAnEmptyDigest) {
  EXPECT_EQ(refused_options("basedir=a,digest="), "No value specified for digest option");
  EXPECT_EQ(refused_options("basedir=a,digest"), "No value specified for digest option");
  EXPECT_THAT(refused_options("basedir=a,digest=12"), HasSubstr("64 hex digits"));
  EXPECT_THAT(refused_options("basedir=a,digest=" + kHex + "0"), HasSubstr("64 hex digits"));
}

TEST(MountComposefs, RefusesWhatItDoesNotUnderstand) {
  EXPECT_EQ(refused_options(""), "No object dirs specified");
  EXPECT_EQ(refused_options("verity"), "No object dirs specified");
  EXPECT_EQ(refused_options("basedir="), "No value specified for basedir option");
  EXPECT_EQ(refused_options("basedir=a::b"), "Value for basedir option has incorrect format");
  EXPECT_EQ(refused_options("basedir=a:"), "Value for basedir option has incorrect format");
  EXPECT_EQ(refused_options("basedir=a,noverity"), "Unsupported option noverity");
  EXPECT_EQ(refused_options("basedir=a,upperdir=u"),
            "Both workdir and upperdir must be specified if used");
  EXPECT_EQ(refusal({"-t", "erofs", "i", "d"}), "Unsupported fs type 'erofs'");
  EXPECT_EQ(refusal({}), "No source path specified");
  EXPECT_EQ(refusal({"i"}), "No mount path specified");
  EXPECT_EQ(refusal({"i", "d", "e"}), "unexpected argument 'e'");
  EXPECT_EQ(refusal({"-x", "i", "d"}), "invalid option -x");
  EXPECT_EQ(refusal({"i", "d", "-o"}), "option requires an argument -o");
}

TEST(MountComposefs, TakesALineOfFstab) {
  // What `mount -a` and systemd hand to a helper, a comma at the end included.
  const std::string options =
      "rw,nofail,_netdev,noauto,x-systemd.device-timeout=5,X-mount.mkdir,comment=mine,nosuid,nodev,"
      "noatime,defaults,basedir=a,";
  MountRequest request = parsed({"image", "dir", "-n", "-v", "-o", options});
  EXPECT_THAT(request.options.object_directories, ElementsAre("a"));
  EXPECT_EQ(request.options.access, Access::kReadWrite);
  EXPECT_EQ(request.options.attributes,
            unsigned{MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME});
  EXPECT_FALSE(request.only_check);
}

TEST(MountComposefs, LaterAttributesTakeBackEarlierOnes) {
  auto attributes = [](const std::string& words) {
    return parsed({"-o", "basedir=a," + words, "i", "d"}).options.attributes;
  };
  EXPECT_EQ(attributes("nosuid,suid"), 0U);
  EXPECT_EQ(attributes("noatime,strictatime"), unsigned{MOUNT_ATTR_STRICTATIME});
  EXPECT_EQ(attributes("noatime,relatime"), 0U);
  EXPECT_EQ(attributes("user"), unsigned{MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC});
  EXPECT_EQ(attributes("user,exec,dev"), unsigned{MOUNT_ATTR_NOSUID});
  EXPECT_EQ(attributes("noexec,nodiratime,nosymfollow"),
            unsigned{MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODIRATIME | MOUNT_ATTR_NOSYMFOLLOW});
}

TEST(MountComposefs, TakesTheLettersThatMountGivesItsHelpers) {
  EXPECT_TRUE(parsed({"i", "d", "-fnv", "-o", "basedir=a"}).only_check);
  EXPECT_TRUE(parsed({"i", "d", "-vfobasedir=a"}).only_check);
  MountRequest sloppy = parsed({"-s", "-o", "basedir=a,frobnicate", "i", "d"});
  EXPECT_THAT(sloppy.options.object_directories, ElementsAre("a"));
  EXPECT_EQ(refused_options("basedir=a,frobnicate"), "Unsupported option frobnicate");
  EXPECT_EQ(refused_options("basedir=a,remount"), "Unsupported option remount");
  EXPECT_EQ(refused_options("basedir=a,sync"), "Unsupported option sync");
}

TEST(MountComposefs, FakeMountsNothingAndLooksAtTheImage) {
  EXPECT_EQ(run_mount_composefs({"-f", "-o", "basedir=a", "/dev/null", "/none"}, {}).value(), 0);
  Result<int> missing = run_mount_composefs({"-f", "-o", "basedir=a", "/none", "/none"}, {});
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  Result<int> wrong =
      run_mount_composefs({"-f", "-o", "basedir=a,digest=" + kHex, "/dev/null", "/none"}, {});
  EXPECT_FALSE(wrong);
}

TEST(MountComposefs, Help) {
  auto request = parse_mount_arguments({"-h"});
  ASSERT_TRUE(request);
  EXPECT_TRUE(std::holds_alternative<HelpRequest>(*request));
}

}  // namespace
}  // namespace cfs::tools
