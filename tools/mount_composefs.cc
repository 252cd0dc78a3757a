// SPDX-License-Identifier: Apache-2.0
#include "tools/mount_composefs.h"

#include <sys/mount.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "lib/base/io.h"
#include "lib/kernel_cmdline/command_line.h"

namespace cfs::tools {
namespace {

constexpr char kUsage[] =
    "Usage: mount.composefs [-t composefs] [-fnsv] [-o OPTION,…] IMAGE MOUNTPOINT\n"
    "  -f                   check the command line and the image, and mount nothing\n"
    "  -s                   ignore options that are not known\n"
    "  -n, -v               ignored\n"
    "  --version            print the version\n"
    "Options, separated by commas (\\ takes the next character as it is):\n"
    "  basedir=DIR[:DIR…]   the object stores (required)\n"
    "  digest=HEX           the image must have this fs-verity digest; implies verity\n"
    "  verity               every file's content must have the fs-verity digest in the image\n"
    "  tryverity            as verity, where the kernel can\n"
    "  ro, rw               mount read-only; or not (default)\n"
    "  upperdir=DIR,workdir=DIR   a writable layer on top\n"
    "  idmap=PATH           map ids as the user namespace PATH (/proc/PID/ns/user) does\n"
    "  nosuid, nodev, noexec, noatime, nodiratime, strictatime, nosymfollow and their opposites\n"
    "  x-…, nofail, noauto, _netdev, user, … are for mount(8), and ignored\n";

Error usage_error(std::string message) {
  return make_error(ErrorCode::kUsage, std::move(message))
      .with_hint("see 'mount.composefs --help'");
}

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

/// Options of any file system, which the kernel takes as attributes of the mount.
struct AttributeOption {
  std::string_view name;
  unsigned set;
  unsigned clear;
};
constexpr AttributeOption kAttributeOptions[] = {
    {"nosuid", MOUNT_ATTR_NOSUID, 0},
    {"suid", 0, MOUNT_ATTR_NOSUID},
    {"nodev", MOUNT_ATTR_NODEV, 0},
    {"dev", 0, MOUNT_ATTR_NODEV},
    {"noexec", MOUNT_ATTR_NOEXEC, 0},
    {"exec", 0, MOUNT_ATTR_NOEXEC},
    {"noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
    {"atime", 0, MOUNT_ATTR__ATIME},
    {"relatime", 0, MOUNT_ATTR__ATIME},
    {"norelatime", 0, 0},
    {"strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
    {"nostrictatime", 0, MOUNT_ATTR_STRICTATIME},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
    {"diratime", 0, MOUNT_ATTR_NODIRATIME},
    {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
    {"symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW},
    // What mount(8) says of these: they imply the attributes, which later words can take back.
    {"user", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, 0},
    {"users", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, 0},
    {"owner", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0},
    {"group", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0},
};

/// Options that are for mount(8) and fstab's other readers, or that say what is so anyway.
bool is_for_others(const std::string& key) {
  constexpr std::string_view kWords[] = {"defaults", "auto",       "noauto", "nofail",
                                         "_netdev",  "nouser",     "async",  "loud",
                                         "silent",   "nolazytime", "nomand", "comment"};
  return key.starts_with("x-") || key.starts_with("X-") ||
         std::find(std::begin(kWords), std::end(kWords), key) != std::end(kWords);
}

enum class Unknown { kRefuse, kIgnore };

Result<> apply_options(std::string_view text, Unknown unknown, MountRequest& request) {
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
    } else if (const auto* attribute =
                   std::find_if(std::begin(kAttributeOptions), std::end(kAttributeOptions),
                                [&](const AttributeOption& one) { return one.name == key; });
               attribute != std::end(kAttributeOptions)) {
      request.options.attributes &= ~attribute->clear;
      request.options.attributes |= attribute->set;
    } else if (!key.empty() && !is_for_others(key) && unknown == Unknown::kRefuse) {
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
  if (request.only_check) {
    if (!options.expected_digest) return {};
    return mount::check_image_digest(image.get(), *options.expected_digest);
  }
  CFS_TRY(mount::mount_composefs(image.get(), request.target, options));
  return {};
}

/// The words of the original, where it has some.
Error in_known_words(Error error, const std::string& image) {
  std::string what = "Failed to mount composefs " + image + ": ";
  if (error.code == ErrorCode::kNoVerity) what += "Image has no fs-verity: ";
  if (error.code == ErrorCode::kDigestMismatch) what += "Image has wrong fs-verity: ";
  error.message.insert(0, what);
  return error;
}

}  // namespace

Result<std::variant<MountRequest, HelpRequest>> parse_mount_arguments(
    const std::vector<std::string>& arguments) {
  using Request = std::variant<MountRequest, HelpRequest>;
  // As getopt(3): options and operands in any order, `-oVALUE` or `-o VALUE`, several letters
  // behind one `-`, `--` ends options.
  MountRequest request;
  Unknown unknown = Unknown::kRefuse;
  std::vector<std::string> operands;
  std::string mount_options;
  bool options_ended = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (options_ended || argument.size() < 2 || argument[0] != '-') {
      operands.push_back(argument);
      continue;
    }
    if (argument == "--") {
      options_ended = true;
      continue;
    }
    if (argument == "--help") return Request(HelpRequest{});
    for (size_t letter = 1; letter < argument.size(); ++letter) {
      char option = argument[letter];
      if (option == 'h') return Request(HelpRequest{});
      if (option == 'f') {
        request.only_check = true;
      } else if (option == 's') {
        unknown = Unknown::kIgnore;
      } else if (option == 'o' || option == 't') {
        std::string value = argument.substr(letter + 1);
        if (value.empty()) {
          if (++i == arguments.size()) {
            return usage_error("option requires an argument " + argument);
          }
          value = arguments[i];
        }
        if (option == 'o') {
          mount_options = value;
        } else if (value != "composefs") {
          return usage_error("Unsupported fs type '" + value + "'");
        }
        break;
      } else if (option != 'n' && option != 'v') {
        return usage_error("invalid option " + argument);
      }
    }
  }
  if (operands.empty()) return usage_error("No source path specified");
  if (operands.size() < 2) return usage_error("No mount path specified");
  if (operands.size() > 2) return usage_error("unexpected argument '" + operands[2] + "'");
  request.image = operands[0];
  request.target = operands[1];
  CFS_TRY(apply_options(mount_options, unknown, request));
  return Request(std::move(request));
}

Result<int> run_mount_composefs(const std::vector<std::string>& arguments, const Io& io) {
  std::variant<MountRequest, HelpRequest> request = CFS_TRY(parse_mount_arguments(arguments));
  if (std::holds_alternative<HelpRequest>(request)) {
    CFS_TRY(print(io, kUsage));
    return 0;
  }
  const MountRequest& to_mount = std::get<MountRequest>(request);
  Result<> mounted = mount_image(to_mount);
  if (!mounted) return in_known_words(std::move(mounted).error(), to_mount.image);
  return 0;
}

}  // namespace cfs::tools
