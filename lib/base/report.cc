// SPDX-License-Identifier: Apache-2.0
#include "lib/base/report.h"

#include <cstdio>
#include <string>

namespace cfs {
namespace {

// Messages quote names from images, archives and servers: without this, such a name could drive the
// user's terminal, or look like another error. Line ends, which a child program's messages have,
// begin an indented line; tabs stay.
std::string printable(const std::string& text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    auto c = static_cast<unsigned char>(text[i]);
    bool c1 =
        c == 0xc2 && i + 1 < text.size() && (static_cast<unsigned char>(text[i + 1]) >> 5) == 4;
    if (c == '\n') {
      result += "\n  ";
    } else if (c1) {
      result += "??";
      ++i;
    } else {
      result += (c < 0x20 && c != '\t') || c == 0x7f ? '?' : text[i];
    }
  }
  return result + "\n";
}

}  // namespace

int report_error(std::string_view program, const Error& error) {
  std::string text = std::string(program) + ": error: " + printable(error.describe());
  if (!error.hint.empty()) text += std::string(program) + ": hint: " + printable(error.hint);
  (void)std::fputs(text.c_str(), stderr);
  return exit_status(error.code);
}

}  // namespace cfs
