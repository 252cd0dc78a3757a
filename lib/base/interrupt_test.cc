// SPDX-License-Identifier: Apache-2.0
#include "lib/base/interrupt.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/io.h"

namespace cfs {
namespace {

/// The wait status of a child that runs `body`.
template <typename Body>
int in_child(Body body) {
  pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

TEST(Interrupt, ASignalSetsAFlagAndEndsABlockedRead) {
  for (int signal_number : {SIGINT, SIGTERM, SIGHUP}) {
    int status = in_child([&] {
      catch_interrupts();
      if (is_interrupted() || !check_interrupted()) return 1;
      int ends[2];
      if (::pipe2(ends, O_CLOEXEC) != 0) return 2;
      pid_t parent = ::getpid();
      if (::fork() == 0) {
        // Again and again: the first may come before the read blocks.
        while (::kill(parent, signal_number) == 0 && ::getppid() == parent) ::usleep(1000);
        ::_exit(0);
      }
      std::byte byte;
      Result<size_t> count = read_some(ends[0], std::span(&byte, 1));
      if (count || count.error().code != ErrorCode::kInterrupted) return 3;
      return check_interrupted().error().code == ErrorCode::kInterrupted ? 0 : 4;
    });
    // The second signal of the same kind kills.
    bool killed = WIFSIGNALED(status) && WTERMSIG(status) == signal_number;
    EXPECT_TRUE(killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) << status;
  }
}

TEST(Interrupt, AnIgnoredSignalStaysIgnored) {
  int status = in_child([] {
    (void)::signal(SIGHUP, SIG_IGN);
    catch_interrupts();
    (void)::raise(SIGHUP);
    return is_interrupted() ? 1 : 0;
  });
  EXPECT_EQ(status, 0);
}

TEST(Interrupt, AClosedPipeIsAnErrorAndNotADeath) {
  int status = in_child([] {
    catch_interrupts();
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return 1;
    ::close(ends[0]);
    Result<> written = write_full(ends[1], as_bytes("x"));
    return !written && written.error().sys_errno == EPIPE ? 0 : 2;
  });
  EXPECT_EQ(status, 0);
}

TEST(Interrupt, AFileAboveTheLimitIsAnErrorAndNotADeath) {
  int status = in_child([] {
    catch_interrupts();
    UniqueFd file(::memfd_create("file", MFD_CLOEXEC));
    const rlimit limit = {.rlim_cur = 1000, .rlim_max = 1000};
    if (!file.valid() || ::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    Result<> written = write_full(file.get(), as_bytes(std::string(1001, 'x')));
    if (written || written.error().sys_errno != EFBIG) return 2;
    return written.error().code == ErrorCode::kNoSpace && !written.error().hint.empty() ? 0 : 3;
  });
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace cfs
