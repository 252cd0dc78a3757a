// SPDX-License-Identifier: Apache-2.0
#include "builder/passes/glob.h"

#include <gtest/gtest.h>

namespace cfs::builder {
namespace {

TEST(Glob, Table) {
  struct {
    const char* pattern;
    const char* path;
    bool matches;
  } cases[] = {
      {"/a", "/a", true},
      {"/a", "/ab", false},
      {"/a*", "/abc", true},
      {"/a*", "/abc/d", false},
      {"/a**", "/abc/d", true},
      {"/a?c", "/abc", true},
      {"/a?c", "/a/c", false},
      {"/**/x", "/a/b/x", true},
      {"/**/x", "/a/b/y", false},
      {"/a/**", "/a", false},
      {"/a/**", "/a/b/c", true},
      {"/*/x", "/a/x", true},
      {"/*/x", "/a/b/x", false},
      {"/**x*y", "/a/xay/xby", true},
      {"/**x*y", "/x/y", false},
      {"**", "/", true},
      {"/*a*b*", "/xxaxxbxx", true},
      {"/*a*b*", "/xxbxxaxx", false},
      {"/usr/**/*.pyc", "/usr/lib/x/y.pyc", true},
  };
  for (const auto& test : cases) {
    EXPECT_EQ(glob_match(test.pattern, test.path), test.matches)
        << test.pattern << " " << test.path;
  }
}

}  // namespace
}  // namespace cfs::builder
