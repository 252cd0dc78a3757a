// SPDX-License-Identifier: Apache-2.0
#include "lib/base/report.h"

#include <cstdio>
#include <string>

namespace cfs {

int report_error(std::string_view program, const Error& error) {
  std::string text = std::string(program) + ": error: " + error.describe() + "\n";
  if (!error.hint.empty()) text += std::string(program) + ": hint: " + error.hint + "\n";
  std::fputs(text.c_str(), stderr);
  return exit_status(error.code);
}

}  // namespace cfs
