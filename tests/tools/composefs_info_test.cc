// SPDX-License-Identifier: Apache-2.0
#include "tools/composefs_info.h"

#include <gmock/gmock.h>

#include "lib/base/subprocess.h"
#include "tests/tools/tool_test.h"
#include "tools/composefs_dump.h"
#include "tools/mkcomposefs.h"

namespace cfs::tools {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr char kHex1[] = "1111111111111111111111111111111111111111111111111111111111111111";
constexpr char kHex2[] = "2222222222222222222222222222222222222222222222222222222222222222";

std::string payload(const char* hex) { return std::string(hex, 2) + "/" + (hex + 2); }

/// One entry of every kind, with names that need escaping.
std::string dump_text() {
  return std::string("/ 4096 40755 4 0 0 0 0.0 - - -\n") +
         "/a\\x20b 0 100644 1 0 0 0 1.5 - - -\n"
         "/dir 4096 40755 2 0 0 0 0.0 - - - user.k=v\\x3d\n"
         "/dir/big 1000 100644 2 0 0 0 0.0 " +
         payload(kHex2) + " - " + kHex2 +
         "\n"
         "/dir/small 3 100644 1 0 0 0 0.0 - a\\nb -\n"
         "/dir/\\xc3\\xa9 0 10644 1 0 0 0 0.0 - - -\n"
         "/link 8 120777 1 0 0 0 0.0 a\\x20target - -\n"
         "/other 4096 40755 2 0 0 0 0.0 - - -\n"
         "/other/more 2000 100644 1 0 0 0 0.0 " +
         payload(kHex1) + " - " + kHex1 +
         "\n"
         "/other/name 1000 @100644 2 0 0 0 0.0 /dir/big - " +
         kHex2 + "\n";
}

class ComposefsInfoTest : public ToolTest {
 protected:
  void SetUp() override {
    dump_ = dump_text();
    Outcome made = run(run_mkcomposefs, {"--from-file", "-", path("image")}, dump_);
    ASSERT_TRUE(made.result) << made.result.error().describe();
  }
  static Outcome info(const std::vector<std::string>& arguments) {
    return run(run_composefs_info, arguments);
  }

