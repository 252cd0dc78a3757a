// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/apt_sources.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "builder/test_support.h"

namespace cfs::builder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> lines(const std::vector<AptSource>& sources) {
  std::vector<std::string> result;
  for (const AptSource& source : sources) result.push_back(source.line());
  return result;
}

TEST(AptSources, OneLineForm) {
  auto sources = must(parse_one_line_sources(
      "# a comment\n"
      "deb http://a.test/debian bookworm main contrib # trailing\n"
      "deb-src http://a.test/debian bookworm main\n"
      "\n"
      "  deb [ arch=amd64,arm64 signed-by=/k.gpg trusted=yes lang=none ] https://b.test ./\n",
      "f"));
  EXPECT_THAT(lines(sources),
              ElementsAre("deb http://a.test/debian bookworm main contrib",
                          "deb [arch=amd64,arm64 signed-by=/k.gpg trusted=yes] https://b.test ./"));
}

TEST(AptSources, OneLineErrorsHaveALine) {
  EXPECT_THAT(parse_one_line_sources("\nrpm x y z\n", "f").error().message, HasSubstr("f:2: "));
  EXPECT_THAT(parse_one_line_sources("deb [a=b x y\n", "f").error().message, HasSubstr("f:1: "));
  EXPECT_THAT(parse_one_line_sources("deb http://x\n", "f").error().message, HasSubstr("f:1: "));
}

TEST(AptSources, Deb822Form) {
  auto sources =
      must(parse_deb822_sources("Types: deb deb-src\n"
                                "# between the fields\n"
                                "URIs: http://a.test/debian\n"
                                "Suites: bookworm bookworm-updates\n"
                                "Components: main\n"
                                "Signed-By: /usr/share/keyrings/a.gpg\n"
                                "\n"
                                "Types: deb\n"
                                "Enabled: no\n"
                                "URIs: http://off.test\n"
                                "Suites: bookworm\n"
                                "Components: main\n"
                                " \n"
                                "Types: deb-src\n"
                                "URIs: http://src.test\n"
                                "Suites: bookworm\n"
                                "\n"
                                "types: deb\n"
                                "uris:\n"
                                " http://b.test\n"
                                " http://c.test\n"
                                "suites: bookworm-security\n"
                                "components: main contrib\n",
                                "f"));
  EXPECT_THAT(
      lines(sources),
      ElementsAre("deb [signed-by=/usr/share/keyrings/a.gpg] http://a.test/debian bookworm main",
                  "deb [signed-by=/usr/share/keyrings/a.gpg] http://a.test/debian bookworm-updates "
                  "main",
                  "deb http://b.test bookworm-security main contrib",
                  "deb http://c.test bookworm-security main contrib"));
}

TEST(AptSources, Deb822Errors) {
  EXPECT_THAT(parse_deb822_sources("Types: deb\nURIs http://x\n", "f").error().message,
              HasSubstr("f:2: "));
  EXPECT_THAT(parse_deb822_sources(" x\n", "f").error().message, HasSubstr("f:1: "));
  EXPECT_THAT(parse_deb822_sources("\nTypes: deb\nSuites: a\n", "f").error().message,
              HasSubstr("f:2: "));
  EXPECT_EQ(
      parse_deb822_sources("Types: deb\nURIs: u\nSuites: s\nSigned-By:\n -----BEGIN PGP\n", "f")
          .error()
          .code,
      ErrorCode::kUnsupported);
}

TEST(AptSources, TheHostsOwnForASuite) {
  Workbench bench;
  must(make_directories(AT_FDCWD, bench.path("parts")));
  bench.write("list", "deb http://old.test/debian bookworm main non-free\n");
  bench.write("parts/a.sources",
              "Types: deb\nURIs: http://old.test/debian-security\nSuites: bookworm-security\n"
              "Components: main\n");
  bench.write("parts/b.list",
              "deb http://old.test/debian bookworm-updates main\n"
              "deb http://old.test/debian bookworm-backports main\n"
              "deb http://old.test/debian trixie main\n"
              "deb http://other.test nodistro main\n"
              "deb http://old.test/debian bookworm main non-free\n");
  bench.write("parts/c.disabled", "not read\n");
  AptHost host{.source_list = bench.path("list"), .source_parts = bench.path("parts")};
  EXPECT_THAT(must(host_sources(host, "bookworm", {"main"})),
              ElementsAre("deb http://old.test/debian bookworm main",
                          "deb http://old.test/debian-security bookworm-security main",
                          "deb http://old.test/debian bookworm-updates main"));
  Error missing = host_sources(host, "sid", {"main"}).error();
  EXPECT_EQ(missing.code, ErrorCode::kNotFound);
  EXPECT_THAT(missing.hint, HasSubstr(bench.path("list")));
  EXPECT_THAT(host_sources(host, "bokworm", {"main"}).error().hint,
              HasSubstr("did you mean 'bookworm'? else add one to " + bench.path("list")));
}

TEST(AptSources, ThisMachineCanBeAsked) {
  AptHost host = must(query_apt_host());
  EXPECT_EQ(host.source_list.front(), '/');
  EXPECT_EQ(host.source_parts.front(), '/');
  for (const std::string& option : host.options) EXPECT_THAT(option, HasSubstr("Acquire::"));
}

}  // namespace
}  // namespace cfs::builder
