// SPDX-License-Identifier: Apache-2.0
// For tests: what is left when a process is killed before any of the changes that it makes.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <iterator>

namespace cfs {

/// True for a call that changes a file system. One that makes changes durable is none to a process
/// that is killed.
inline bool is_change(const __ptrace_syscall_info& info) {
  constexpr uint64_t kChanges[] = {
      SYS_renameat2, SYS_renameat,  SYS_rename,    SYS_unlinkat,  SYS_mkdirat, SYS_linkat,
      SYS_mknodat,   SYS_symlinkat, SYS_lsetxattr, SYS_fchmodat,  SYS_fchmod,  SYS_fchownat,
      SYS_write,     SYS_pwrite64,  SYS_utimensat, SYS_fsetxattr, SYS_fchown};
  if (info.entry.nr == SYS_openat) return (info.entry.args[2] & O_CREAT) != 0;
  return std::find(std::begin(kChanges), std::end(kChanges), info.entry.nr) != std::end(kChanges);
}

/// Runs `body` in a child that is killed before its n-th call that is_change(). Returns false if
/// the child ended before.
inline bool run_until_change(unsigned n, const std::function<void()>& body) {
  pid_t child = ::fork();
  if (child == 0) {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(1);
    ::raise(SIGSTOP);
    body();
    ::_exit(0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSTOPPED(status)) << "the test cannot trace its child";
  EXPECT_EQ(::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD), 0);
  for (unsigned changes = 0; WIFSTOPPED(status);) {
    __ptrace_syscall_info info = {};
    ::ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof(info), &info);
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY && is_change(info) && changes++ == n) {
      ::kill(child, SIGKILL);
    } else {
      EXPECT_EQ(::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr), 0);
    }
    EXPECT_EQ(::waitpid(child, &status, 0), child);
  }
  return WIFSIGNALED(status);
}

}  // namespace cfs
