// SPDX-License-Identifier: Apache-2.0
#include "initramfs/failure_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/io.h"
#include "lib/base/temporary_directory.h"
#include "lib/sysroot/layout.h"

namespace cfs::initramfs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(FailureRecord, IsAJsonObjectWhateverTheTextIs) {
  const verity::Digest digest = verity::Digest::parse(std::string(64, 'a')).value();
  EXPECT_EQ(
      failure_json({digest, "self-test", "no \"init\"\n\\x\xff", {"a.0", "b.1"}}),
      "{\"code\":\"self-test\",\"digest\":\"" + std::string(64, 'a') +
          "\",\"schema\":1,\"text\":\"no \\\"init\\\"?\\\\x?\",\"tried\":[\"a.0\",\"b.1\"]}\n");
  EXPECT_LT(failure_json({digest, "image", std::string(10'000, 'x'), {}}).size(), 4300U);
}

TEST(FailureRecord, SaysWhichDeploymentsWereTried) {
  TemporaryDirectory top = TemporaryDirectory::create().value();
  ASSERT_TRUE(make_directories(AT_FDCWD, top.path() + "/state"));
  UniqueFd cfs = open_at(AT_FDCWD, top.path(), O_RDONLY | O_DIRECTORY).value();
  EXPECT_THAT(tried_before(cfs.get()), IsEmpty());
  const verity::Digest digest = verity::Digest::parse(std::string(64, 'a')).value();
  auto after = [&](const std::string& text, const std::vector<std::string>& tried) {
    EXPECT_TRUE(record_failure(cfs.get(), {digest, "image", text, tried}));
    return tried_before(cfs.get());
  };
  EXPECT_THAT(after(R"(","tried":["x.0"]})", {"a.0", "b.1"}), ElementsAre("a.0", "b.1"));
  EXPECT_THAT(after(std::string(10'000, '"'), {"a.0"}), ElementsAre("a.0"));
  EXPECT_THAT(after("", {}), IsEmpty());
  ASSERT_TRUE(write_file_atomically(cfs.get(), sysroot::kBootFailure, as_bytes(R"(,"tried":["a)")));
  EXPECT_THAT(tried_before(cfs.get()), IsEmpty());
}

TEST(FailureRecord, NeedsADisk) {
  Result<UniqueFd> opened = open_failed_sysroot("/dev/shm");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kNotFound) << opened.error().describe();
}

}  // namespace
}  // namespace cfs::initramfs
