// SPDX-License-Identifier: Apache-2.0
#include "lib/base/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "lib/base/interrupt.h"
#include "lib/base/io.h"

namespace cfs {
namespace {

constexpr size_t kStderrTailBytes = 2000;
// mmdebstrap unmounts and removes a whole root file system.
constexpr int kCleanUpMs = 60'000;
constexpr int kPollMs = 20;
// A killed program may hang in the kernel, waiting for a disk.
constexpr int kKillMs = 5'000;

// The caller's own, as long as Command's comment and its decision page say why.
constexpr std::array<const char*, 6> kPassedOn = {"TMPDIR",    "http_proxy", "https_proxy",
                                                  "ftp_proxy", "all_proxy",  "no_proxy"};
constexpr std::array<const char*, 4> kFixed = {"HOME=/nonexistent", "LANG=C.UTF-8",
                                               "LC_ALL=C.UTF-8", "TZ=UTC"};
// What execvp(3) takes where there is no PATH.
constexpr const char* kDefaultPath = "/usr/local/bin:/usr/bin:/bin";
// Disk tools lie here, and an ordinary user's PATH lacks them.
constexpr std::array<const char*, 3> kSystemDirectories = {"/usr/local/sbin", "/usr/sbin", "/sbin"};

/// Absolute directories to look for programs in, none twice.
std::vector<std::string> program_directories() {
  std::vector<std::string> result;
  auto add = [&](std::string_view directory) {
    if (!directory.starts_with('/')) return;
    if (std::find(result.begin(), result.end(), directory) == result.end()) {
      result.emplace_back(directory);
    }
  };
  const char* path = ::getenv("PATH");  // NOLINT(concurrency-mt-unsafe): nobody here sets it
  std::string_view rest = path == nullptr ? kDefaultPath : path;
  while (!rest.empty()) {
    size_t end = std::min(rest.find(':'), rest.size());
    add(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  for (const char* directory : kSystemDirectories) add(directory);
  return result;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

/// Where the child's standard files come from.
struct StandardFiles {
  int input;
  int output;
  int errors;
};

/// All that happens between fork(2) and the new program: system calls only, since other threads may
/// have held locks. Tells `status_fd` the errno of what failed.
[[noreturn]] void become(const char* path, char* const* arguments, char* const* environment,
                         const char* working_directory, const StandardFiles& files, int status_fd) {
  // Descriptors that are none of 0 to 3, to be moved there.
  constexpr int kLow = 4;
  int input = ::fcntl(files.input, F_DUPFD, kLow);
  int output = ::fcntl(files.output, F_DUPFD, kLow);
  int errors = ::fcntl(files.errors, F_DUPFD, kLow);
  int status = ::fcntl(status_fd, F_DUPFD, kLow);
  bool ready = input >= 0 && output >= 0 && errors >= 0 && status >= 0 && ::dup2(input, 0) >= 0 &&
               ::dup2(output, 1) >= 0 && ::dup2(errors, 2) >= 0 &&
               ::dup3(status, 3, O_CLOEXEC) >= 0;
  if (ready) {
    status = 3;
    ::closefrom(kLow);
    ::umask(022);
    ::setsid();
    struct sigaction by_default = {};
    by_default.sa_handler = SIG_DFL;
    for (int signal_number = 1; signal_number < NSIG; ++signal_number) {
      (void)::sigaction(signal_number, &by_default, nullptr);  // some are fixed
    }
    sigset_t none;
    ::sigemptyset(&none);
    ready = ::pthread_sigmask(SIG_SETMASK, &none, nullptr) == 0 &&
            (*working_directory == '\0' || ::chdir(working_directory) == 0);
  }
  if (ready) ::execve(path, arguments, environment);
  int failure = errno;
  (void)!::write(status, &failure, sizeof(failure));
  ::_exit(127);
}

}  // namespace

std::vector<std::string> child_environment(const std::vector<std::string>& additions) {
  std::vector<std::string> result = additions;
  auto add = [&](const std::string& entry) {
    std::string prefix = entry.substr(0, entry.find('=') + 1);
    bool replaced = std::any_of(additions.begin(), additions.end(), [&](const std::string& added) {
      return added.starts_with(prefix);
    });
    if (!replaced) result.push_back(entry);
  };
  std::string path;
  for (const std::string& directory : program_directories()) {
    path += (path.empty() ? "" : ":") + directory;
  }
  add("PATH=" + path);
  for (const char* entry : kFixed) add(entry);
  for (const char* name : kPassedOn) {
    const char* value = ::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody here sets it
    if (value != nullptr && *value != '\0') add(std::string(name) + "=" + value);
  }
  return result;
}

Result<std::string> find_program(const std::string& name) {
  for (const std::string& directory : program_directories()) {
    std::string path = directory + "/" + name;
    struct stat status = {};
    bool found = ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
                 ::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0;
    if (found) return path;
  }
  return make_error(ErrorCode::kNotFound, "the program '" + name + "' is not installed");
}

Result<Subprocess> Subprocess::start(const Command& command) {
  int ends[2];
  Subprocess child;
  child.name_ = command.arguments.at(0);
  bool is_path = child.name_.find('/') != std::string::npos;
  std::string program = is_path ? child.name_ : CFS_TRY(find_program(child.name_));
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("cannot create a pipe");
  child.stdout_.reset(ends[0]);
  UniqueFd write_end(ends[1]);
  child.stderr_.reset(::memfd_create("stderr", MFD_CLOEXEC));
  if (!child.stderr_.valid()) return errno_error("cannot create a buffer for standard error");
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("cannot create a pipe");
  UniqueFd status_read(ends[0]);
  UniqueFd status_write(ends[1]);
  UniqueFd null_input;
  int stdin_fd = command.stdin_fd;
  if (stdin_fd < 0) {
    null_input = CFS_TRY(open_at(AT_FDCWD, "/dev/null", O_RDONLY));
    stdin_fd = null_input.get();
  }

  std::vector<std::string> arguments = command.arguments;
  std::vector<std::string> environment = child_environment(command.environment);
  std::vector<char*> argv = pointers(arguments);
  std::vector<char*> envp = pointers(environment);
  StandardFiles files{
      stdin_fd, write_end.get(),
      command.standard_error == StandardError::kWithOutput ? write_end.get() : child.stderr_.get()};

  child.pid_ = ::fork();
  if (child.pid_ < 0) return errno_error("cannot start '" + child.name_ + "'");
  if (child.pid_ == 0) {
    become(program.c_str(), argv.data(), envp.data(), command.working_directory.c_str(), files,
           status_write.get());
  }
  // The pipe closes without a word when the program has begun.
  status_write.reset();
  int failure = 0;
  Result<size_t> said =
      read_full(status_read.get(), std::as_writable_bytes(std::span(&failure, 1)));
  // Interrupted: the program may have begun, so it is stopped (~Subprocess).
  if (!said) return Error(std::move(said).error());
  if (*said == 0) return child;
  while (::waitpid(child.pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  child.pid_ = -1;
  return errno_error("cannot run '" + child.name_ + "'", failure);
}

Subprocess::Subprocess(Subprocess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      name_(std::move(other.name_)),
      stdout_(std::move(other.stdout_)),
      stderr_(std::move(other.stderr_)) {}

Subprocess::~Subprocess() {
  if (pid_ > 0) {
    stdout_.reset();
    stop();
  }
}

void Subprocess::stop() {
  // The program alone, first: what it starts to clean up after itself must not be hit.
  ::kill(pid_, SIGTERM);
  for (int waited_ms = 0; waited_ms < kCleanUpMs && !has_ended(); waited_ms += kPollMs) {
    ::usleep(kPollMs * 1000);
  }
  // It is not reaped yet, so the number of its group is still its own.
  ::kill(-pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

bool Subprocess::has_ended() const {
  siginfo_t info = {};
  int flags = WEXITED | WNOHANG | WNOWAIT;
  return ::waitid(P_PID, static_cast<id_t>(pid_), &info, flags) == 0 && info.si_pid == pid_;
}

std::string Subprocess::error_output(uint64_t offset) const {
  struct stat status = {};
  if (::fstat(stderr_.get(), &status) != 0) return "";
  auto size = static_cast<uint64_t>(status.st_size);
  std::string text(size > offset ? size - offset : 0, '\0');
  Result<size_t> count = pread_full(stderr_.get(), std::as_writable_bytes(std::span(text)), offset);
  text.resize(count.value_or(0));
  return text;
}

Result<> Subprocess::wait() {
  stdout_.reset();
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0) {
    if (errno != EINTR) return errno_error("cannot wait for '" + name_ + "'");
    if (is_interrupted()) {
      stop();
      return check_interrupted();
    }
  }
  pid_ = -1;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  std::string how = WIFSIGNALED(status)
                        ? "was killed by signal " + std::to_string(WTERMSIG(status))
                        : "exited with status " + std::to_string(WEXITSTATUS(status));
  std::string message = "'" + name_ + "' " + how;
  std::string said = error_output();
  if (said.size() > kStderrTailBytes) said.erase(0, said.size() - kStderrTailBytes);
  said.erase(said.find_last_not_of('\n') + 1);
  if (!said.empty()) message += ", saying:\n" + said;
  return make_error(ErrorCode::kSubprocess, std::move(message));
}

Result<TimedRun> Subprocess::wait_at_most(std::chrono::milliseconds limit, size_t tail_bytes) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  // Not pidfd_open(3): the header of glibc 2.36 declares it for C alone.
  UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  if (!process.valid()) return errno_error("cannot watch '" + name_ + "'");
  TimedRun run;
  // Reads what is there now. Returns false at the end of the output.
  auto read_output = [&]() -> Result<bool> {
    std::array<std::byte, 4096> buffer;
    size_t count = CFS_TRY(read_some(stdout_.get(), buffer));
    run.output += as_text(std::span(buffer).first(count));
    if (run.output.size() > tail_bytes) run.output.erase(0, run.output.size() - tail_bytes);
    return count > 0;
  };
  std::array<pollfd, 2> events = {{{process.get(), POLLIN, 0}, {stdout_.get(), POLLIN, 0}}};
  for (bool has_output = true;;) {
    auto left =
        std::chrono::ceil<std::chrono::milliseconds>(limit - (Clock::now() - start)).count();
    events[1].fd = has_output ? stdout_.get() : -1;
    int ready = left > 0 ? ::poll(events.data(), events.size(), static_cast<int>(left)) : 0;
    if (ready < 0 && errno != EINTR) return errno_error("cannot wait for '" + name_ + "'");
    if (ready < 0 && is_interrupted()) {
      stop();
      return Error(check_interrupted().error());
    }
    if (ready == 0) run.end = TimedRun::End::kTimedOut;
    if (ready > 0 && events[1].revents != 0) has_output = CFS_TRY(read_output());
    if (ready == 0 || (ready > 0 && events[0].revents != 0)) break;
  }
  run.duration = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start);
  // It is not reaped yet, so the number of its group is still its own.
  ::kill(-pid_, SIGKILL);
  while (::poll(&events[1], 1, 0) > 0 && CFS_TRY(read_output())) {
  }
  const pid_t pid = std::exchange(pid_, -1);
  if (::poll(events.data(), 1, kKillMs) != 1) return run;  // whoever reaps us reaps it
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (run.end == TimedRun::End::kTimedOut) return run;
  run.end = WIFSIGNALED(status) ? TimedRun::End::kKilled : TimedRun::End::kExited;
  run.number = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
  return run;
}

Result<std::string> run_command(const Command& command, size_t limit_bytes) {
  Subprocess child = CFS_TRY(Subprocess::start(command));
  std::string output = CFS_TRY(read_fd(child.stdout_fd(), limit_bytes));
  CFS_TRY(child.wait());
  return output;
}

}  // namespace cfs
