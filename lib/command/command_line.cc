// SPDX-License-Identifier: Apache-2.0
#include "lib/command/command_line.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "lib/base/nearest_word.h"

namespace cfs::command {
namespace {

/// "cfs-sign release add"
std::string full_name(const CLI::App& app) {
  const CLI::App* parent = app.get_parent();
  return parent == nullptr ? app.get_name() : full_name(*parent) + " " + app.get_name();
}

Error usage(const CLI::App& app, std::string message, std::string hint = "") {
  hint += hint.empty() ? "see '" : " see '";
  return make_error(ErrorCode::kUsage, std::move(message))
      .with_hint(hint + full_name(app) + " --help'");
}

std::vector<std::string> commands_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

std::vector<std::string> long_options_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::string near(const std::string& word, const std::vector<std::string>& words) {
  return did_you_mean(word, std::vector<std::string_view>(words.begin(), words.end()));
}

/// Follows the words that name a command, as far as they are one. `innermost` receives the last.
Result<> find_command(const CLI::App& app, const std::vector<std::string>& arguments,
                      const CLI::App*& innermost) {
  innermost = &app;
  auto argument = arguments.begin();
  for (;; ++argument) {
    const std::vector<std::string> commands = commands_of(*innermost);
    if (commands.empty()) return {};
    if (argument == arguments.end()) {
      std::string all;
      for (const std::string& name : commands) all += (all.empty() ? "" : ", ") + name;
      return usage(*innermost, "no command is given", "commands: " + all + ";");
    }
    if (argument->starts_with('-')) return {};
    if (std::find(commands.begin(), commands.end(), *argument) == commands.end()) {
      return usage(*innermost, "unknown command '" + *argument + "'", near(*argument, commands));
    }
    innermost = innermost->get_subcommand(*argument);
  }
}

/// The first option that `app` does not have.
std::optional<Error> unknown_option(const CLI::App& app,
                                    const std::vector<std::string>& arguments) {
  const std::vector<std::string> known = long_options_of(app);
  for (const std::string& argument : arguments) {
    if (argument == "--") break;
    std::string name = argument.substr(0, argument.find('='));
    if (!name.starts_with("--")) {
      // "-1" may be a number.
      if (name.size() < 2 || name[0] != '-' || (name[1] >= '0' && name[1] <= '9')) continue;
      name.resize(2);  // "-oFILE"
      if (app.get_option_no_throw(name) != nullptr) continue;
      return usage(app, "unknown option '" + name + "'");
    }
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    return usage(app, "unknown option '" + name + "'", near(name, known));
  }
  return std::nullopt;
}

/// Lets every option of `app` and of its commands refuse an empty value. No option of ours means
/// anything with one: it is what a shell makes of a variable that is not set, and a path would be
/// the root or the current directory.
void refuse_empty_values(CLI::App& app) {
  for (CLI::Option* option : app.get_options([](CLI::Option*) { return true; })) {
    if (option->get_items_expected_max() == 0) continue;  // a flag
    // Before the option's other checks, which would say less.
    option->transform([](std::string value) {
      if (value.empty()) throw CLI::ValidationError("the value is empty");
      return value;
    });
  }
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
    refuse_empty_values(*command);
  }
}

/// As refuse_empty_values(), for `--name=`: CLI11 takes the next word for the value.
Result<> refuse_empty_assignments(const CLI::App& app, const std::vector<std::string>& arguments) {
  const std::vector<std::string> known = long_options_of(app);
  for (const std::string& argument : arguments) {
    if (argument == "--") break;
    if (!argument.ends_with('=')) continue;
    const std::string name = argument.substr(0, argument.size() - 1);
    if (std::find(known.begin(), known.end(), name) == known.end()) continue;
    return usage(app, name + ": the value is empty");
  }
  return {};
}

}  // namespace

Result<Parsed> parse(CLI::App& app, const std::vector<std::string>& arguments, const Io& io) {
  // For the help text; run_program() answers it, for every program alike.
  app.add_flag("--version")->description("Print the version and exit");
  const CLI::App* innermost = &app;
  CFS_TRY(find_command(app, arguments, innermost));
  CFS_TRY(refuse_empty_assignments(*innermost, arguments));
  refuse_empty_values(app);
  try {
    // CLI11 takes them from the end.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    return Parsed::kCommand;
  } catch (const CLI::CallForHelp&) {
    CFS_TRY(print(io, app.help()));
    return Parsed::kHelpPrinted;
  } catch (const CLI::Error& error) {
    // A misspelt option may be why another one is missing.
    if (std::optional<Error> unknown = unknown_option(*innermost, arguments)) return *unknown;
    const std::vector<std::string> left = app.remaining(true);
    if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !left.empty()) {
      return usage(*innermost, "unexpected argument '" + left.front() + "'");
    }
    return usage(*innermost, error.what());
  }
}

}  // namespace cfs::command
