// SPDX-License-Identifier: Apache-2.0
#include "lib/base/subprocess.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "lib/base/interrupt.h"
#include "lib/base/io.h"

namespace cfs {
namespace {

constexpr size_t kStderrTailBytes = 2000;

std::string tail_of(int fd) {
  struct stat status = {};
  if (::fstat(fd, &status) != 0 || status.st_size == 0) return "";
  auto size = static_cast<size_t>(status.st_size);
  size_t length = std::min(size, kStderrTailBytes);
  std::string text(length, '\0');
  Result<size_t> count = pread_full(fd, std::as_writable_bytes(std::span(text)), size - length);
  if (!count) return "";
  text.resize(*count);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::vector<std::string> merged_environment(const std::vector<std::string>& additions) {
  std::vector<std::string> result = additions;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string text = *entry;
    std::string prefix = text.substr(0, text.find('=') + 1);
    bool replaced = std::any_of(additions.begin(), additions.end(), [&](const std::string& added) {
      return added.compare(0, prefix.size(), prefix) == 0;
    });
    if (!replaced) result.push_back(std::move(text));
  }
  return result;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

Result<Subprocess> Subprocess::start(const Command& command) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("cannot create a pipe");
  Subprocess child;
  child.name_ = command.arguments.at(0);
  child.stdout_.reset(ends[0]);
  UniqueFd write_end(ends[1]);
  child.stderr_.reset(::memfd_create("stderr", MFD_CLOEXEC));
  if (!child.stderr_.valid()) return errno_error("cannot create a buffer for standard error");
  UniqueFd null_input;
  int stdin_fd = command.stdin_fd;
  if (stdin_fd < 0) {
    null_input = CFS_TRY(open_at(AT_FDCWD, "/dev/null", O_RDONLY));
    stdin_fd = null_input.get();
  }

  std::vector<std::string> arguments = command.arguments;
  std::vector<std::string> environment = merged_environment(command.environment);
  std::vector<char*> argv = pointers(arguments);
  std::vector<char*> envp = pointers(environment);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, stdin_fd, 0);
  posix_spawn_file_actions_adddup2(&actions, write_end.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, child.stderr_.get(), 2);
  if (!command.working_directory.empty()) {
    posix_spawn_file_actions_addchdir_np(&actions, command.working_directory.c_str());
  }
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t empty;
  sigset_t defaults;
  sigemptyset(&empty);
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  posix_spawnattr_setsigmask(&attributes, &empty);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  // A group of its own, so that what the child starts can be ended with it. The terminal's Ctrl-C
  // then reaches us alone.
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  int failure =
      ::posix_spawnp(&child.pid_, argv[0], &actions, &attributes, argv.data(), envp.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) {
    child.pid_ = -1;
    return errno_error("cannot run '" + child.name_ + "'", failure);
  }
  return child;
}

Subprocess::Subprocess(Subprocess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      name_(std::move(other.name_)),
      stdout_(std::move(other.stdout_)),
      stderr_(std::move(other.stderr_)) {}

Subprocess::~Subprocess() {
  if (pid_ > 0) {
    stdout_.reset();
    ::kill(-pid_, SIGTERM);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
}

Result<> Subprocess::wait() {
  stdout_.reset();
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0) {
    if (errno != EINTR) return errno_error("cannot wait for '" + name_ + "'");
    if (is_interrupted()) ::kill(-pid_, SIGTERM);
  }
  pid_ = -1;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  std::string how = WIFSIGNALED(status)
                        ? "was killed by signal " + std::to_string(WTERMSIG(status))
                        : "exited with status " + std::to_string(WEXITSTATUS(status));
  std::string message = "'" + name_ + "' " + how;
  std::string said = tail_of(stderr_.get());
  if (!said.empty()) message += ", saying:\n" + said;
  return make_error(ErrorCode::kSubprocess, std::move(message));
}

Result<std::string> run_command(const Command& command, size_t limit_bytes) {
  Subprocess child = CFS_TRY(Subprocess::start(command));
  std::string output = CFS_TRY(read_fd(child.stdout_fd(), limit_bytes));
  CFS_TRY(child.wait());
  return output;
}

}  // namespace cfs
