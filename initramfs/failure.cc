// SPDX-License-Identifier: Apache-2.0
#include "initramfs/failure.h"

#include <sys/reboot.h>
#include <termios.h>
#include <unistd.h>

#include "initramfs/failure_record.h"
#include "initramfs/other_deployment.h"
#include "lib/base/io.h"
#include "lib/mount/fs_context.h"

namespace cfs::initramfs {
namespace {

// syslog(3) severities, as /dev/kmsg takes them.
enum class Severity { kCritical = 2, kWarning = 4, kNotice = 5 };

constexpr unsigned kRebootDelaySeconds = 5;  // time to read the line on a screen

// Nothing can be done about a failure to log.
void write_line(const char* device, const std::string& line) {
  Result<UniqueFd> fd = open_at(AT_FDCWD, device, O_WRONLY | O_NOCTTY);
  if (!fd) return;
  (void)write_full(fd->get(), as_bytes(line));
  (void)::tcdrain(fd->get());
}

std::string one_line(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  }
  return text;
}

void log(Severity severity, const std::string& text) {
  write_line("/dev/kmsg",
             "<" + std::to_string(static_cast<int>(severity)) + ">cfs: " + one_line(text) + "\n");
}

Result<UniqueFd> mount_efi_variables() {
  mount::FsContext context = CFS_TRY(mount::FsContext::open("efivarfs"));
  CFS_TRY(context.create());
  return context.mount(0);
}

/// Why, for whoever starts next; and who that is, if the same one fails again.
Result<> leave_behind(const std::string& disk, BootFailure failure) {
  UniqueFd cfs = CFS_TRY(open_failed_sysroot(disk));
  Result<UniqueFd> variables = mount_efi_variables();
  if (!variables) log_notice("no boot loader is asked: " + variables.error().describe());
  const std::string path = variables ? "/proc/self/fd/" + std::to_string(variables->get()) : "";
  std::optional<std::string> other = CFS_TRY(leave_behind(cfs.get(), path, std::move(failure)));
  if (other) log_notice("the boot loader is asked for " + *other);
  return {};
}

}  // namespace

std::string_view failure_name(Stage stage, const Error& error) {
  switch (stage) {
    case Stage::kSetup:
      return "setup";
    case Stage::kCommandLine:
      return "command-line";
    case Stage::kDevice:
      return "device";
    case Stage::kImage:
      if (error.code == ErrorCode::kNotFound) return "image-missing";
      if (error.code == ErrorCode::kNoVerity) return "image-no-verity";
      if (error.code == ErrorCode::kDigestMismatch) return "image-digest";
      return "image";
    case Stage::kMount:
      return "mount";
    case Stage::kSelfTest:
      return "self-test";
    case Stage::kObjects:
      return "objects";
    case Stage::kState:
      return "state";
    case Stage::kHandOver:
      return "hand-over";
  }
  return "setup";
}

void log_notice(const std::string& text) { log(Severity::kNotice, text); }
void log_warning(const std::string& text) { log(Severity::kWarning, "warning: " + text); }

void fail(Stage stage, const Error& error, kernel_cmdline::FailureAction action,
          const std::string& disk, const std::optional<verity::Digest>& digest) {
  std::string what = error.describe();
  if (!error.hint.empty()) what += "; " + error.hint;
  const std::string line = "FATAL " + std::string(failure_name(stage, error)) + " " + what;
  log(Severity::kCritical, line);
  write_line("/dev/console", "cfs: " + one_line(line) + "\r\n");
  // After the words, which must be heard in any case. Whoever starts next may have no other way to
  // know why.
  if (digest) {
    Result<> left = leave_behind(disk, {.digest = *digest,
                                        .code = std::string(failure_name(stage, error)),
                                        .text = what,
                                        .tried = {}});
    if (!left) log_warning(left.error().describe());
  }
  ::sync();
  switch (action) {
    case kernel_cmdline::FailureAction::kReboot:
      ::sleep(kRebootDelaySeconds);  // NOLINT(concurrency-mt-unsafe): one thread
      (void)::reboot(RB_AUTOBOOT);
      break;
    case kernel_cmdline::FailureAction::kPowerOff:
      (void)::reboot(RB_POWER_OFF);
      break;
    case kernel_cmdline::FailureAction::kHalt:
      (void)::reboot(static_cast<int>(RB_HALT_SYSTEM));
      break;
  }
  for (;;) ::pause();  // the kernel would not; going on is not an option
}

}  // namespace cfs::initramfs
