// SPDX-License-Identifier: Apache-2.0
#include "deployer/init.h"

#include "deployer/test_support.h"
#include "lib/verity/kernel.h"

namespace cfs::deployer {
namespace {

class InitTest : public DeviceTest {};

TEST_F(InitTest, InitRefusesWhatCannotWork) {
  ASSERT_DONE(init());
  expect_exit(init(), 1, "is a sysroot already");

  ASSERT_TRUE(make_directories(AT_FDCWD, path("other")));
  auto init_other = [&](const std::string& root) {
    return run_command({"init", "--sysroot", path("other"), "--url", server_.url(), "--root",
                        path(root), "--name", "test"});
  };
  expect_exit(init_other("none.json"), 1, "none.json");
  write("bad.json", "{}");
  expect_exit(init_other("bad.json"), 7, "trust anchor");
  EXPECT_THAT(names_in("other"), IsEmpty());
  for (const auto& [option, value] : {std::pair{"--name", "Test"},
                                      {"--name", ""},
                                      {"--name", "a/b"},
                                      {"--channel", "a.b"},
                                      {"--channel", ""},
                                      {"--url", "test"},
                                      {"--sysroot", ""}}) {
    std::vector<std::string> arguments = {"init",        "--sysroot", path("other"),    "--url",
                                          server_.url(), "--root",    path("root.json")};
    if (option != std::string("--name")) arguments.insert(arguments.end(), {"--name", "test"});
    if (option == std::string("--url")) arguments[4] = "";
    if (option == std::string("--sysroot"))
      arguments.erase(arguments.begin() + 1, arguments.begin() + 3);
    arguments.insert(arguments.end(), {option, value});
    Result<int> result = run_command(arguments);
    ASSERT_FALSE(result) << option << value;
    EXPECT_EQ(result.error().code, ErrorCode::kUsage) << option << value;
    EXPECT_THAT(names_in("other"), IsEmpty());
  }
  ASSERT_TRUE(make_directories(AT_FDCWD, path("alien/cfs/stuff")));
  expect_exit(run_command({"init", "--sysroot", path("alien"), "--url", server_.url(), "--root",
                           path("root.json"), "--name", "test"}),
              1, "is there and is not a sysroot");
  EXPECT_THAT(names_in("alien/cfs"), ElementsAre("stuff"));
  expect_exit(run_command({"update", "--sysroot", path("other"), "--esp", path("esp")}), 1,
              "holds no cfs sysroot");

  // With the policy of devices it depends on the file system below.
  write("probe", "x");
  UniqueFd probe = open_at(AT_FDCWD, path("probe"), O_RDONLY).value();
  bool has_verity = verity::enable(probe.get()).has_value();
  environment_.verity = store::VerityPolicy::kRequired;
  Result<int> result = init_other("root.json");
  if (has_verity) {
    EXPECT_TRUE(result) << result.error().describe();
  } else {
    expect_exit(result, 7, "");
    EXPECT_EQ(result.error().code, ErrorCode::kNoVerity);
    EXPECT_THAT(result.error().hint, HasSubstr("-O verity"));
    EXPECT_THAT(names_in("other"), IsEmpty());
  }
}

}  // namespace
}  // namespace cfs::deployer