  std::string dump_;
};

TEST_F(ComposefsInfoTest, LsListsEveryEntry) {
  EXPECT_EQ(info({"ls", path("image")}).output,
            "/a b\n"
            "/dir/\t\n"
            "/dir/big\t@ " +
                payload(kHex2) +
                "\n"
                "/dir/small\n"
                "/dir/\\xc3\\xa9\n"
                "/link\t-> a\\x20target\n"
                "/other/\t\n"
                "/other/more\t@ " +
                payload(kHex1) +
                "\n"
                "/other/name\n");
}

TEST_F(ComposefsInfoTest, ObjectsAreSortedAndUniqueOverAllImages) {
  const std::string both = payload(kHex1) + "\n" + payload(kHex2) + "\n";
  EXPECT_EQ(info({"objects", path("image")}).output, both);
  EXPECT_EQ(info({"objects", path("image"), path("image")}).output, both);
  EXPECT_EQ(info({"missing-objects", path("image")}).output, both) << "no store, all missing";
  ASSERT_TRUE(make_directories(AT_FDCWD, path("store/11")));
  write("store/" + payload(kHex1), "");
  EXPECT_EQ(info({"--basedir=" + path("store"), "missing-objects", path("image")}).output,
            payload(kHex2) + "\n");
  EXPECT_EQ(info({"--basedir", path("store"), "objects", path("image")}).output, both);
}

TEST_F(ComposefsInfoTest, ObjectsBehindSymlinksAreNotMissing) {
  ASSERT_TRUE(make_directories(AT_FDCWD, path("store")));
  ASSERT_TRUE(make_directories(AT_FDCWD, path("elsewhere/22")));
  write("elsewhere/22/" + std::string(kHex2 + 2), "");
  ASSERT_EQ(::symlink(path("elsewhere/22").c_str(), path("store/22").c_str()), 0);
  ASSERT_TRUE(make_directories(AT_FDCWD, path("store/11")));
  ASSERT_EQ(::symlink("nowhere", path("store/" + payload(kHex1)).c_str()), 0);
  EXPECT_EQ(info({"--basedir=" + path("store"), "missing-objects", path("image")}).output,
            payload(kHex1) + "\n");
  ASSERT_EQ(::symlink("store", path("link").c_str()), 0);
  EXPECT_EQ(info({"--basedir=" + path("link"), "missing-objects", path("image")}).output,
            payload(kHex1) + "\n");
}

TEST_F(ComposefsInfoTest, DumpGivesBackWhatTheImageWasMadeFrom) {
  std::string dumped = info({"dump", path("image")}).output;
  EXPECT_EQ(info({"dump", path("image"), path("image")}).output, dumped + dumped);
  Outcome again = run(run_mkcomposefs, {"--from-file", "-", path("again")}, dumped);
  ASSERT_TRUE(again.result);
  EXPECT_EQ(read("again"), read("image"));
  EXPECT_THAT(dumped, AllOf(HasSubstr("/dir/small 3 100644 1 0 0 0 0.0 - a\\nb -\n"),
                            HasSubstr("/other/name 1000 @100644 2 0 0 0 0.0 /dir/big - ")));
}

TEST_F(ComposefsInfoTest, FilterKeepsTopLevelNames) {
  // "/other/name" is another name of a file that the filter hides: it stands for the file.
  EXPECT_EQ(info({"--filter=link", "--filter", "other", "ls", path("image")}).output,
            "/link\t-> a\\x20target\n"
            "/other/\t\n"
            "/other/more\t@ " +
                payload(kHex1) + "\n/other/name\t@ " + payload(kHex2) + "\n");
  EXPECT_EQ(info({"--filter=other", "objects", path("image")}).output,
            payload(kHex1) + "\n" + payload(kHex2) + "\n");
  EXPECT_THAT(info({"--filter=other", "dump", path("image")}).output,
              testing::Not(testing::HasSubstr(" @100")));
  EXPECT_THAT(info({"--filter=link", "dump", path("image")}).output,
              testing::MatchesRegex("/ [^\n]*\n/link [^\n]*\n"));
  EXPECT_EQ(info({"--filter=none", "ls", path("image")}).output, "");
}

TEST_F(ComposefsInfoTest, MeasureFilePrintsFsVerityDigests) {
  write("one", "hello world\n");
  write("empty", "");
  write("two", std::string(1'000'000, 'x'));
  std::string judged = run_command({.arguments = {"fsverity", "digest", "--compact", path("one"),
                                                  path("empty"), path("two")}})
                           .value();
  EXPECT_EQ(info({"measure-file", path("one"), path("empty"), path("two")}).output, judged);
  EXPECT_EQ(judged.size(), 3U * 65);
}

TEST_F(ComposefsInfoTest, WrongCommandLinesAndFilesAreRefused) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{},
                                                    {"ls"},
                                                    {"measure-file"},
                                                    {"nonsense", path("image")},
                                                    {"--nonsense", "ls", path("image")},
                                                    {"--filter=a/b", "ls", path("image")}}) {
    Outcome outcome = info(arguments);
    ASSERT_FALSE(outcome.result) << testing::PrintToString(arguments);
    EXPECT_EQ(outcome.result.error().code, ErrorCode::kUsage);
  }
  write("text", "this is not an image");
  for (const char* name : {"text", "missing"}) {
    Outcome outcome = info({"ls", path(name)});
    ASSERT_FALSE(outcome.result);
    EXPECT_THAT(outcome.result.error().describe(), HasSubstr(path(name)));
    Result<std::string> program =
        run_command({.arguments = {CFS_COMPOSEFS_INFO, "ls", path(name)}});
    ASSERT_FALSE(program);
    EXPECT_THAT(program.error().message, HasSubstr("status 1"));
  }
  EXPECT_FALSE(info({"--basedir=" + path("missing"), "missing-objects", path("image")}).result);
  EXPECT_FALSE(info({"--basedir=", "ls", path("image")}).result);
  EXPECT_THAT(info({"--help"}).output, HasSubstr("missing-objects"));
}

TEST_F(ComposefsInfoTest, ComposefsDumpCopiesAnImageOfEachVersion) {
  for (const char* version : {"--max-version=0", "--min-version=1"}) {
    ASSERT_TRUE(run(run_mkcomposefs, {version, "--from-file", "-", path("image")}, dump_).result);
    ASSERT_TRUE(run(run_composefs_dump, {path("image"), path("copy")}).result);
    EXPECT_EQ(read("copy"), read("image"));
  }
  EXPECT_EQ(run(run_composefs_dump, {path("image")}).result.error().code, ErrorCode::kUsage);
  EXPECT_FALSE(run(run_composefs_dump, {path("missing"), path("copy")}).result);
  EXPECT_THAT(run(run_composefs_dump, {"--help"}).output, HasSubstr("SOURCE"));
}

}  // namespace
}  // namespace cfs::tools
