// SPDX-License-Identifier: Apache-2.0
#include "lib/base/report.h"

#include <cstdio>
#include <string>

namespace cfs {
namespace {

// Messages quote names from images, archives and servers: without this, such a name could drive the
// user's terminal. Line ends and tabs stay: a child program's messages have them.
std::string without_control_characters(std::string text) {
  for (size_t i = 0; i < text.size(); ++i) {
    auto c = static_cast<unsigned char>(text[i]);
    bool c1 =
        c == 0xc2 && i + 1 < text.size() && (static_cast<unsigned char>(text[i + 1]) >> 5) == 4;
    if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f || c1) text[i] = '?';
    if (c1) text[i + 1] = '?';
  }
  return text;
}

}  // namespace

int report_error(std::string_view program, const Error& error) {
  std::string text = std::string(program) + ": error: " + error.describe() + "\n";
  if (!error.hint.empty()) text += std::string(program) + ": hint: " + error.hint + "\n";
  (void)std::fputs(without_control_characters(std::move(text)).c_str(), stderr);
  return exit_status(error.code);
}

int finish_program(std::string_view program, const Result<int>& status) {
  bool arrived = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (!status) return report_error(program, status.error());
  if (arrived) return *status;
  return report_error(program, make_error(ErrorCode::kIo, "cannot write to standard output")
                                   .with_hint("what was asked for is done"));
}

int finish_program(std::string_view program, const Result<>& done) {
  return finish_program(program, done ? Result<int>(0) : Result<int>(done.error()));
}

}  // namespace cfs
