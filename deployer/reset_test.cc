// SPDX-License-Identifier: Apache-2.0
#include "deployer/reset.h"

#include "deployer/test_support.h"

namespace cfs::deployer {
namespace {

class ResetTest : public DeviceTest {
 protected:
  void SetUp() override { ASSERT_DONE(init()); }
  Result<int> reset(const std::vector<std::string>& options) {
    std::vector<std::string> arguments = {"reset", "--sysroot", path("sysroot")};
    arguments.insert(arguments.end(), options.begin(), options.end());
    return run_command(arguments);
  }
  std::string request() { return read("sysroot/cfs/state/reset"); }
};

TEST_F(ResetTest, IsWrittenDown) {
  ASSERT_DONE(reset({"--etc"}));
  EXPECT_EQ(request(), "cfs-reset 1\netc\n");
  EXPECT_EQ(output_, "the next boot resets /etc\n");
}

TEST_F(ResetTest, RequestsAddUp) {
  ASSERT_DONE(reset({"--var"}));
  EXPECT_EQ(output_, "the next boot resets /var\n");
  ASSERT_DONE(reset({"--etc"}));
  EXPECT_EQ(request(), "cfs-reset 1\netc\nvar\n");
  EXPECT_EQ(output_, "the next boot resets /etc and /var\n");
  ASSERT_DONE(reset({"--all"}));
  EXPECT_EQ(request(), "cfs-reset 1\netc\nidentity\nvar\n");
  ASSERT_DONE(reset({"--var"}));
  EXPECT_EQ(request(), "cfs-reset 1\netc\nidentity\nvar\n");
  EXPECT_THAT(output_, HasSubstr("new identity"));
}

TEST_F(ResetTest, MustSayWhat) {
  EXPECT_EQ(reset({}).error().code, ErrorCode::kUsage);
  EXPECT_EQ(reset({"--all", "--etc"}).error().code, ErrorCode::kUsage);
  EXPECT_THAT(request(), StartsWith("cannot read"));
}

TEST_F(ResetTest, ADamagedRequestIsReplaced) {
  write("sysroot/cfs/state/reset", "rubbish");
  EXPECT_EQ(pending_reset(Sysroot::open(environment_, path("sysroot"), Access::kRead).value())
                .error()
                .code,
            ErrorCode::kCorrupt);
  ASSERT_DONE(reset({"--var"}));
  EXPECT_EQ(request(), "cfs-reset 1\nvar\n");
}

}  // namespace
}  // namespace cfs::deployer
