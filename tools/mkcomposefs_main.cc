// SPDX-License-Identifier: Apache-2.0
#include "lib/base/interrupt.h"
#include "lib/base/report.h"
#include "tools/mkcomposefs.h"

int main(int argc, char** argv) {
  cfs::catch_interrupts();
  cfs::Result<> result =
      cfs::tools::run_mkcomposefs(std::vector<std::string>(argv + 1, argv + argc), {});
  if (result) return 0;
  cfs::report_error("mkcomposefs", result.error());
  return 1;  // for every error, as the original has it
}
