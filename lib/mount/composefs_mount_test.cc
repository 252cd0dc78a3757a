// SPDX-License-Identifier: Apache-2.0
#include "lib/mount/composefs_mount.h"

#include <gtest/gtest.h>

#include "lib/base/io.h"
#include "lib/verity/merkle.h"

namespace cfs::mount {
namespace {

TEST(ComposefsMount, OldInterfaceEscapesPaths) {
  ComposefsOptions options;
  options.object_directories = {"/a,b", "/c:d\\e"};
  EXPECT_EQ(old_overlay_options("/i", options, "::"),
            "metacopy=on,redirect_dir=on,lowerdir=/i::/a\\,b::/c\\:d\\\\e,verity=require");
  options.verity = Verity::kTry;
  options.object_directories = {"/s"};
  options.upper_directory = "/u";
  options.work_directory = "/w";
  EXPECT_EQ(old_overlay_options("/i", options, ":"),
            "metacopy=on,redirect_dir=on,lowerdir=/i:/s,upperdir=/u,workdir=/w");
}

TEST(ComposefsMount, NothingIsMountedWithoutAnImage) {
  TemporaryDirectory directory = *TemporaryDirectory::create();
  const std::string path = directory.path() + "/image";
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path, as_bytes("no image")));
  UniqueFd image = *open_at(AT_FDCWD, path, O_RDONLY);
  ComposefsOptions options;
  options.object_directories = {directory.path()};
  Result<Backing> mounted = mount_composefs(image.get(), directory.path(), options);
  ASSERT_FALSE(mounted);
  EXPECT_EQ(mounted.error().code, ErrorCode::kCorrupt);
  options.expected_digest = verity::digest_of({});
  mounted = mount_composefs(image.get(), directory.path(), options);
  ASSERT_FALSE(mounted);
  EXPECT_EQ(mounted.error().code, ErrorCode::kNoVerity);
}

}  // namespace
}  // namespace cfs::mount
