// SPDX-License-Identifier: Apache-2.0
#include "lib/command/command_line.h"

#include <algorithm>
#include <charconv>
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

Error no_command(const CLI::App& app) {
  std::string all;
  for (const std::string& name : commands_of(app)) all += (all.empty() ? "" : ", ") + name;
  return usage(app, "no command is given", "commands: " + all + ";");
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
    if (argument == arguments.end()) return no_command(*innermost);
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

/// Looks at the words `--name=…`. An empty value is refused here too: CLI11 takes the next word for
/// it.
Result<> check_assignments(const CLI::App& app, const std::vector<std::string>& arguments) {
  for (const std::string& argument : arguments) {
    if (argument == "--") break;
    const size_t equals = argument.find('=');
    if (!argument.starts_with("--") || equals == std::string::npos) continue;
    const std::string name = argument.substr(0, equals);
    const CLI::Option* option = app.get_option_no_throw(name);
    if (option == nullptr) continue;  // an error of its own
    if (option->get_items_expected_max() == 0) return usage(app, name + " takes no value");
    if (equals + 1 == argument.size()) return usage(app, name + ": the value is empty");
  }
  return {};
}

/// For required options and arguments that were not given.
Error missing(const CLI::App& app) {
  if (!commands_of(app).empty()) return no_command(app);
  std::string names;
  std::string about_first;
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_required() || option->count() > 0) continue;
    if (names.empty()) about_first = option->get_name() + ": " + option->get_description() + ";";
    names += (names.empty() ? "" : ", ") + option->get_name();
  }
  return usage(app, "missing: " + names, about_first);
}

/// For a value too few or too many; CLI11's message begins with the option's name.
Error wrong_number_of_values(const CLI::App& app, const std::string& message) {
  const std::string name = message.substr(0, message.find(':'));
  const CLI::Option* option = app.get_option_no_throw(name);
  const size_t times = option == nullptr ? 0 : option->count();
  if (times < 2) return usage(app, name + ": the value is missing");
  return usage(app, name + " is given " + std::to_string(times) + " times",
               "it takes one value: leave out the others;");
}

}  // namespace

Result<Parsed> parse(CLI::App& app, const std::vector<std::string>& arguments, const Io& io) {
  // For the help text; run_program() answers it, for every program alike.
  app.add_flag("--version")->description("Print the version and exit");
  const CLI::App* innermost = &app;
  CFS_TRY(find_command(app, arguments, innermost));
  CFS_TRY(check_assignments(*innermost, arguments));
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
    if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) return missing(*innermost);
    if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
      return wrong_number_of_values(*innermost, error.what());
    }
    // What an option's own check says, behind the option's name.
    return usage(*innermost, error.what());
  }
}

CLI::Validator integer_between(int64_t min, int64_t max) {
  const std::string range = std::to_string(min) + " to " + std::to_string(max);
  auto check = [min, max, range](const std::string& text) -> std::string {
    int64_t value = 0;
    auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool is_number = failure == std::errc() && end == text.data() + text.size() &&
                           std::to_string(value) == text;  // CLI11 takes 010 for octal
    if (is_number && value >= min && value <= max) return "";
    return "'" + text + "' is not a number from " + range;
  };
  return CLI::Validator(check,
                        "INT in [" + std::to_string(min) + " - " + std::to_string(max) + "]");
}

}  // namespace cfs::command
