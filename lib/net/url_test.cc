// SPDX-License-Identifier: Apache-2.0
#include "lib/net/url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cfs::net {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Url, SchemeInAnyCaseAndAHost) {
  struct Case {
    const char* text;
    Url::Scheme scheme;
    const char* shown;
  };
  const Case cases[] = {
      {"https://example.org/os", Url::Scheme::kHttps, "https://example.org/os"},
      {"HTTPS://example.org/os", Url::Scheme::kHttps, "https://example.org/os"},
      {"Http://example.org", Url::Scheme::kHttp, "http://example.org/"},
      {"http://10.0.2.2:8080/a/b/", Url::Scheme::kHttp, "http://10.0.2.2:8080/a/b/"},
      {"http://[::1]:80/os", Url::Scheme::kHttp, "http://[::1]:80/os"},
      {"https://example.org/my%20os", Url::Scheme::kHttps, "https://example.org/my%20os"},
      {"file:///srv/os", Url::Scheme::kFile, "file:///srv/os"},
      {"FILE:///srv/os", Url::Scheme::kFile, "file:///srv/os"},
      {"file://localhost/srv/os", Url::Scheme::kFile, "file:///srv/os"},
      {"file://LOCALHOST/srv/os", Url::Scheme::kFile, "file:///srv/os"},
  };
  for (const Case& one : cases) {
    Result<Url> url = Url::parse(one.text);
    ASSERT_TRUE(url) << one.text << ": " << url.error().describe();
    EXPECT_EQ(url->scheme(), one.scheme) << one.text;
    EXPECT_EQ(url->shown(), one.shown);
    EXPECT_EQ(url->with_password(), one.shown);
  }
  EXPECT_EQ(Url::parse("file:///srv/my%20os")->file_path(), "/srv/my os");
  EXPECT_EQ(Url::parse("file://localhost/")->file_path(), "/");
}

TEST(Url, WhatIsNotAnAddressOfARepositoryIsRefused) {
  for (const char* bad : {"",
                          "os",
                          "/srv/os",
                          "ftp://example.org/",
                          "https:",
                          "https:/",
                          "https://",
                          "https:///os",
                          "https://:443/os",
                          "https://user@/os",
                          "https://user:word@/os",
                          "https:example.org",
                          "https://example.org/os?x=1",
                          "https://example.org/os?",
                          "https://example.org/#top",
                          "https://example.org/my os",
                          " https://example.org",
                          "https://example.org\n",
                          "https://example.org/\x1b[31m",
                          "https://example.org:99999/",
                          "https://example.org:port/",
                          "https:\\\\example.org\\os",
                          "file:",
                          "file://",
                          "file://host/srv",
                          "file:/srv",
                          "file://localhost",
                          "file://user@localhost/srv",
                          "file:///srv?x",
                          "file:///srv%00os",
                          "http://m\xc3\xbcnchen.invalid",
                          "https://m\xc3\xbc@m\xc3\xbcnchen.invalid/os",
                          "httpsx://example.org"}) {
    Result<Url> url = Url::parse(bad);
    ASSERT_FALSE(url) << bad;
    EXPECT_EQ(url.error().code, ErrorCode::kInvalidInput) << bad;
  }
}

TEST(Url, HasALimitedLength) {
  for (const std::string start : {"http://example.org/", "file:///srv/"}) {
    std::string longest = start + std::string(Url::kMaxBytes - start.size(), 'x');
    EXPECT_TRUE(Url::parse(longest)) << start;
    Result<Url> refused = Url::parse(longest + "x");
    ASSERT_FALSE(refused) << start;
    EXPECT_EQ(refused.error().message, "a URL of 4097 bytes: at most 4096 are allowed");
  }
}

TEST(Url, APasswordIsKeptAndNeverShown) {
  Url url = Url::parse("https://device:pass%40word@example.org/os").value();
  EXPECT_EQ(url.with_password(), "https://device:pass%40word@example.org/os");
  EXPECT_EQ(url.shown(), "https://example.org/os");
  EXPECT_EQ(url.join("a/b").with_password(), "https://device:pass%40word@example.org/os/a/b");
  EXPECT_EQ(url.join("a/b").shown(), "https://example.org/os/a/b");
  EXPECT_EQ(Url::parse("https://token@example.org/os")->shown(), "https://example.org/os");
  for (const char* bad :
       {"https://device:secret@example.org/os?x", "https://device:secret@example.org:port/",
        "ftp://device:secret@example.org/", "device:secret@example.org",
        "https://device:sec/ret@example.org/ /", "file://device:secret@localhost/"}) {
    Result<Url> refused = Url::parse(bad);
    ASSERT_FALSE(refused) << bad;
    EXPECT_THAT(refused.error().describe(), Not(HasSubstr("sec"))) << bad;
  }
}

TEST(Url, JoinsWithOneSlashAndEscapesPlus) {
  auto join = [](const char* base, const char* path) {
    return Url::parse(base)->join(path).with_password();
  };
  EXPECT_EQ(join("http://a", "b/c"), "http://a/b/c");
  EXPECT_EQ(join("http://a//", "/b"), "http://a/b");
  EXPECT_EQ(join("http://a/x+y/", "targets/x_1+2~3.efi"), "http://a/x+y/targets/x_1%2B2~3.efi");
  EXPECT_EQ(Url::parse("file:///srv/a%2fb/")->join("x+y").file_path(), "/srv/a/b/x+y");
}

}  // namespace
}  // namespace cfs::net
