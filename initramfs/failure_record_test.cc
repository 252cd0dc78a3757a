// SPDX-License-Identifier: Apache-2.0
#include "initramfs/failure_record.h"

#include <gtest/gtest.h>

namespace cfs::initramfs {
namespace {

TEST(FailureRecord, IsAJsonObjectWhateverTheTextIs) {
  const verity::Digest digest = verity::Digest::parse(std::string(64, 'a')).value();
  EXPECT_EQ(failure_json(digest, "self-test", "no \"init\"\n\\x\xff"),
            "{\"code\":\"self-test\",\"digest\":\"" + std::string(64, 'a') +
                "\",\"schema\":1,\"text\":\"no \\\"init\\\"?\\\\x?\"}\n");
  EXPECT_LT(failure_json(digest, "image", std::string(10'000, 'x')).size(), 4300U);
}

TEST(FailureRecord, NeedsADisk) {
  const verity::Digest digest = verity::Digest::parse(std::string(64, 'a')).value();
  Result<> recorded = record_failure("/dev/shm", digest, "image", "");
  ASSERT_FALSE(recorded);
  EXPECT_EQ(recorded.error().code, ErrorCode::kNotFound) << recorded.error().describe();
}

}  // namespace
}  // namespace cfs::initramfs
