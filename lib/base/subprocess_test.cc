// SPDX-License-Identifier: Apache-2.0
#include "lib/base/subprocess.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <optional>

#include "lib/base/io.h"
#include "lib/base/temporary_directory.h"

namespace cfs {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

/// A variable of our own environment, put back at the end of scope.
class Variable {
 public:
  Variable(std::string name, const char* value) : name_(std::move(name)) {
    if (const char* old = ::getenv(name_.c_str())) old_ = old;  // NOLINT(concurrency-mt-unsafe)
    set(value);
  }
  ~Variable() { set(old_ ? old_->c_str() : nullptr); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  void set(const char* value) {
    if (value == nullptr) {
      ::unsetenv(name_.c_str());  // NOLINT(concurrency-mt-unsafe)
    } else {
      ::setenv(name_.c_str(), value, 1);  // NOLINT(concurrency-mt-unsafe)
    }
  }
  std::string name_;
  std::optional<std::string> old_;
};

std::string shell(const std::string& script, std::vector<std::string> environment = {}) {
  return run_command({.arguments = {"sh", "-c", script}, .environment = std::move(environment)})
      .value();
}

/// Waits for a line of the child's output.
void wait_until_ready(const Subprocess& child) {
  std::array<std::byte, 6> ready;
  ASSERT_EQ(read_full(child.stdout_fd(), ready).value(), ready.size());
}

TEST(Subprocess, EndsWithWhatItStarted) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  {
    // The program and what it started hold the pipe open.
    Subprocess child =
        Subprocess::start({.arguments = {"sh", "-c", "exec 3>&0; sleep 600 & echo ready; wait"},
                           .stdin_fd = write_end.get()})
            .value();
    wait_until_ready(child);
    write_end.reset();
  }
  pollfd ended = {read_end.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&ended, 1, 30'000), 1);
}

TEST(Subprocess, HasTimeToCleanUp) {
  TemporaryDirectory directory = TemporaryDirectory::create().value();
  {
    // A signal to all would hit the inner shell, and nothing would be cleaned.
    Subprocess child =
        Subprocess::start(
            {.arguments = {"sh", "-c", "trap : TERM; (echo ready; sleep 0.3; : > cleaned); :"},
             .working_directory = directory.path()})
            .value();
    wait_until_ready(child);
  }
  EXPECT_TRUE(stat_at(AT_FDCWD, directory.path() + "/cleaned", 0));
}

TEST(Subprocess, ReturnsOutputAndReportsFailure) {
  EXPECT_EQ(run_command({.arguments = {"echo", "hello"}}).value(), "hello\n");
  Result<std::string> failed = run_command({.arguments = {"sh", "-c", "echo why >&2; exit 3"}});
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::kSubprocess);
  EXPECT_THAT(failed.error().message, AllOf(HasSubstr("status 3"), HasSubstr("why")));
}

TEST(Subprocess, ErrorOutputCanBeReadWhileItRuns) {
  Subprocess child =
      Subprocess::start({.arguments = {"sh", "-c", "echo one >&2; echo; echo two >&2"}}).value();
  std::array<std::byte, 1> line;
  ASSERT_EQ(read_full(child.stdout_fd(), line).value(), 1U);
  EXPECT_THAT(child.error_output(), StartsWith("one\n"));
  ASSERT_TRUE(child.wait());
  EXPECT_EQ(child.error_output(4), "two\n");
  EXPECT_EQ(child.error_output(100), "");
}

TEST(Subprocess, WhatCannotBeRunIsSaidAtOnce) {
  EXPECT_EQ(run_command({.arguments = {"no-such-program"}}).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(run_command({.arguments = {"/no/such/program"}}).error().code, ErrorCode::kNotFound);
  Result<std::string> refused = run_command({.arguments = {"/etc/passwd"}});
  EXPECT_EQ(refused.error().code, ErrorCode::kPermission);
  EXPECT_THAT(refused.error().message, HasSubstr("'/etc/passwd'"));
  refused = run_command({.arguments = {"true"}, .working_directory = "/no/such"});
  EXPECT_EQ(refused.error().code, ErrorCode::kNotFound);
}

TEST(Subprocess, SeesTheDocumentedEnvironmentOnly) {
  Variable options("TAR_OPTIONS", "--owner=0");
  Variable locale("LC_ALL", "de_DE.UTF-8");
  Variable home("HOME", "/home/me");
  Variable tmp("TMPDIR", "/var/tmp");
  Variable proxy("http_proxy", "http://127.0.0.1:3128");
  Variable no_proxy("no_proxy", nullptr);
  Variable all("all_proxy", nullptr);
  Variable https("https_proxy", nullptr);
  Variable ftp("ftp_proxy", nullptr);
  Variable path("PATH", "bin:/opt/bin::/usr/bin:.:/bin:/opt/bin");
  EXPECT_THAT(child_environment({"CFS_X=7", "TZ=CET"}),
              testing::UnorderedElementsAre(
                  "CFS_X=7", "TZ=CET", "HOME=/nonexistent", "LANG=C.UTF-8", "LC_ALL=C.UTF-8",
                  "TMPDIR=/var/tmp", "http_proxy=http://127.0.0.1:3128",
                  "PATH=/opt/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"));
  EXPECT_EQ(shell("echo $CFS_X,$TAR_OPTIONS,$HOME", {"CFS_X=7"}), "7,,/nonexistent\n");
  EXPECT_THAT(run_command({.arguments = {"env"}}).value(), Not(HasSubstr("TAR_OPTIONS")));
}

TEST(Subprocess, InheritsNoUmaskSignalsDescriptorsOrSession) {
  mode_t old_umask = ::umask(0);
  auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  sigset_t blocked;
  sigset_t old_mask;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGUSR1);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &blocked, &old_mask), 0);
  // NOLINTNEXTLINE(android-cloexec-open): as somebody else's would be
  int leak = ::open("/dev/null", O_RDONLY);
  ASSERT_GE(leak, 0);

  EXPECT_EQ(shell("umask"), "0022\n");
  std::string status = run_command({.arguments = {"cat", "/proc/self/status"}}).value();
  EXPECT_THAT(status, HasSubstr("SigBlk:\t0000000000000000"));
  EXPECT_THAT(status, HasSubstr("SigIgn:\t0000000000000000"));
  // The directory that is listed is a descriptor too.
  EXPECT_EQ(run_command({.arguments = {"ls", "/proc/self/fd"}}).value(), "0\n1\n2\n3\n");
  // Field 6 is the session. proc(5).
  std::string stat = run_command({.arguments = {"cut", "-d ", "-f1,6", "/proc/self/stat"}}).value();
  EXPECT_EQ(stat.substr(0, stat.find(' ')), stat.substr(stat.find(' ') + 1, stat.find(' ')));

  ::close(leak);
  ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, &old_mask, nullptr), 0);
  (void)std::signal(SIGXFSZ, old_handler);
  ::umask(old_umask);
}

