// SPDX-License-Identifier: Apache-2.0
#include "lib/base/work_directory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/io.h"

namespace cfs {
namespace {

constexpr std::string_view kPrefix = ".test-";

class WorkDirectoryTest : public testing::Test {
 protected:
  [[nodiscard]] WorkDirectory create() const {
    return std::move(WorkDirectory::create(AT_FDCWD, directory_.path(), kPrefix).value());
  }
  [[nodiscard]] std::string path(const std::string& name) const {
    return directory_.path() + "/" + name;
  }
  [[nodiscard]] std::vector<std::string> names(const std::string& below = "") const {
    return list_directory(AT_FDCWD, directory_.path() + below).value();
  }
  static void put(const WorkDirectory& work, const std::string& name) {
    ASSERT_TRUE(write_file_atomically(work.fd(), name, as_bytes(name)));
  }

  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
};

TEST_F(WorkDirectoryTest, IsRemovedWithItsContent) {
  {
    WorkDirectory work = create();
    put(work, "f");
    EXPECT_TRUE(stat_at(AT_FDCWD, work.path() + "/f", 0));
    WorkDirectory moved = std::move(work);
    EXPECT_EQ(names().size(), 1U);
    EXPECT_EQ(fstat_fd(moved.fd()).value().st_mode & 07777U, 0700U);
  }
  EXPECT_TRUE(names().empty());
}

TEST_F(WorkDirectoryTest, PublishedItStays) {
  {
    WorkDirectory work = create();
    put(work, "f");
    mode_t old = ::umask(0777);
    Result<> published = work.publish(AT_FDCWD, path("out"), 0755, Existing::kRefuse);
    ::umask(old);
    ASSERT_TRUE(published);
    EXPECT_EQ(work.path(), path("out"));
    EXPECT_TRUE(stat_at(work.fd(), "f", 0));
  }
  EXPECT_EQ(names(), std::vector<std::string>{"out"});
  EXPECT_EQ(names("/out"), std::vector<std::string>{"f"});
  EXPECT_EQ(stat_at(AT_FDCWD, path("out"), 0).value().st_mode & 07777U, 0755U);
}

TEST_F(WorkDirectoryTest, WhatIsThereIsReplacedInOneStepOrRefused) {
  ASSERT_TRUE(make_directories(AT_FDCWD, path("out")));
  {
    WorkDirectory work = create();
    put(work, "new");
    EXPECT_EQ(work.publish(AT_FDCWD, path("out"), 0755, Existing::kRefuse).error().code,
              ErrorCode::kExists);
    EXPECT_TRUE(names("/out").empty());
    ASSERT_TRUE(work.publish(AT_FDCWD, path("out"), 0755, Existing::kReplace));
  }
  EXPECT_EQ(names(), std::vector<std::string>{"out"});
  EXPECT_EQ(names("/out"), std::vector<std::string>{"new"});
  {
    WorkDirectory work = create();
    ASSERT_TRUE(work.publish(AT_FDCWD, path("other"), 0755, Existing::kReplace));
  }
  EXPECT_EQ(names(), (std::vector<std::string>{"other", "out"}));
}

TEST_F(WorkDirectoryTest, WhatADeadProcessLeftIsRemovedByTheNext) {
  pid_t child = ::fork();
  if (child == 0) {
    auto* work = new WorkDirectory(create());
    (void)work;
    (void)::raise(SIGKILL);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(names().size(), 1U);
  WorkDirectory one = create();
  WorkDirectory two = create();
  EXPECT_EQ(names().size(), 2U);
}

TEST_F(WorkDirectoryTest, ErrorsNameTheParent) {
  Error error = WorkDirectory::create(AT_FDCWD, path("none"), kPrefix).error();
  EXPECT_EQ(error.code, ErrorCode::kNotFound);
  EXPECT_NE(error.describe().find("none"), std::string::npos);
}

}  // namespace
}  // namespace cfs
