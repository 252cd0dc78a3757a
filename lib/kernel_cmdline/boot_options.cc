// SPDX-License-Identifier: Apache-2.0
#include "lib/kernel_cmdline/boot_options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>
#include <optional>

#include "lib/base/hex.h"
#include "lib/base/relative_path.h"

namespace cfs::kernel_cmdline {
namespace {

constexpr unsigned kMaxRootDelaySeconds = 86400;

constexpr const char* kOldPin = "composefs";  // how composefs-rs once named it
constexpr const char* kOnCorruption = "cfs.on_corruption";
constexpr const char* kOnFailure = "cfs.on_failure";
constexpr const char* kVar = "cfs.var";
constexpr const char* kVerify = "cfs.verify";

// In the order of the enumerators.
constexpr std::array<std::string_view, 4> kEtcModes = {"merge", "overlay", "transient", "ro"};
constexpr std::array<std::string_view, 2> kRootModes = {"transient", "ro"};

template <typename Mode, size_t kCount>
std::optional<Mode> find_mode(const std::array<std::string_view, kCount>& names,
                              std::string_view name) {
  auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return std::nullopt;
  return static_cast<Mode>(found - names.begin());
}

/// Every option that begins with `cfs.` or `composefs.` and means something.
struct PolicyOption {
  const char* name;
  std::array<std::string_view, 4> values;  ///< all of them; none: not a choice
};
constexpr PolicyOption kPolicyOptions[] = {
    {kPinOption, {}},
    {kEtcOption, kEtcModes},
    {kRootModeOption, {kRootModes[0], kRootModes[1]}},
    {kOnCorruption, {"report", "reboot"}},
    {kOnFailure, {"reboot", "poweroff", "halt"}},
    {kVar, {"restricted", "plain"}},
    {kVerify, {"boot", "full"}},
};

Error bad_value(const std::string& name, const std::string& value, const std::string& allowed) {
  return make_error(ErrorCode::kInvalidInput,
                    "'" + name + "=" + value + "' is not one of " + allowed);
}

Result<> check_values(const CommandLine& command_line) {
  for (const PolicyOption& option : kPolicyOptions) {
    std::optional<std::string> value = CFS_TRY(command_line.only(option.name));
    if (!value || option.values[0].empty()) continue;
    std::string allowed;
    bool is_known = false;
    for (std::string_view known : option.values) {
      if (known.empty()) continue;
      is_known = is_known || *value == known;
      allowed += (allowed.empty() ? "" : ", ") + std::string(known);
    }
    if (!is_known) return bad_value(option.name, *value, allowed);
  }
  return {};
}

std::vector<std::string> unknown_options(const CommandLine& command_line) {
  std::vector<std::string> unknown;
  if (command_line.last(kOldPin)) unknown.emplace_back(kOldPin);
  for (const char* prefix : {"cfs.", "composefs."}) {
    for (std::string& name : command_line.names_with_prefix(prefix)) {
      if (std::none_of(std::begin(kPolicyOptions), std::end(kPolicyOptions),
                       [&](const PolicyOption& option) { return name == option.name; })) {
        unknown.push_back(std::move(name));
      }
    }
  }
  return unknown;
}

// Nothing looks in a PATH for it.
Result<> check_init(const std::string& path) {
  if (path.starts_with('/') && !path.ends_with('/')) return {};
  return make_error(ErrorCode::kInvalidInput, "'init=" + path + "' is not the path of a program")
      .with_hint("an absolute path, as in init=/sbin/init");
}

bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return hex_digit(c) >= 0; });
}

// Groups of hex digits with '-' between them.
bool has_groups(std::string_view text, std::initializer_list<size_t> sizes) {
  bool is_first = true;
  for (size_t size : sizes) {
    if (!is_first) {
      if (!text.starts_with('-')) return false;
      text.remove_prefix(1);
    }
    is_first = false;
    if (text.size() < size || !is_hex(text.substr(0, size))) return false;
    text.remove_prefix(size);
  }
  return text.empty();
}

bool is_uuid(std::string_view text) { return has_groups(text, {8, 4, 4, 4, 12}); }
bool is_mbr_partition_id(std::string_view text) { return has_groups(text, {8, 2}); }

// A GPT has room for 36 UTF-16 units.
constexpr size_t kMaxPartLabelUnits = 36;

size_t utf16_units(std::string_view text) {
  size_t units = 0;
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xc0) != 0x80) units += byte >= 0xf0 ? 2 : 1;
  }
  return units;
}

std::string lower_case(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

}  // namespace

std::string_view etc_mode_name(EtcMode mode) { return kEtcModes.at(static_cast<size_t>(mode)); }
std::string_view root_mode_name(RootMode mode) { return kRootModes.at(static_cast<size_t>(mode)); }

std::optional<EtcMode> etc_mode_of(std::string_view name) {
  return find_mode<EtcMode>(kEtcModes, name);
}
std::optional<RootMode> root_mode_of(std::string_view name) {
  return find_mode<RootMode>(kRootModes, name);
}

