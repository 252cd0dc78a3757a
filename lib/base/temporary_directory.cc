// SPDX-License-Identifier: Apache-2.0
#include "lib/base/temporary_directory.h"

#include <fcntl.h>

#include <cstdlib>

namespace cfs {

Result<TemporaryDirectory> TemporaryDirectory::create(std::string parent, std::string_view prefix) {
  if (parent.empty()) {
    const char* from_environment = ::getenv("TMPDIR");  // NOLINT(concurrency-mt-unsafe)
    parent = from_environment != nullptr && *from_environment != '\0' ? from_environment : "/tmp";
  }
  return TemporaryDirectory(CFS_TRY(WorkDirectory::create(AT_FDCWD, parent, prefix)));
}

}  // namespace cfs
