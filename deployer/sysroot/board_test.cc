// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/board.h"

#include "deployer/sysroot/sysroot.h"
#include "deployer/test_support.h"

namespace cfs::deployer {
namespace {

class BoardTest : public DeviceTest {
 protected:
  Result<int> init_as(const std::string& board) {
    return run_command({"init", "--sysroot", path("sysroot"), "--url", server_.url(), "--root",
                        path("root.json"), "--name", "test", "--board", board});
  }
  void offer_for(std::vector<std::string> boards) {
    FakeRelease release = first_release();
    release.compatible = std::move(boards);
    offer(release);
  }
};

TEST_F(BoardTest, IsWrittenAtInit) {
  ASSERT_DONE(init_as("acme,gw-2"));
  EXPECT_EQ(read("sysroot/cfs/config.json"), "{\"board\":\"acme,gw-2\",\"schema\":1}\n");
  Sysroot sysroot = Sysroot::open(environment_, path("sysroot"), Access::kRead).value();
  EXPECT_EQ(read_board(sysroot.directory()).value(), "acme,gw-2");
}

TEST_F(BoardTest, IsAName) {
  EXPECT_EQ(init_as("a b").error().code, ErrorCode::kUsage);
  EXPECT_EQ(init_as("").error().code, ErrorCode::kUsage);
}

TEST_F(BoardTest, AReleaseForOthersIsRefusedBeforeAnythingIsFetched) {
  ASSERT_DONE(init_as("acme,gw-2"));
  offer_for({"acme,gw-1", "acme,gw-3"});
  Result<int> result = update();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(result.error().describe(), HasSubstr("is for acme,gw-1, acme,gw-3, and this device "
                                                   "is a 'acme,gw-2'"));
  for (const std::string& requested : server_.targets()) {
    EXPECT_THAT(requested, Not(HasSubstr("obj/")));
    EXPECT_THAT(requested, Not(HasSubstr("rel/")));
    EXPECT_THAT(requested, Not(HasSubstr(".efi")));
  }
}

TEST_F(BoardTest, OneForThisBoardAmongOthersIsTaken) {
  ASSERT_DONE(init_as("acme,gw-2"));
  offer_for({"acme,gw-1", "acme,gw-2"});
  ASSERT_DONE(update());
}

TEST_F(BoardTest, OneForAllIsTakenEverywhere) {
  ASSERT_DONE(init());
  offer_for({});
  ASSERT_DONE(update());
}

TEST_F(BoardTest, ADeviceThatDoesNotSayWhatItIsTakesNoneForSome) {
  ASSERT_DONE(init());
  EXPECT_THAT(read("sysroot/cfs/config.json"), StartsWith("cannot read"));
  offer_for({"acme,gw-1"});
  EXPECT_THAT(update().error().describe(), HasSubstr("does not say what it is"));
}

TEST_F(BoardTest, ADamagedFileAndCopyAreNoReasonToTakeAny) {
  ASSERT_DONE(init_as("acme,gw-1"));
  offer_for({"acme,gw-1"});
  for (const char* text :
       {"", "{}", "{\"board\":\"a b\",\"schema\":1}", "{\"board\":\"acme,gw-1\",\"schema\":2}"}) {
    for (const char* file : {"config.json", "copies/config.json"}) {
      write(std::string("sysroot/cfs/") + file, text);
    }
    EXPECT_FALSE(update()) << text;
  }
}

}  // namespace
}  // namespace cfs::deployer
