// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace cfs::builder {

/// One place that apt fetches packages from.
struct AptSource {
  std::string uri;
  std::string suite;  ///< "bookworm", "bookworm-security"; ends in '/' for a flat repository
  std::vector<std::string> components;
  std::vector<std::string> architectures;  ///< empty: all
  std::string signed_by;  ///< key ring path or fingerprints; empty: apt's own trust
  bool trusted = false;   ///< [trusted=yes]: unsigned is accepted

  /// As a line of sources.list(5).
  [[nodiscard]] std::string line() const;
};

/// Parses one-line entries ("deb [options] URI SUITE COMPONENT…"). `deb-src` and comments are left
/// out. Errors: kInvalidInput with `file_name` and line. Spec: sources.list(5).
[[nodiscard]] Result<std::vector<AptSource>> parse_one_line_sources(std::string_view text,
                                                                    const std::string& file_name);

/// Parses deb822 stanzas. Disabled ones and those without `deb` in Types are left out. Embedded
/// keys in Signed-By are kUnsupported. Spec: sources.list(5), "DEB822-STYLE FORMAT".
[[nodiscard]] Result<std::vector<AptSource>> parse_deb822_sources(std::string_view text,
                                                                  const std::string& file_name);

/// Where apt of this machine keeps its configuration, and what of it concerns fetching.
struct AptHost {
  std::string source_list;           ///< the file, absolute
  std::string source_parts;          ///< the directory, absolute
  std::vector<std::string> options;  ///< "Acquire::…" settings as apt.conf lines
};

/// Asks `apt-config`. Errors: kNotFound when apt is not installed.
[[nodiscard]] Result<AptHost> query_apt_host();

/// The sources of `host` for SUITE, SUITE-updates and SUITE-security that have at least one of
/// `components`, cut down to those, as sources.list lines.
/// Errors: kNotFound when none has SUITE itself, saying what to configure.
[[nodiscard]] Result<std::vector<std::string>> host_sources(
    const AptHost& host, const std::string& suite, const std::vector<std::string>& components);

}  // namespace cfs::builder
