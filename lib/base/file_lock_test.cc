// SPDX-License-Identifier: Apache-2.0
#include "lib/base/file_lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "lib/base/io.h"

namespace cfs {
namespace {

class FileLockTest : public testing::Test {
 protected:
  [[nodiscard]] UniqueFd open() const {
    return std::move(
        open_at(AT_FDCWD, directory_.path() + "/lock", O_RDWR | O_CREAT, 0600).value());
  }
  [[nodiscard]] Result<FileLock> try_take(LockMode mode) const {
    return FileLock::try_take(open(), mode);
  }

  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
};

TEST_F(FileLockTest, ExclusiveExcludesAndSharedShares) {
  {
    FileLock one = try_take(LockMode::kShared).value();
    FileLock two = try_take(LockMode::kShared).value();
    EXPECT_EQ(try_take(LockMode::kExclusive).error().code, ErrorCode::kBusy);
  }
  FileLock alone = try_take(LockMode::kExclusive).value();
  EXPECT_EQ(try_take(LockMode::kShared).error().code, ErrorCode::kBusy);
  EXPECT_EQ(try_take(LockMode::kExclusive).error().code, ErrorCode::kBusy);
}

TEST_F(FileLockTest, ADirectoryCanBeLocked) {
  const std::string path = directory_.path() + "/directory";
  ASSERT_TRUE(make_directories(AT_FDCWD, path));
  auto open_directory = [&] {
    return std::move(open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY).value());
  };
  FileLock lock = FileLock::try_take(open_directory(), LockMode::kExclusive).value();
  EXPECT_FALSE(FileLock::try_take(open_directory(), LockMode::kExclusive));
}

TEST_F(FileLockTest, TheLockOfAProcessThatDiesIsFree) {
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  pid_t child = ::fork();
  if (child == 0) {
    Result<FileLock> lock = try_take(LockMode::kExclusive);
    (void)!::write(ready[1], lock ? "1" : "0", 1);
    for (;;) ::pause();
  }
  char locked = '0';
  ASSERT_EQ(::read(ready[0], &locked, 1), 1);
  EXPECT_EQ(locked, '1');
  EXPECT_FALSE(try_take(LockMode::kExclusive));
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(try_take(LockMode::kExclusive));
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(FileLockTest, TakeWaitsUntilTheLockIsFree) {
  std::optional<FileLock> held = try_take(LockMode::kExclusive).value();
  pid_t child = ::fork();
  if (child == 0) {
    held.reset();  // the child's copy of the descriptor; the parent still holds the lock
    ::_exit(FileLock::take(open(), LockMode::kExclusive) ? 0 : 1);
  }
  held.reset();
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace cfs
