// SPDX-License-Identifier: Apache-2.0
#include "deployer/command.h"

#include <algorithm>

#include "deployer/apply.h"
#include "deployer/apply_var.h"
#include "deployer/bless.h"
#include "deployer/config/config.h"
#include "deployer/history.h"
#include "deployer/init.h"
#include "deployer/install.h"
#include "deployer/reset.h"
#include "deployer/rollback.h"
#include "deployer/status.h"
#include "deployer/trial.h"
#include "deployer/update.h"
#include "deployer/upkeep/fsck.h"
#include "deployer/upkeep/gc.h"
#include "deployer/upkeep/pin.h"
#include "deployer/upkeep/watch.h"
#include "lib/base/error_name.h"
#include "lib/base/interrupt.h"
#include "lib/base/utf8.h"
#include "lib/command/command_line.h"
#include "lib/json/canonical.h"

namespace cfs::deployer {
namespace {

constexpr const char* kJsonOption = "--json";

constexpr CommandRow kCommands[] = {
    {"init", "Make a sysroot and trust a repository's root", declare_init},
    {"update", "Fetch the newest release and boot it next", declare_update},
    {"check", "Say whether there is a newer release, and what it would take", declare_check},
    {"fetch", "Bring the newest release onto the device, and leave the rest to apply",
     declare_fetch},
    {"apply", "Boot next what was fetched", declare_apply},
    {"status", "Show what is installed", declare_status},
    {"history", "Show what ran when, and how it ended", declare_history},
    {"rollback", "Give up a staged update, or boot the previous deployment next", declare_rollback},
    {"boot", "Boot an installed deployment next", declare_boot},
    {"cancel", "Stay with what is running", declare_cancel},
    {"bless", "Say that what is running is good", declare_bless},
    {"mark-bad", "Say that what is running is bad, and boot another one next", declare_mark_bad},
    {"note-boot", "Write down what was started, and how the boots before ended", declare_note_boot},
    {"health", "Check whether this device is in good health", declare_health},
    {"fsck", "Check everything that is installed, and repair it", declare_fsck},
    {"watch", "Repair what the kernel finds damaged, as it happens", declare_watch},
    {"config", "Show how this device is set up, and which file says so", declare_config},
    {"apply-var", "Bring what the running release ships for /var", declare_apply_var},
    {"reset", "Forget at the next boot what the device has changed", declare_reset},
    {"gc", "Remove what no deployment needs that must stay", declare_gc},
    {"pin", "Keep a deployment although nothing else needs it", declare_pin},
    {"unpin", "Leave a deployment to garbage collection again", declare_unpin},
    {"recovery", "Say which deployment boots when nothing else does", declare_recovery},
    {"install", "Make a bootable disk image; needs no root rights", declare_install},
};

/// Whatever call a signal has ended, and whatever became of its error on the way here: the reason
/// is the signal.
Error explained(Error error) {
  if (Result<> interrupted = check_interrupted(); !interrupted) {
    Error reason = std::move(interrupted).error();
    if (error.code != ErrorCode::kInterrupted) reason.context.push_back(error.describe());
    reason.context.insert(reason.context.end(), error.context.begin(), error.context.end());
    return std::move(reason).with_hint("run it again; what has arrived stays");
  }
  if (error.code == ErrorCode::kNoSpace && error.hint.empty()) {
    error.hint =
        "free some space, or remove files if 'df -i' shows no free inodes, and run it again; what "
        "has arrived stays";
  }
  return error;
}

json::Value to_json(const Error& error) {
  Error here = error;
  here.context.clear();
  json::Value::Array context;
  for (const std::string& text : error.context) context.emplace_back(printable_text(text));
  return json::Value::Object{
      {"schema", 1},
      {"error", json::Value::Object{{"code", error_name(error.code)},
                                    {"exit_status", exit_status(error.code)},
                                    {"message", printable_text(here.describe())},
                                    {"context", std::move(context)},
                                    {"hint", printable_text(error.hint)}}}};
}

bool asks_for_json(const std::vector<std::string>& arguments) {
  return std::find(arguments.begin(), arguments.end(), kJsonOption) != arguments.end();
}

/// run(), but for the error that `--json` prints.
Result<int> parse_and_run(const std::vector<std::string>& arguments, const Io& io,
                          const Environment& environment) {
  CLI::App app("Installs signed releases on this device, or into a disk image.", "cfs-deploy");
  app.require_subcommand(1);
  app.footer(
      "Exit status: 0 done, 1 failed, 2 usage, 6 signature or trust, 7 corrupt data, 8 network,\n"
      "9 no space, 10 nothing to do.");
  bool json = false;
  std::vector<std::pair<CLI::App*, RunCommand>> declared;
  for (const CommandRow& row : kCommands) {
    CLI::App* added = app.add_subcommand(row.name, row.summary);
    declared.emplace_back(added, row.declare(*added));
    added->add_flag(kJsonOption, json, "Print the answer as JSON, an error too");
  }
  if (CFS_TRY(command::parse(app, arguments, io)) == command::Parsed::kHelpPrinted) return 0;
  Result<> printed;
  Environment here = environment;
  here.print = [&](std::string_view text) {
    if (printed && !json) printed = print(io, text);
  };
  for (const auto& [chosen, run_command] : declared) {
    if (!chosen->parsed()) continue;
    Result<Answer> answer = run_command(here);
    if (!answer) return explained(std::move(answer).error());
    CFS_TRY(std::move(printed));
    if (json) CFS_TRY(print(io, json::to_canonical(answer->json) + "\n"));
    return answer->status;
  }
  return make_error(ErrorCode::kInternal, "no command was parsed");
}

}  // namespace

std::span<const CommandRow> commands() { return kCommands; }

Result<int> run(const std::vector<std::string>& arguments, const Io& io,
                const Environment& environment) {
  Result<int> status = parse_and_run(arguments, io, environment);
  if (!status && asks_for_json(arguments)) {
    // Where it cannot be printed, standard error and the exit status tell it all the same.
    (void)print(io, json::to_canonical(to_json(status.error())) + "\n");
  }
  return status;
}

}  // namespace cfs::deployer
