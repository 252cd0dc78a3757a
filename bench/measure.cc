// SPDX-License-Identifier: Apache-2.0
// measure REPORT COMMAND…: runs the command and writes "elapsed_s cpu_s max_rss_kib" to the file
// REPORT. A process of its own because Linux counts into a child's peak memory what its parent used
// before exec, and bench/run is a Python program.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

int main(int argc, char** argv) {
  if (argc < 3) {
    (void)std::fputs("usage: measure REPORT COMMAND...\n", stderr);
    return 2;
  }
  auto start = std::chrono::steady_clock::now();
  pid_t pid = ::fork();
  if (pid == 0) {
    ::execv(argv[2], argv + 2);
    std::perror(argv[2]);
    ::_exit(127);
  }
  int status = 0;
  rusage usage = {};
  if (pid < 0 || ::wait4(pid, &status, 0, &usage) != pid) {
    std::perror("measure");
    return 1;
  }
  std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  FILE* report = std::fopen(argv[1], "we");
  if (report == nullptr) {
    std::perror(argv[1]);
    return 1;
  }
  (void)std::fprintf(report, "%.4f %.4f %ld\n", elapsed.count(),
                     seconds(usage.ru_utime) + seconds(usage.ru_stime), usage.ru_maxrss);
  if (std::fclose(report) != 0) return 1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
