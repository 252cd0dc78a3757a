// SPDX-License-Identifier: Apache-2.0
#include "lib/base/interrupt.h"
#include "lib/base/report.h"
#include "tools/composefs_info.h"

int main(int argc, char** argv) {
  cfs::catch_interrupts();
  cfs::Result<> result =
      cfs::tools::run_composefs_info(std::vector<std::string>(argv + 1, argv + argc), {});
  if (result) return 0;
  cfs::report_error("composefs-info", result.error());
  return 1;  // for every error, as the original has it
}
