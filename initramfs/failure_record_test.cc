// SPDX-License-Identifier: Apache-2.0
#include "initramfs/failure_record.h"

#include <gtest/gtest.h>

#include "lib/base/io.h"
#include "lib/base/temporary_directory.h"

namespace cfs::initramfs {
namespace {

TEST(FailureRecord, IsAJsonObjectWhateverTheTextIs) {
  const verity::Digest digest = verity::Digest::parse(std::string(64, 'a')).value();
  EXPECT_EQ(failure_json(digest, "self-test", "no \"init\"\n\\x\xff"),
            "{\"code\":\"self-test\",\"digest\":\"" + std::string(64, 'a') +
                "\",\"schema\":1,\"text\":\"no \\\"init\\\"?\\\\x?\"}\n");
  EXPECT_LT(failure_json(digest, "image", std::string(10'000, 'x')).size(), 4300U);
}

TEST(FailureRecord, SaysWhetherTheBootBeforeHasFailedToo) {
  TemporaryDirectory top = TemporaryDirectory::create().value();
  ASSERT_TRUE(make_directories(AT_FDCWD, top.path() + "/state"));
  UniqueFd cfs = open_at(AT_FDCWD, top.path(), O_RDONLY | O_DIRECTORY).value();
  auto again = [&](char digit) {
    const verity::Digest digest = verity::Digest::parse(std::string(64, digit)).value();
    return record_failure(cfs.get(), digest, "image", std::string(10'000, '"')).value();
  };
  EXPECT_FALSE(again('a'));
  EXPECT_TRUE(again('a'));
  EXPECT_FALSE(again('b'));
  EXPECT_TRUE(again('b'));
}

TEST(FailureRecord, NeedsADisk) {
  Result<UniqueFd> opened = open_writable_sysroot("/dev/shm");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kNotFound) << opened.error().describe();
}

}  // namespace
}  // namespace cfs::initramfs
