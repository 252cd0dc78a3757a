// SPDX-License-Identifier: Apache-2.0
#include "lib/yaml/open_part.h"

#include <gtest/gtest.h>

namespace cfs::yaml {
namespace {

/// What is open at the end of `text`.
std::string open_at_end(std::string_view text) {
  size_t line = 0;
  size_t line_start = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') {
      ++line;
      line_start = i + 1;
    }
  }
  return describe_open_part(text, line, text.size() - line_start);
}

TEST(OpenYaml, TheInnermostBracketOrQuote) {
  struct {
    const char* text;
    const char* open;
  } cases[] = {
      {"", ""},
      {"a: b\n", ""},
      {"a: [1\n", "open since line 1, column 4: '['"},
      {"a: [{b: c, d: [1, 2]\n# no more\n", "open since line 1, column 5: '{'"},
      {"a:\n  - {b: 'x]', c: [1]}\n  - [\"}\", {}\n", "open since line 3, column 5: '['"},
      {"a: 'it''s\nb: c\n", "open since line 1, column 4: a single quote"},
      {"a: \"x\\\"\nb: c\n", "open since line 1, column 4: a double quote"},
      {"a: it's [not a list\nb: {c\n", "open since line 2, column 4: '{'"},
      {"a: b # ' [\nb: #{\n  - '\n", "open since line 3, column 5: a single quote"},
      {"a: |\n  don't [\n\n  {\nb: [\n", "open since line 5, column 4: '['"},
      {"- &x [a, !!str b\n", "open since line 1, column 6: '['"},
  };
  for (const auto& [text, open] : cases) EXPECT_EQ(open_at_end(text), open) << text;
}

TEST(OpenYaml, WithoutThoseTheBlock) {
  EXPECT_EQ(describe_open_part("image:\n  name: x\n   version: y\n", 2, 10),
            "open since line 2, column 3: 'name: x'");
  EXPECT_EQ(describe_open_part("kernel:\n\tpackage: x\n", 1, 8), "");
  EXPECT_EQ(describe_open_part("sources:\n  - id: a\n    tar: b\n   x: y\n", 3, 4),
            "open since line 2, column 3: '- id: a'");
}

}  // namespace
}  // namespace cfs::yaml