TEST(Subprocess, HasItsStandardFilesWhereOursAreClosed) {
  // Descriptors below 3 are free, so that the pipes get them.
  Result<std::string> said = [] {
    int input = ::fcntl(0, F_DUPFD_CLOEXEC, 10);
    ::close(0);
    Result<std::string> output =
        run_command({.arguments = {"sh", "-c", "cat; echo out; echo err >&2"}});
    if (input >= 0) ::dup2(input, 0);
    ::close(input);
    return output;
  }();
  EXPECT_EQ(said.value_or("failed"), "out\n");
}

TimedRun run_timed(const std::string& script, int limit_ms, size_t tail_bytes = 100) {
  Subprocess child = Subprocess::start({.arguments = {"sh", "-c", script},
                                        .standard_error = StandardError::kWithOutput})
                         .value();
  return child.wait_at_most(std::chrono::milliseconds(limit_ms), tail_bytes).value();
}

TEST(WaitAtMost, SaysHowItEnded) {
  TimedRun good = run_timed("echo out; echo err >&2; exit 3", 60'000);
  EXPECT_EQ(good.end, TimedRun::End::kExited);
  EXPECT_EQ(good.number, 3);
  EXPECT_EQ(good.output, "out\nerr\n");
  TimedRun killed = run_timed("kill -SEGV $$", 60'000);
  EXPECT_EQ(killed.end, TimedRun::End::kKilled);
  EXPECT_EQ(killed.number, SIGSEGV);
}

TEST(WaitAtMost, KeepsTheEndOfTheOutput) {
  TimedRun run = run_timed("seq 100000; echo last", 60'000, 12);
  EXPECT_EQ(run.output, "100000\nlast\n");
}

TEST(WaitAtMost, EndsWithAllThatIsInTheGroup) {
  TemporaryDirectory directory = TemporaryDirectory::create().value();
  const std::string alive = directory.path() + "/alive";
  TimedRun run = run_timed("(sleep 2; : > " + alive + ") & echo begun; sleep 600", 300);
  EXPECT_EQ(run.end, TimedRun::End::kTimedOut);
  EXPECT_EQ(run.output, "begun\n");
  EXPECT_GE(run.duration.count(), 300);
  EXPECT_LT(run.duration.count(), 30'000);
  ::usleep(2'500'000);
  EXPECT_FALSE(stat_at(AT_FDCWD, alive, 0)) << "a child of the program is alive";
}

TEST(WaitAtMost, WhatIsLeftBehindIsNotWaitedFor) {
  TimedRun run = run_timed("sleep 600 & echo done", 60'000);
  EXPECT_EQ(run.end, TimedRun::End::kExited);
  EXPECT_EQ(run.output, "done\n");
  EXPECT_LT(run.duration.count(), 30'000);
}

TEST(WaitAtMost, ClosedOutputIsNoEnd) {
  TimedRun run = run_timed("exec >&- 2>&-; sleep 0.2; exit 4", 60'000);
  EXPECT_EQ(run.end, TimedRun::End::kExited);
  EXPECT_EQ(run.number, 4);
}

}  // namespace
}  // namespace cfs
