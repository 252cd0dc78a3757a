// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/source.h"

#include <array>

#include "builder/sources/debian.h"
#include "builder/sources/directory.h"
#include "builder/sources/tar_source.h"
#include "lib/base/check.h"

namespace cfs::builder {

std::span<const SourceKind> source_kinds() {
  static const std::array kKinds = {debian_kind(), tar_kind(), directory_kind()};
  return kKinds;
}

void Source::add_package(const WantedPackage&) {
  CFS_CHECK(false);  // SourceKind::installs_packages says that this kind overrides it
}

Result<> Source::prepare(const SourceContext&) { return {}; }

}  // namespace cfs::builder
