// SPDX-License-Identifier: Apache-2.0
#include "lib/command/command_line.h"

#include <gtest/gtest.h>

#include "lib/command/captured_io.h"

namespace cfs::command {
namespace {

/// `tool`, with the commands update and `release add`.
struct Tool {
  Tool() {
    app.require_subcommand(1);
    CLI::App* update = app.add_subcommand("update", "Fetch.");
    update->add_option("--url", url, "Where")->required();
    update->add_option("-o,--output", output, "What to make");
    update->add_flag("--check", check, "Only look");
    update->add_option("--days", days, "How long")->check(integer_between(1, 90));
    CLI::App* release = app.add_subcommand("release", "Work on releases.");
    release->require_subcommand(1);
    release->add_subcommand("add", "Add one.")->add_option("REPO", repository, "R")->required();
  }
  Result<Parsed> run(const std::vector<std::string>& arguments) {
    return parse(app, arguments, io.io());
  }

  CLI::App app{"A tool.", "tool"};
  CapturedIo io;
  std::string url;
  std::string output = "default";
  std::string repository;
  bool check = false;
  int days = 7;
};

void expect_usage(const std::vector<std::string>& arguments, const std::string& message,
                  const std::string& hint) {
  Tool tool;
  Result<Parsed> parsed = tool.run(arguments);
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().code, ErrorCode::kUsage);
  EXPECT_EQ(parsed.error().describe(), message);
  EXPECT_EQ(parsed.error().hint, hint);
  EXPECT_EQ(tool.io.output(), "");
}

TEST(CommandLine, FillsInWhatWasGiven) {
  Tool tool;
  EXPECT_EQ(tool.run({"update", "--url", "x", "--check"}).value(), Parsed::kCommand);
  EXPECT_EQ(tool.url, "x");
  EXPECT_TRUE(tool.check);
  Tool other;
  EXPECT_EQ(other.run({"release", "add", "repo"}).value(), Parsed::kCommand);
  EXPECT_EQ(other.repository, "repo");
}

TEST(CommandLine, AnUnknownCommandSaysWhichAndWhatIsNear) {
  expect_usage({"upgrade"}, "unknown command 'upgrade'",
               "did you mean 'update'? see 'tool --help'");
  expect_usage({"release", "ad"}, "unknown command 'ad'",
               "did you mean 'add'? see 'tool release --help'");
  expect_usage({"frobnicate"}, "unknown command 'frobnicate'", "see 'tool --help'");
}

TEST(CommandLine, AMissingCommandSaysWhichThereAre) {
  expect_usage({}, "no command is given", "commands: update, release; see 'tool --help'");
  expect_usage({"release"}, "no command is given", "commands: add; see 'tool release --help'");
}

TEST(CommandLine, AnUnknownOptionSaysWhichAndWhatIsNear) {
  expect_usage({"update", "--url=x", "--chek"}, "unknown option '--chek'",
               "did you mean '--check'? see 'tool update --help'");
  expect_usage({"update", "--ulr=x", "--url", "y"}, "unknown option '--ulr'",
               "did you mean '--url'? see 'tool update --help'");
  expect_usage({"update", "--ulr", "y"}, "unknown option '--ulr'",
               "did you mean '--url'? see 'tool update --help'");
  expect_usage({"-V"}, "unknown option '-V'", "see 'tool --help'");
  expect_usage({"update", "-V"}, "unknown option '-V'", "see 'tool update --help'");
  expect_usage({"update", "--url", "x", "-oout", "-xy"}, "unknown option '-x'",
               "see 'tool update --help'");
  expect_usage({"update", "--url", "x", "more"}, "unexpected argument 'more'",
               "see 'tool update --help'");
}

TEST(CommandLine, WhatIsMissingIsNamedAndExplained) {
  expect_usage({"update"}, "missing: --url", "--url: Where; see 'tool update --help'");
  expect_usage({"release", "add"}, "missing: REPO", "REPO: R; see 'tool release add --help'");
  expect_usage({"--version"}, "no command is given",
               "commands: update, release; see 'tool --help'");
  Tool tool;
  tool.app.get_subcommand("update")->get_option("--output")->required();
  EXPECT_EQ(tool.run({"update"}).error().describe(), "missing: --url, --output");
}

TEST(CommandLine, AnOptionTakesOneValueAndAFlagNone) {
  const std::string help = "see 'tool update --help'";
  const std::string once = "it takes one value: leave out the others; " + help;
  expect_usage({"update", "--url"}, "--url: the value is missing", help);
  expect_usage({"update", "--url", "x", "-o"}, "--output: the value is missing", help);
  expect_usage({"update", "--url", "x", "--url", "y"}, "--url is given 2 times", once);
  expect_usage({"update", "-oa", "--url=x", "-o", "b", "--output=c"}, "--output is given 3 times",
               once);
  for (const char* value : {"true", "no", "x", "2", ""}) {
    expect_usage({"update", "--url", "x", std::string("--check=") + value},
                 "--check takes no value", help);
  }
}

TEST(CommandLine, ANumberIsDecimalAndInItsRange) {
  for (const char* value :
       {"0", "91", "-1", "+1", "010", "0x10", "1e1", "1.5", "7 ", "x", "99999999999999999999"}) {
    expect_usage({"update", "--url", "x", std::string("--days=") + value},
                 std::string("--days: '") + value + "' is not a number from 1 to 90",
                 "see 'tool update --help'");
  }
  Tool tool;
  EXPECT_TRUE(tool.run({"update", "--url", "x", "--days", "90"}));
  EXPECT_EQ(tool.days, 90);
}

// An unset variable of a script: "--keys $KEYS" in quotes.
TEST(CommandLine, AnEmptyValueIsRefusedAndNamesTheOption) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"update", "--url", ""},
                                                    {"update", "--url="},
                                                    {"update", "--url=", "x"},
                                                    {"update", "--check", "--url", ""}}) {
    expect_usage(arguments, "--url: the value is empty", "see 'tool update --help'");
  }
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"update", "--url", "x", "-o", ""},
        {"update", "-o", "", "--url", "x"},
        {"update", "--url", "x", "--output="}}) {
    expect_usage(arguments, "--output: the value is empty", "see 'tool update --help'");
  }
  expect_usage({"release", "add", ""}, "REPO: the value is empty", "see 'tool release add --help'");
  Tool tool;  // what is not given stays
  EXPECT_TRUE(tool.run({"update", "--url", "x"}));
  EXPECT_EQ(tool.output, "default");
}

TEST(CommandLine, HelpIsAResultAndHasAllWordsOfTheCommand) {
  for (const auto& [arguments, usage] :
       std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"--help"}, "Usage: tool [OPTIONS] SUBCOMMAND\n"},
           {{"-h"}, "Usage: tool [OPTIONS] SUBCOMMAND\n"},
           {{"update", "--help"}, "Usage: tool update [OPTIONS]\n"},
           {{"release", "--help"}, "Usage: tool release [OPTIONS] SUBCOMMAND\n"},
           {{"release", "add", "-h"}, "Usage: tool release add [OPTIONS] REPO\n"}}) {
    Tool tool;
    EXPECT_EQ(tool.run(arguments).value(), Parsed::kHelpPrinted);
    EXPECT_NE(tool.io.output().find(usage), std::string::npos) << tool.io.output();
  }
  Tool tool;
  ASSERT_TRUE(tool.run({"--help"}));
  EXPECT_NE(tool.io.output().find("--version"), std::string::npos);
}

}  // namespace
}  // namespace cfs::command
