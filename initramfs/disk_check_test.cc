// SPDX-License-Identifier: Apache-2.0
#include "initramfs/disk_check.h"

#include <gmock/gmock.h>

#include "lib/base/atomic_file.h"
#include "lib/base/io.h"

namespace cfs::initramfs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Repair : public ::testing::Test {
 protected:
  Result<> repaired(std::vector<int> statuses) {
    options_.clear();
    return repair([&](const std::string& option) -> Result<int> {
      options_.push_back(option);
      return statuses.at(options_.size() - 1);
    });
  }
  std::vector<std::string> options_;
};

TEST_F(Repair, SafeOnesFirst) {
  for (int status : {0, 1, 2, 3}) {
    EXPECT_TRUE(repaired({status})) << status;
    EXPECT_THAT(options_, ElementsAre("-p"));
  }
}

TEST_F(Repair, ThenAll) {
  for (int status : {4, 5, 6}) {
    EXPECT_TRUE(repaired({status, 1})) << status;
    EXPECT_THAT(options_, ElementsAre("-p", "-y"));
  }
  EXPECT_EQ(repaired({4, 5}).error().code, ErrorCode::kCorrupt);
}

TEST_F(Repair, NothingMoreWhenE2fsckFailed) {
  for (int status : {8, 12, 16, 32, 127, 128}) {
    EXPECT_EQ(repaired({status}).error().code, ErrorCode::kSubprocess) << status;
    EXPECT_THAT(options_, ElementsAre("-p"));
  }
  EXPECT_EQ(repaired({4, 8}).error().code, ErrorCode::kSubprocess);
}

class RunProgram : public ::testing::Test {
 protected:
  Result<int> run(const std::string& script, int limit_seconds = 60) {
    lines_.clear();
    return run_program(
        {"/bin/sh", "-c", script}, limit_seconds, [] { return Result<>(); },
        [&](const std::string& line) { lines_.push_back(line); });
  }
  std::vector<std::string> lines_;
};

TEST_F(RunProgram, GivesStatusAndLines) {
  EXPECT_EQ(run("echo one; echo; echo two >&2; printf three; exit 5").value(), 5);
  EXPECT_THAT(lines_, ElementsAre("one", "two", "three"));
  EXPECT_EQ(run("cat").value(), 0) << "standard input is not empty";
  EXPECT_EQ(run("printf '%600s' x").value(), 0);
  EXPECT_EQ(lines_.at(0).size(), 500U);
  EXPECT_EQ(run("printf '%100000s\\nnext\\n' x").value(), 0);
  EXPECT_THAT(lines_, ElementsAre(std::string(500, ' '), "next"));
}

TEST_F(RunProgram, FixesTheEnvironment) {
  ASSERT_EQ(::setenv("E2FSCK_CONFIG", "/elsewhere", 1), 0);  // NOLINT(concurrency-mt-unsafe)
  EXPECT_EQ(run("echo \"$E2FSCK_CONFIG$LC_ALL\"").value(), 0);
  EXPECT_THAT(lines_, ElementsAre("C"));
}

TEST_F(RunProgram, EndsWhatTakesTooLong) {
  // A second of its own for a program that ends when it is asked to.
  EXPECT_THAT(
      run("trap 'echo asked; exit 32' TERM; sleep 60 >/dev/null 2>&1 & wait", 1).error().message,
      HasSubstr("'/bin/sh' did not end within 1 s"));
  EXPECT_THAT(lines_, ElementsAre("asked"));
}

TEST_F(RunProgram, SaysWhyItCannot) {
  EXPECT_THAT(run("kill -9 $$").error().message, HasSubstr("was ended by signal 9"));
  auto say = [&](const std::string& line) { lines_.push_back(line); };
  EXPECT_EQ(run_program(
                {"/nowhere"}, 60, [] { return Result<>(); }, say)
                .value(),
            127);
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("cannot run '/nowhere'")));
  lines_.clear();
  auto refuse = [] { return Result<>(make_error(ErrorCode::kIo, "no way in")); };
  EXPECT_EQ(run_program({"/bin/true"}, 60, refuse, say).value(), 127);
  EXPECT_THAT(lines_, ElementsAre("no way in"));
}

class CheckerTest : public ::testing::Test {
 protected:
  void add(const std::string& path, const std::string& content) {
    std::string whole = path_ + "/" + path;
    ASSERT_TRUE(make_directories(AT_FDCWD, whole.substr(0, whole.rfind('/'))));
    ASSERT_TRUE(write_file_atomically(AT_FDCWD, whole, as_bytes(content)));
  }
  Result<std::string> find() { return find_checker(fd_.get()); }
  TemporaryDirectory directory_ = *TemporaryDirectory::create();
  const std::string& path_ = directory_.path();
  UniqueFd fd_ = *open_at(AT_FDCWD, path_, O_PATH | O_DIRECTORY);
};

TEST_F(CheckerTest, IsInEitherPlace) {
  EXPECT_EQ(find().error().code, ErrorCode::kNotFound);
  add("sbin/e2fsck", "x");
  EXPECT_EQ(find().value(), "/sbin/e2fsck");
  add("usr/sbin/e2fsck", "x");
  EXPECT_EQ(find().value(), "/usr/sbin/e2fsck");
}

TEST_F(CheckerTest, HasItsInterpreter) {
  add("usr/sbin/e2fsck", "#!/lib/loader\n");
  EXPECT_THAT(find().error().message, HasSubstr("'/lib/loader'"));
  add("lib/loader", "x");
  EXPECT_TRUE(find());
}

TEST_F(CheckerTest, DoesNotRunForADiskThatDoesNotAskForIt) {
  EXPECT_FALSE(check_disk(path_ + "/none", "/", path_, fd_.get()));
  add("disk", "no file system");
  EXPECT_FALSE(check_disk(path_ + "/disk", "/", path_, fd_.get()));
}

}  // namespace
}  // namespace cfs::initramfs