Result<BootOptions> parse_boot_options(const CommandLine& command_line) {
  CFS_TRY(check_values(command_line));
  BootOptions options;
  Result<verity::Digest> digest = pinned_digest(command_line);
  if (!digest) {
    Error error = std::move(digest).error();
    if (error.code == ErrorCode::kNotFound) {
      error.code = ErrorCode::kInvalidInput;
      return error;
    }
    return std::move(error).with("in '" + std::string(kPinOption) + "='");
  }
  options.digest = *digest;
  if (auto etc = command_line.last(kEtcOption)) options.etc = etc_mode_of(*etc);
  if (auto root = command_line.last(kRootModeOption)) options.root_mode = root_mode_of(*root);
  if (command_line.last(kVar) == "plain") options.var = VarMode::kPlain;
  if (command_line.last(kVerify) == "full") options.verify = VerifyLevel::kFull;
  options.unknown = unknown_options(command_line);
  options.root = command_line.last("root").value_or(options.root);
  options.init = command_line.last("init").value_or(options.init);
  CFS_TRY(check_init(options.init));
  if (std::optional<std::string> delay = command_line.last("rootdelay")) {
    unsigned seconds = 0;
    auto [end, failure] = std::from_chars(delay->data(), delay->data() + delay->size(), seconds);
    if (failure != std::errc() || end != delay->data() + delay->size() ||
        seconds > kMaxRootDelaySeconds) {
      return bad_value("rootdelay", *delay, "0 … 86400 seconds");
    }
    options.root_delay_seconds = seconds;
  }
  return options;
}

Result<BootOptions> check_new_command_line(std::string_view text) {
  if (text.size() > kMaxCommandLineBytes) {
    return make_error(ErrorCode::kInvalidInput,
                      "the kernel command line has " + std::to_string(text.size()) +
                          " bytes, and the kernel reads " + std::to_string(kMaxCommandLineBytes))
        .with_hint("shorten or remove options");
  }
  BootOptions options = CFS_TRY(parse_boot_options(CommandLine::parse(text)));
  CFS_TRY(parse_root_spec(options.root));
  if (!options.unknown.empty()) {
    return make_error(ErrorCode::kInvalidInput,
                      "the kernel option '" + options.unknown.front() + "' means nothing")
        .with_hint("docs/FORMATS.md, \"Kernel command line\", lists cfs's options");
  }
  return options;
}

FailureAction parse_failure_action(const CommandLine& command_line) {
  Result<std::optional<std::string>> action = command_line.only(kOnFailure);
  if (action && *action == "poweroff") return FailureAction::kPowerOff;
  if (action && *action == "halt") return FailureAction::kHalt;
  return FailureAction::kReboot;
}

CorruptionAction parse_corruption_action(const CommandLine& command_line) {
  Result<std::optional<std::string>> action = command_line.only(kOnCorruption);
  const bool reboots = action && *action == "reboot";
  return reboots ? CorruptionAction::kReboot : CorruptionAction::kReport;
}

Result<RootSpec> parse_root_spec(const std::string& text) {
  using Kind = RootSpec::Kind;
  if (text.find('"') != std::string::npos) {
    return make_error(ErrorCode::kInvalidInput,
                      "'root=" + text + "' has quotes that the kernel leaves in the value")
        .with_hint("quote the whole option, as in \"root=LABEL=my root\", or nothing");
  }
  if (text == "/dev/nfs" || text == "/dev/cifs") {
    return make_error(ErrorCode::kInvalidInput,
                      "'root=" + text + "' stands for a network file system, not for a disk")
        .with_hint(
            "the kernel command line names the root by LABEL=, UUID=, PARTLABEL=, PARTUUID= "
            "or the path of a device");
  }
  auto refuse = [&](const char* why, const char* hint) {
    return make_error(ErrorCode::kInvalidInput, "'root=" + text + "' " + why).with_hint(hint);
  };
  if (text.starts_with("/dev/")) {
    if (is_plain_path(std::string_view(text).substr(5))) return RootSpec{Kind::kPath, text};
    return refuse("is not the path of a device", "as in root=/dev/vda2, without '.' and '..'");
  }
  for (auto [prefix, kind] : {std::pair<std::string_view, Kind>{"LABEL=", Kind::kLabel},
                              {"UUID=", Kind::kUuid},
                              {"PARTLABEL=", Kind::kPartLabel},
                              {"PARTUUID=", Kind::kPartUuid}}) {
    if (text.substr(0, prefix.size()) == prefix && text.size() > prefix.size()) {
      std::string value = text.substr(prefix.size());
      bool is_id = kind == Kind::kUuid || kind == Kind::kPartUuid;
      if (kind == Kind::kUuid && !is_uuid(value)) {
        return refuse("is not the UUID of an ext4 or btrfs file system",
                      "8-4-4-4-12 hex digits, as blkid(8) prints it");
      }
      if (kind == Kind::kPartUuid && !is_uuid(value) && !is_mbr_partition_id(value)) {
        return refuse("is not the UUID of a partition",
                      "8-4-4-4-12 hex digits (GPT) or 8-2 (MBR), as blkid(8) prints it");
      }
      if (kind == Kind::kPartLabel && utf16_units(value) > kMaxPartLabelUnits) {
        return refuse("has a label that no partition can have", "36 characters at most");
      }
      return RootSpec{kind, is_id ? lower_case(std::move(value)) : std::move(value)};
    }
  }
  return make_error(
      ErrorCode::kInvalidInput,
      "'root=" + text + "' is not LABEL=, UUID=, PARTLABEL=, PARTUUID= or the path of a device");
}

}  // namespace cfs::kernel_cmdline
