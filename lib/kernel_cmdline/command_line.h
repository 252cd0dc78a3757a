// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/verity/digest.h"

namespace cfs::kernel_cmdline {

/// The kernel command line, split as the kernel splits it: white space separates, double quotes
/// protect white space and are removed when they surround a whole option or a whole value, `-` and
/// `_` are the same in names, what follows a lone `--` is for init.
/// Spec: Linux lib/cmdline.c next_arg() and kernel/params.c parse_args().
class CommandLine {
 public:
  [[nodiscard]] static CommandLine parse(std::string_view text);

  /// The value of the last `name=value`; an option without `=` has the value "". nullopt: absent.
  [[nodiscard]] std::optional<std::string> last(std::string_view name) const;

  /// As last(), for options that policy hangs on: kInvalidInput when `name` appears with two
  /// different values, so that nobody overrides a pinned option by appending to the line.
  [[nodiscard]] Result<std::optional<std::string>> only(std::string_view name) const;

  /// The names that begin with `prefix`, in order of appearance, with `_` for `-`.
  [[nodiscard]] std::vector<std::string> names_with_prefix(std::string_view prefix) const;

 private:
  struct Option {
    std::string name;
    std::string value;
  };
  std::vector<Option> options_;
};

/// kInvalidInput unless `text` is one option and nothing else, so that it can be put into a line
/// without changing what its neighbours mean: no white space outside of quotes, quotes closed, not
/// the lone `--`, printable ASCII. The hint says how it is to be written.
[[nodiscard]] Result<> check_one_option(std::string_view text);

/// The option that pins the image.
inline constexpr char kPinOption[] = "composefs.digest";

/// The image digest that the kernel command line `text` pins, read as cfs-mount-root reads it.
/// Errors: kNotFound (no `composefs.digest=`); kInvalidInput (not a digest, or two different ones).
[[nodiscard]] Result<verity::Digest> pinned_digest(std::string_view text);
[[nodiscard]] Result<verity::Digest> pinned_digest(const CommandLine& command_line);

/// The value of `composefs.digest=` and of the mount option `digest=`: 64 hex digits, on the kernel
/// command line optionally after "v1-sha256-12:". kInvalidInput for anything else, and for nothing.
[[nodiscard]] Result<verity::Digest> parse_pinned_digest(std::string_view value);

}  // namespace cfs::kernel_cmdline
