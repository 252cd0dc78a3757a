// SPDX-License-Identifier: Apache-2.0
#include "lib/base/temporary_name.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "lib/base/io.h"
#include "lib/base/random_name.h"

namespace cfs {
namespace {

constexpr std::string_view kPrefix = ".test-";

class TemporaryNameTest : public testing::Test {
 protected:
  [[nodiscard]] UniqueFd open_parent() const {
    return std::move(open_at(AT_FDCWD, directory_.path(), O_RDONLY | O_DIRECTORY).value());
  }
  [[nodiscard]] std::vector<std::string> names() const {
    return list_directory(parent_.get(), ".").value();
  }
  void sweep() const { ASSERT_TRUE(TemporaryName::remove_stale(parent_.get(), kPrefix)); }

  /// Runs `body` in a child that is then killed by SIGKILL.
  static void in_child_that_is_killed(const std::function<void()>& body) {
    pid_t child = ::fork();
    if (child == 0) {
      body();
      (void)::raise(SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
  }

  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
  UniqueFd parent_ = open_parent();
};

TEST_F(TemporaryNameTest, IsRemovedAtTheEndOfScopeUnlessKept) {
  {
    TemporaryName file = TemporaryName::make_file(open_parent(), kPrefix, 0600).value();
    TemporaryName made = TemporaryName::make_directory(open_parent(), kPrefix).value();
    ASSERT_EQ(::mkdirat(made.fd(), "below", 0700), 0);
    TemporaryName kept = TemporaryName::make_file(open_parent(), kPrefix, 0600).value();
    ASSERT_TRUE(rename_at(kept.parent_fd(), kept.name(), kept.parent_fd(), "kept"));
    kept.keep();
    TemporaryName moved = std::move(file);
    EXPECT_EQ(names().size(), 3U);
  }
  EXPECT_EQ(names(), std::vector<std::string>{"kept"});
}

TEST_F(TemporaryNameTest, ModesAreAsAskedWhateverTheUmask) {
  for (mode_t mask : {0000U, 0077U, 0777U}) {
    mode_t old = ::umask(mask);
    Result<TemporaryName> file = TemporaryName::make_file(open_parent(), kPrefix, 0664);
    Result<TemporaryName> for_user = TemporaryName::make_file(open_parent(), kPrefix, {});
    ::umask(old);
    ASSERT_TRUE(file && for_user);
    EXPECT_EQ(fstat_fd(file->fd()).value().st_mode & 07777U, 0664U);
    EXPECT_EQ(fstat_fd(for_user->fd()).value().st_mode & 07777U, 0666U & ~mask);
  }
}

TEST_F(TemporaryNameTest, WhatADeadProcessLeftIsRemovedAndWhatIsInUseIsNot) {
  TemporaryName file = TemporaryName::make_file(open_parent(), kPrefix, 0600).value();
  TemporaryName made = TemporaryName::make_directory(open_parent(), kPrefix).value();
  in_child_that_is_killed([&] {
    auto* lost_file =
        new Result<TemporaryName>(TemporaryName::make_file(open_parent(), kPrefix, 0000));
    auto* lost = new Result<TemporaryName>(TemporaryName::make_directory(open_parent(), kPrefix));
    if (*lost_file && *lost) (void)::mkdirat((*lost)->fd(), "below", 0700);
  });
  EXPECT_EQ(names().size(), 4U);
  sweep();
  std::vector<std::string> expected{file.name(), made.name()};
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(names(), expected);
}

TEST_F(TemporaryNameTest, OnlyWhatHasTheFormOfTheNameIsRemoved) {
  const std::vector<std::string> others{".test-", ".test-0123456789ABCDEF", ".test-photographs",
                                        "0123456789abcdef", "test-0123456789abcdef"};
  for (const std::string& name : others) {
    ASSERT_EQ(::mkdirat(parent_.get(), name.c_str(), 0700), 0);
  }
  sweep();
  EXPECT_EQ(names(), others);
}

TEST_F(TemporaryNameTest, ASymlinkOfThatFormLeadsNowhereAndStays) {
  ASSERT_EQ(::mkdirat(parent_.get(), "elsewhere", 0700), 0);
  ASSERT_EQ(::mkdirat(parent_.get(), "elsewhere/content", 0700), 0);
  ASSERT_EQ(::symlinkat("elsewhere", parent_.get(), ".test-0123456789abcdef"), 0);
  sweep();
  EXPECT_EQ(names(), (std::vector<std::string>{".test-0123456789abcdef", "elsewhere"}));
  EXPECT_TRUE(stat_at(parent_.get(), "elsewhere/content", 0));
}

TEST_F(TemporaryNameTest, AFifoOfThatFormDoesNotStopASweep) {
  ASSERT_EQ(::mkfifoat(parent_.get(), ".test-0123456789abcdef", 0600), 0);
  sweep();
  EXPECT_EQ(names().size(), 1U);
}

TEST_F(TemporaryNameTest, WhatBelongsToSomebodyElseStays) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  ASSERT_EQ(::mkdirat(parent_.get(), ".test-0123456789abcdef", 0700), 0);
  ASSERT_EQ(::fchownat(parent_.get(), ".test-0123456789abcdef", 12345, 12345, 0), 0);
  sweep();
  EXPECT_EQ(names().size(), 1U);
}

TEST_F(TemporaryNameTest, MakersAndSweepersAtOnceLoseNothing) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 200; ++round) {
        if (i % 2 == 0) {
          EXPECT_TRUE(TemporaryName::remove_stale(parent_.get(), kPrefix));
          continue;
        }
        Result<TemporaryName> made = round % 2 == 0
                                         ? TemporaryName::make_directory(open_parent(), kPrefix)
                                         : TemporaryName::make_file(open_parent(), kPrefix, 0600);
        ASSERT_TRUE(made) << made.error().describe();
        EXPECT_TRUE(stat_at(parent_.get(), made->name(), 0)) << "removed while it was in use";
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(names(), std::vector<std::string>{});
}

}  // namespace
}  // namespace cfs
