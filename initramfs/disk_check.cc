// SPDX-License-Identifier: Apache-2.0
#include "initramfs/disk_check.h"

#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string_view>

#include "initramfs/failure.h"
#include "initramfs/root_device.h"
#include "lib/base/io.h"
#include "lib/mount/self_test.h"

namespace cfs::initramfs {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kCheckLimitSeconds = 900;
constexpr int kEndLimitSeconds = 10;  // to end by itself after SIGTERM
constexpr size_t kMaxLineBytes = 500;
constexpr int kMaxLines = 100;
constexpr int kCannotRun = 127;

// e2fsck(8), "EXIT CODE".
constexpr int kCorrected = 1 | 2;  // 2: and the root device was it, so that a reboot is needed
constexpr int kLeftErrors = 4;

[[noreturn]] void become(std::vector<std::string>& arguments, int output_fd,
                         const std::function<Result<>()>& enter) {
  std::string path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
  std::string locale = "LC_ALL=C";
  std::array<char*, 3> environment = {path.data(), locale.data(), nullptr};
  std::vector<char*> words;
  for (std::string& argument : arguments) words.push_back(argument.data());
  words.push_back(nullptr);
  for (int fd : {STDOUT_FILENO, STDERR_FILENO}) (void)::dup2(output_fd, fd);
  Result<UniqueFd> nothing = open_at(AT_FDCWD, "/dev/null", O_RDONLY);
  if (nothing) (void)::dup2(nothing->get(), STDIN_FILENO);
  Result<> entered = enter();
  if (entered) ::execve(words[0], words.data(), environment.data());
  Error error = entered ? errno_error("cannot run '" + arguments[0] + "'")
                        : Error(std::move(entered).error());
  (void)write_full(STDERR_FILENO, as_bytes(error.describe() + "\n"));
  ::_exit(kCannotRun);
}

// Hands over the lines of `text` that have ended and leaves the rest in it.
void take_lines(std::string& text, const std::function<void(const std::string&)>& say) {
  for (size_t end; (end = text.find('\n')) != std::string::npos;) {
    if (end > 0) say(text.substr(0, std::min(end, kMaxLineBytes)));
    text.erase(0, end + 1);
  }
}

Result<> bind_mount(const std::string& from, const std::string& to) {
  if (::mount(from.c_str(), to.c_str(), nullptr, MS_BIND, nullptr) != 0) {
    return errno_error("cannot mount '" + from + "' on '" + to + "'");
  }
  return {};
}

// Moves into the root, in mounts of our own, which end with this process. e2fsck touches a device
// that is in use only where /proc/mounts shows that it is mounted read-only, so the disk is mounted
// where e2fsck can see it.
Result<> enter_root(const std::string& target, const std::string& root) {
  if (::unshare(CLONE_NEWNS) != 0) return errno_error("cannot make a mount namespace");
  CFS_TRY(bind_mount("/dev", root + "/dev"));
  CFS_TRY(bind_mount("/proc", root + "/proc"));
  CFS_TRY(bind_mount(target, root + "/var"));
  if (::chroot(root.c_str()) != 0 || ::chdir("/") != 0) {
    return errno_error("cannot change the root to '" + root + "'");
  }
  return {};
}

}  // namespace

Result<int> run_program(std::vector<std::string> arguments, int limit_seconds,
                        const std::function<Result<>()>& enter,
                        const std::function<void(const std::string&)>& say) {
  std::array<int, 2> ends = {};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error("cannot make a pipe");
  UniqueFd output(ends[0]);
  UniqueFd input(ends[1]);
  pid_t child = ::fork();
  if (child < 0) return errno_error("cannot start '" + arguments[0] + "'");
  if (child == 0) become(arguments, input.get(), enter);
  input.reset();

  Clock::time_point deadline = Clock::now() + std::chrono::seconds(limit_seconds);
  bool is_late = false;
  std::string text;
  std::array<std::byte, 4096> buffer{};
  for (;;) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd entry = {.fd = output.get(), .events = POLLIN, .revents = 0};
    int ready = ::poll(&entry, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) {
      (void)::kill(child, is_late ? SIGKILL : SIGTERM);
      deadline = Clock::now() + std::chrono::seconds(kEndLimitSeconds);
      is_late = true;
      continue;
    }
    Result<size_t> count = read_some(output.get(), buffer);
    if (!count || *count == 0) break;
    text += as_text(Bytes(buffer).first(*count));
    take_lines(text, say);
    if (text.size() > kMaxLineBytes) text.resize(kMaxLineBytes);  // nobody is told of the rest
  }
  text += '\n';
  take_lines(text, say);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return errno_error("cannot wait for '" + arguments[0] + "'");
  }
  if (is_late) {
    return make_error(ErrorCode::kSubprocess, "'" + arguments[0] + "' did not end within " +
                                                  std::to_string(limit_seconds) + " s");
  }
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  return make_error(ErrorCode::kSubprocess, "'" + arguments[0] + "' was ended by signal " +
                                                std::to_string(WTERMSIG(status)));
}

Result<std::string> find_checker(int root_fd) {
  std::string path = "/usr/sbin/e2fsck";
  if (!mount::open_in_root(root_fd, path, O_PATH)) path = "/sbin/e2fsck";
  CFS_TRY(mount::check_program_readable(root_fd, path));
  return path;
}

Result<> repair(const RunChecker& run) {
  for (const char* option : {"-p", "-y"}) {
    int problems = CFS_TRY(run(option)) & ~kCorrected;
    if (problems == 0) return {};
    if (problems != kLeftErrors) {
      return make_error(ErrorCode::kSubprocess,
                        "e2fsck failed with exit status " + std::to_string(problems));
    }
  }
  return make_error(ErrorCode::kCorrupt, "e2fsck could not correct all errors");
}

bool check_disk(const std::string& device, const std::string& target, const std::string& root,
                int root_fd) {
  std::optional<Superblock> superblock = read_superblock(device);
  if (!superblock || !superblock->needs_check) return false;
  const std::string what = "the file system on '" + device + "' ";
  Result<std::string> checker = find_checker(root_fd);
  if (!checker) {
    log_warning(
        what + "has errors, and the image's e2fsck cannot check it: " + checker.error().describe());
    return false;
  }
  log_notice(what + "has errors and is being checked");
  int lines = 0;
  auto say = [&lines](const std::string& line) {
    if (++lines <= kMaxLines) log_notice("e2fsck: " + line);
  };
  // Without -f e2fsck refuses a device that is mounted.
  Result<> repaired = repair([&](const std::string& option) {
    return run_program(
        {*checker, "-f", option, device}, kCheckLimitSeconds,
        [&] { return enter_root(target, root); }, say);
  });
  if (lines > kMaxLines) {
    log_notice("e2fsck said " + std::to_string(lines - kMaxLines) + " lines more");
  }
  if (repaired) {
    log_notice(what + "is whole again");
  } else {
    log_warning(what + "still has errors: " + repaired.error().describe());
  }
  return true;
}

}  // namespace cfs::initramfs
