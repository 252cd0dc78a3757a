// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/debian.h"

#include <fmt/format.h>

#include "builder/sources/tar.h"

namespace cfs::builder {
namespace {

/// Part of the package mmdebstrap: /bin, /lib and /sbin are links from the start where the suite
/// expects it, so that usr-is-merged can be installed instead of usrmerge and Perl.
constexpr const char* kMergedUsrHooks = "/usr/share/mmdebstrap/hooks/maybe-merged-usr";

}  // namespace

Command mmdebstrap_command(const DebianSource& source, const DebianContext& context,
                           const std::vector<std::string>& mirrors,
                           const std::vector<std::string>& apt_options) {
  Command command;
  command.arguments = {"mmdebstrap",
                       "--mode=auto",
                       "--format=tar",
                       "--variant=" + source.variant,
                       "--architectures=" + context.arch,
                       std::string("--hook-dir=") + kMergedUsrHooks,
                       fmt::format("--aptopt=APT::Install-Recommends \"{}\";", source.recommends)};
  std::vector<std::string> packages = source.packages;
  packages.insert(packages.end(), context.more_packages.begin(), context.more_packages.end());
  if (!packages.empty()) {
    command.arguments.push_back(fmt::format("--include={}", fmt::join(packages, ",")));
  }
  for (const std::string& option : apt_options) command.arguments.push_back("--aptopt=" + option);
  for (const std::string& pattern : source.dpkg_exclude) {
    command.arguments.push_back("--dpkgopt=path-exclude=" + pattern);
  }
  command.arguments.push_back(source.suite);
  command.arguments.emplace_back("-");
  command.arguments.insert(command.arguments.end(), mirrors.begin(), mirrors.end());
  command.environment = {fmt::format("SOURCE_DATE_EPOCH={}", context.source_date_epoch),
                         "LC_ALL=C.UTF-8", "TZ=UTC"};
  return command;
}

Result<Command> prepare_debian(const DebianSource& source, const DebianContext& context) {
  Result<std::string> version = run_command({.arguments = {"mmdebstrap", "--version"}});
  if (!version && version.error().code == ErrorCode::kNotFound) {
    return Error(std::move(version).error()).with_hint("install the Debian package mmdebstrap");
  }
  CFS_TRY(std::move(version));
  AptHost host = CFS_TRY(query_apt_host());
  std::vector<std::string> mirrors = source.mirrors;
  if (mirrors.empty()) mirrors = CFS_TRY(host_sources(host, source.suite, source.components));
  return mmdebstrap_command(source, context, mirrors, host.options);
}

Result<> import_debian(const std::string& suite, const Command& command, tree::Tree& tree,
                       Contents& contents) {
  Progress progress("installing Debian " + suite, 0);
  Subprocess child = CFS_TRY(Subprocess::start(command));
  Result<> imported = import_tar_stream(child.stdout_fd(), "the output of mmdebstrap",
                                        TarPlacement{}, tree, contents, progress);
  if (!imported && imported.error().code != ErrorCode::kCorrupt) return imported;
  // A child that died leaves a cut-off archive; then its own words are the reason.
  Result<> ended = child.wait();
  if (!ended && ended.error().message.find("No space left on device") != std::string::npos) {
    Error error = std::move(ended).error();
    error.code = ErrorCode::kNoSpace;
    return std::move(error).with_hint(
        "mmdebstrap unpacks packages in $TMPDIR (default /tmp): name a place with more room there");
  }
  CFS_TRY(std::move(ended));
  return imported;
}

}  // namespace cfs::builder
