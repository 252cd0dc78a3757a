// SPDX-License-Identifier: Apache-2.0
#include "tools/mount_composefs.h"

#include <cstdio>
#include <optional>
#include <string_view>

#include "lib/base/io.h"
#include "lib/kernel_cmdline/command_line.h"

namespace cfs::tools {
namespace {

constexpr char kUsage[] =
    "usage: mount.composefs [-t composefs] [-o OPTION,…] IMAGE MOUNTPOINT\n"
    "Options, separated by commas (\\ takes the next character as it is):\n"
    "  basedir=DIR[:DIR…]   the object stores (required)\n"
    "  digest=HEX           the image must have this fs-verity digest; implies verity\n"
    "  verity               every file's content must have the fs-verity digest in the image\n"
    "  tryverity            as verity, where the kernel can\n"
    "  ro, rw               mount read-only; or not (default)\n"
    "  upperdir=DIR,workdir=DIR   a writable layer on top\n"
    "  idmap=PATH           map ids as the user namespace PATH (/proc/PID/ns/user) does\n";

Error usage_error(std::string message) { return make_error(ErrorCode::kUsage, std::move(message)); }

struct Option {
  std::string key;
  std::optional<std::string> value;
};

// Splits at commas; in values `\` protects the next character.
std::vector<Option> split_options(std::string_view text) {
  std::vector<Option> options;
  while (!text.empty()) {
    Option option;
    std::string* part = &option.key;
    size_t i = 0;
    for (; i < text.size() && text[i] != ','; ++i) {
      if (text[i] == '=' && !option.value) {
        part = &option.value.emplace();
      } else if (text[i] == '\\' && i + 1 < text.size()) {
        *part += text[++i];
      } else {
        *part += text[i];
      }
    }
    options.push_back(std::move(option));
    text.remove_prefix(std::min(text.size(), i + 1));
  }
  return options;
}

Result<std::vector<std::string>> split_directories(const std::string& value) {
  std::vector<std::string> directories;
  std::string_view rest = value;
  for (;;) {
    size_t colon = rest.find(':');
    std::string_view directory = rest.substr(0, colon);
    if (directory.empty()) return usage_error("Value for basedir option has incorrect format");
    directories.emplace_back(directory);
    if (colon == std::string_view::npos) return directories;
    rest.remove_prefix(colon + 1);
  }
}

Result<> apply_options(std::string_view text, MountRequest& request) {
  bool verity = false;
  bool try_verity = false;
  request.options.access = mount::Access::kReadWrite;
  for (const Option& option : split_options(text)) {
    const std::string& key = option.key;
    std::string value = option.value.value_or("");
    bool takes_value = key == "basedir" || key == "digest" || key == "upperdir" ||
                       key == "workdir" || key == "idmap";
    if (takes_value && value.empty()) {
      return usage_error("No value specified for " + key + " option");
    }
    if (key == "basedir") {
      request.options.object_directories = CFS_TRY(split_directories(value));
    } else if (key == "digest") {
      Result<verity::Digest> digest = kernel_cmdline::parse_pinned_digest(value);
      if (!digest) return usage_error("Wrong digest option: " + digest.error().message);
      request.options.expected_digest = *digest;
    } else if (key == "upperdir") {
      request.options.upper_directory = value;
    } else if (key == "workdir") {
      request.options.work_directory = value;
    } else if (key == "idmap") {
      request.user_namespace = value;
    } else if (key == "verity") {
      verity = true;
    } else if (key == "tryverity") {
      try_verity = true;
    } else if (key == "ro") {
      request.options.access = mount::Access::kReadOnly;
    } else if (key == "rw") {
      request.options.access = mount::Access::kReadWrite;
    } else {
      return usage_error("Unsupported option " + key);
    }
  }
  if (request.options.object_directories.empty()) return usage_error("No object dirs specified");
  if (request.options.upper_directory.empty() != request.options.work_directory.empty()) {
    return usage_error("Both workdir and upperdir must be specified if used");
  }
  request.options.verity = verity || request.options.expected_digest ? mount::Verity::kRequired
                           : try_verity                              ? mount::Verity::kTry
                                                                     : mount::Verity::kNone;
  return {};
}

Result<> mount_image(const MountRequest& request) {
  mount::ComposefsOptions options = request.options;
  UniqueFd user_namespace;
  if (!request.user_namespace.empty()) {
    user_namespace = CFS_TRY(open_at(AT_FDCWD, request.user_namespace, O_RDONLY | O_NOCTTY));
    options.user_namespace_fd = user_namespace.get();
  }
  UniqueFd image = CFS_TRY(open_at(AT_FDCWD, request.image, O_RDONLY));
  CFS_TRY(mount::mount_composefs(image.get(), request.target, options));
  return {};
}

std::string describe(const Error& error) {
  if (error.code == ErrorCode::kNoVerity) return "Image has no fs-verity";
  if (error.code == ErrorCode::kDigestMismatch) {
    return "Image has wrong fs-verity (" + error.describe() + ")";
  }
  return error.describe() + (error.hint.empty() ? "" : "; " + error.hint);
}

}  // namespace

Result<std::variant<MountRequest, HelpRequest>> parse_mount_arguments(
    const std::vector<std::string>& arguments) {
  using Request = std::variant<MountRequest, HelpRequest>;
  // As getopt(3): options and operands in any order, `-oVALUE` or `-o VALUE`, `--` ends options.
  std::vector<std::string> operands;
  std::string mount_options;
  bool options_ended = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (options_ended || argument.size() < 2 || argument[0] != '-') {
      operands.push_back(argument);
    } else if (argument == "--") {
      options_ended = true;
    } else if (argument == "-h" || argument == "--help") {
      return Request(HelpRequest{});
    } else if (argument[1] == 'o' || argument[1] == 't') {
      std::string value = argument.substr(2);
      if (value.empty()) {
        if (++i == arguments.size()) return usage_error("option requires an argument " + argument);
        value = arguments[i];
      }
      if (argument[1] == 'o') {
        mount_options = value;
      } else if (value != "composefs") {
        return usage_error("Unsupported fs type '" + value + "'");
      }
    } else {
      return usage_error("invalid option " + argument);
    }
  }
  if (operands.empty()) return usage_error("No source path specified");
  if (operands.size() < 2) return usage_error("No mount path specified");
  if (operands.size() > 2) return usage_error("unexpected argument '" + operands[2] + "'");
  MountRequest request;
  request.image = operands[0];
  request.target = operands[1];
  CFS_TRY(apply_options(mount_options, request));
  return Request(std::move(request));
}

int run_mount_composefs(const std::vector<std::string>& arguments) {
  auto request = parse_mount_arguments(arguments);
  if (!request) {
    (void)std::fprintf(stderr, "mount.composefs: %s\n%s", request.error().describe().c_str(),
                       kUsage);
    return 1;
  }
  if (std::holds_alternative<HelpRequest>(*request)) {
    (void)std::fputs(kUsage, stdout);
    return 0;
  }
  const MountRequest& to_mount = std::get<MountRequest>(*request);
  if (Result<> mounted = mount_image(to_mount); !mounted) {
    (void)std::fprintf(stderr, "mount.composefs: Failed to mount composefs %s: %s\n",
                       to_mount.image.c_str(), describe(mounted.error()).c_str());
    return 1;
  }
  return 0;
}

}  // namespace cfs::tools
