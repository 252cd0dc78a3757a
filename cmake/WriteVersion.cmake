# SPDX-License-Identifier: Apache-2.0
# cmake -DSOURCE=DIR -DVERSION=0.1.0 -DOUTPUT=version.cc -P WriteVersion.cmake
# Writes the source file that defines cfs::kVersion (lib/command/version.h). A release tarball has
# no .git, so that its build depends on nothing but the tarball.
set(text "${VERSION}")
if(EXISTS "${SOURCE}/.git")
  execute_process(
    COMMAND git -C "${SOURCE}" describe --always --dirty --abbrev=12 --exclude=*
    OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    string(APPEND text " (git ${revision})")
  endif()
endif()
set(content "// Written by cmake/WriteVersion.cmake.
#include \"lib/command/version.h\"
namespace cfs {
const char* const kVersion = \"${text}\";
}  // namespace cfs
")
set(old "")
if(EXISTS "${OUTPUT}")
  file(READ "${OUTPUT}" old)
endif()
if(NOT old STREQUAL content)
  file(WRITE "${OUTPUT}" "${content}")
endif()
