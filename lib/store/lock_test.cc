// SPDX-License-Identifier: Apache-2.0
#include "lib/store/lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "lib/base/io.h"
#include "lib/store/object_store.h"

namespace cfs::store {
namespace {

class StoreLockTest : public testing::Test {
 protected:
  [[nodiscard]] Result<ObjectStore> open_store() const {
    return ObjectStore::open(fd_.get(), ".", {.verity = VerityPolicy::kOffline});
  }

  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
  UniqueFd fd_ = make_directory();

 private:
  [[nodiscard]] UniqueFd make_directory() const {
    const std::string path = directory_.path() + "/store";
    EXPECT_TRUE(make_directories(AT_FDCWD, path));
    return std::move(open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY).value());
  }
};

TEST_F(StoreLockTest, NothingIsRemovedWhileAStoreIsOpen) {
  {
    ObjectStore one = open_store().value();
    ObjectStore two = open_store().value();
    EXPECT_EQ(lock_for_removal(fd_.get()).error().code, ErrorCode::kBusy);
    {
      Batch batch = one.begin().value();
      ASSERT_TRUE(batch.put_bytes(as_bytes("x")));
      ASSERT_TRUE(batch.commit());
    }
    EXPECT_EQ(lock_for_removal(fd_.get()).error().code, ErrorCode::kBusy);
  }
  EXPECT_TRUE(lock_for_removal(fd_.get()));
}

TEST_F(StoreLockTest, WhoOpensAStoreWaitsForARemovalToEnd) {
  std::optional<FileLock> removal = lock_for_removal(fd_.get()).value();
  int done[2];
  ASSERT_EQ(::pipe2(done, O_CLOEXEC), 0);
  pid_t child = ::fork();
  if (child == 0) {
    removal.reset();  // the child's copy of the descriptor; the parent still holds the lock
    bool opened = open_store().has_value();
    (void)!::write(done[1], opened ? "1" : "0", 1);
    ::_exit(0);
  }
  ::close(done[1]);
  pollfd answer = {.fd = done[0], .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&answer, 1, 200), 0) << "it did not wait";
  removal.reset();
  char opened = '0';
  EXPECT_EQ(::read(done[0], &opened, 1), 1);
  EXPECT_EQ(opened, '1');
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  ::close(done[0]);
}

}  // namespace
}  // namespace cfs::store
