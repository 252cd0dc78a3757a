// SPDX-License-Identifier: Apache-2.0
#include "builder/debian.h"

#include <fmt/format.h>

#include "builder/archive.h"

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

Result<> import_debian(const DebianSource& source, const DebianContext& context, tree::Tree& tree,
                       Contents& contents) {
  AptHost host = CFS_TRY(query_apt_host());
  std::vector<std::string> mirrors = source.mirrors;
  if (mirrors.empty()) mirrors = CFS_TRY(host_sources(host, source.suite, source.components));
  Command command = mmdebstrap_command(source, context, mirrors, host.options);

  Progress progress("installing Debian " + source.suite, 0);
  Subprocess child = CFS_TRY(Subprocess::start(command));
  Result<> imported = import_archive(child.stdout_fd(), "the output of mmdebstrap",
                                     ArchivePlacement{}, tree, contents, progress);
  // A child that died leaves a cut-off archive; then its own words are the reason.
  if (imported || imported.error().code == ErrorCode::kCorrupt) CFS_TRY(child.wait());
  return imported;
}

}  // namespace cfs::builder
