// SPDX-License-Identifier: Apache-2.0
#include "deployer/history.h"

#include <memory>

#include "deployer/options.h"
#include "lib/base/time.h"
#include "lib/json/canonical.h"

namespace cfs::deployer {

std::string to_text(const History& history) {
  std::string text;
  for (auto boot = history.rbegin(); boot != history.rend(); ++boot) {
    std::string line =
        boot->boot_id.empty() ? "-" : format_time(static_cast<UnixTime>(boot->started));
    line.resize(22, ' ');
    text += line + boot->version + "  " + boot->deployment + "  " +
            std::string(outcome_name(boot->outcome));
    if (boot->reason) text += ": " + describe(*boot->reason);
    text += "\n";
  }
  return text.empty() ? "no boots yet\n" : text;
}

RunCommand declare_history(CLI::App& command) {
  auto path = std::make_shared<std::string>(kDefaultSysroot);
  add_sysroot_option(command, *path);
  return [path](const Environment& environment) -> Result<Answer> {
    Sysroot sysroot = CFS_TRY(Sysroot::open(environment, *path, Access::kRead));
    const Result<History> history = read_history(sysroot);
    if (!history) {
      Error error = history.error();
      if (is_damage(error)) error.hint = "the next command that changes something begins a new one";
      return error;
    }
    environment.print(to_text(*history));
    json::Value::Array boots;
    for (const Boot& boot : *history) boots.push_back(to_json(boot));
    return Answer{.json = json::Value::Object{{"schema", 1}, {"boots", std::move(boots)}}};
  };
}

}  // namespace cfs::deployer
