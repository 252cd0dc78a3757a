// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/apt_lists.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "builder/test_support.h"

namespace cfs::builder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> texts(const std::vector<MissingPackage>& missing) {
  std::vector<std::string> result;
  for (const MissingPackage& package : missing) {
    result.push_back(package.name + " " + package.reason);
  }
  return result;
}

TEST(AptLists, ErrorsAboutPackagesAreUnderstood) {
  EXPECT_THAT(texts(parse_missing_packages(
                  "N: Unable to locate package no\n"
                  "E: Unable to locate package dbuss\n"
                  "E: Unable to locate package libx.y\n"
                  "E: Couldn't find any package by glob 'libx.y'\n"
                  "E: Package 'sysv-rc' has no installation candidate\n"
                  "E: Version '9' for 'udev' was not found\n"
                  "E: Release 'sid' for 'dbus' was not found\n"
                  "E: Unable to correct problems, you have held broken packages.")),
              ElementsAre("dbuss does not exist", "libx.y does not exist",
                          "sysv-rc cannot be installed: other packages only refer to it",
                          "udev has no version '9'", "dbus has no suite 'sid'"));
}

/// A repository of a few packages, without files: only its lists are read.
struct Repository : Workbench {
  Repository() {
    std::string packages;
    for (const char* name : {"dbus", "udev", "libdbus-1-3"}) {
      packages += std::string("Package: ") + name +
                  "\nVersion: 1\nArchitecture: amd64\nMaintainer: x\nDepends: not-there\n"
                  "Filename: ./x.deb\nSize: 1\nSHA256: " +
                  std::string(64, '0') + "\n\n";
    }
    write("Packages", packages);
  }
  [[nodiscard]] AptQuery query() const {
    return {.arch = "amd64",
            .sources = {"deb [trusted=yes] file:" + directory.path() + " ./"},
            .options = {}};
  }
};

TEST(AptLists, AptItselfSaysWhatIsMissing) {
  Repository repository;
  std::string transcript;
  AptLists lists = must(AptLists::fetch(repository.query(), transcript));
  EXPECT_THAT(must(lists.names()), ElementsAre("dbus", "libdbus-1-3", "udev"));
  EXPECT_THAT(texts(must(lists.missing({"dbus", "dbuss", "udev=9", "udev=1"}, transcript))),
              ElementsAre("dbuss does not exist", "udev has no version '9'"));
  EXPECT_THAT(transcript, HasSubstr("E: Unable to locate package dbuss"));
  // Whether they can be installed together is mmdebstrap's to say.
  EXPECT_TRUE(must(lists.missing({"dbus", "udev"}, transcript)).empty());
}

// As mmdebstrap 1.3 and apt 2.6 print it.
TEST(AptLists, OfABadMirrorOneLineMatters) {
  const std::string refuses =
      "I: running apt-get update...\n"
      "Err:1 http://127.0.0.1:9/debian bookworm InRelease\n"
      "  Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)\n"
      "E: Failed to fetch http://127.0.0.1:9/debian/dists/bookworm/InRelease  Could not connect\n"
      "E: Failed to fetch http://127.0.0.1:9/other  Could not connect\n"
      "E: Some index files failed to download. They have been ignored, or old ones used instead.\n"
      "E: apt-get update --error-on=any -oDpkg::Use-Pty=false failed\n"
      "E: mmdebstrap failed to run\n";
  const std::string lacks =
      "Err:2 http://m/debian bookworm Release\n"
      "  404  Not Found [IP: 127.0.0.1 80]\n"
      "E: The repository 'http://m/debian bookworm Release' does not have a Release file.\n"
      "E: mmdebstrap failed to run\n";
  for (const auto& [said, line] :
       {std::pair(refuses,
                  "Failed to fetch http://127.0.0.1:9/debian/dists/bookworm/InRelease  Could not "
                  "connect"),
        std::pair(lacks,
                  "The repository 'http://m/debian bookworm Release' does not have a Release "
                  "file.")}) {
    std::optional<Error> error = mirror_error(said);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code, ErrorCode::kNetwork);
    EXPECT_EQ(error->message, std::string("apt cannot use a mirror: ") + line);
    EXPECT_THAT(error->hint, HasSubstr("--verbose"));
  }
  EXPECT_FALSE(
      mirror_error("dpkg: error processing package x (--configure):\n"
                   "E: Sub-process /usr/bin/dpkg returned an error code (1)\n"));
}

TEST(AptLists, AMirrorWithoutTheSuiteIsSaidInOneLine) {
  std::string transcript;
  AptQuery query{.arch = "amd64", .sources = {"deb file:/nonexistent x main"}, .options = {}};
  Error error = AptLists::fetch(query, transcript).error();
  EXPECT_EQ(error.code, ErrorCode::kNetwork);
  EXPECT_EQ(error.message,
            "apt cannot use a mirror: The repository 'file:/nonexistent x Release' does not have a "
            "Release file.");
}

TEST(AptLists, UnreadableListsAreAptsOwnWords) {
  std::string transcript;
  AptQuery query{.arch = "amd64", .sources = {"deb"}, .options = {}};
  Error error = AptLists::fetch(query, transcript).error();
  EXPECT_EQ(error.code, ErrorCode::kSubprocess);
  EXPECT_THAT(error.message, HasSubstr("apt cannot read the package lists:\nE: "));
}

}  // namespace
}  // namespace cfs::builder
