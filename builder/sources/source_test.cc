// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/source.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "builder/test_support.h"

namespace cfs::builder {
namespace {

using testing::HasSubstr;

/// The one source of a manifest that lies in `bench`'s directory.
SourceEntry source_of(const Workbench& bench, const std::string& source) {
  std::string text =
      "cfs: 1\nimage: {name: n, version: '1', epoch: 1}\nsources:\n  - {id: a, " + source + "}\n";
  return must(parse_manifest(text, "m.yaml", bench.directory.path(), source_kinds())).sources[0];
}

struct Folder : Workbench {
  Folder() {
    TarMaker tar;
    tar.add("x/y/file", {}, "from the tar");
    write("a.tar", tar.finish());
    must(make_directories(AT_FDCWD, path("site/etc")));
    write("site/etc/motd", "hello\n");
    EXPECT_EQ(::symlink("site", path("link").c_str()), 0);
    EXPECT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  }
};

TEST(Sources, CheckFindsWhatIsWrongAtOnce) {
  Folder folder;
  struct {
    const char* source;
    const char* said;
  } cases[] = {
      {"tar: {path: a.tar}", ""},
      {"tar: {path: none.tar}", "none.tar' does not exist"},
      {"tar: {path: site}", "is a directory, not a tar archive"},
      {"tar: {path: pipe}", ""},
      {"dir: {path: site}", ""},
      {"dir: {path: a.tar}", "is not a directory"},
      {"dir: {path: link}", "is a symlink, not a directory"},
      {"dir: {path: none}", "none' does not exist"},
  };
  for (const auto& [source, said] : cases) {
    Result<> checked = source_of(folder, source).source->check({});
    std::string message = checked ? "" : checked.error().message;
    EXPECT_THAT(message, HasSubstr(said)) << source;
    EXPECT_EQ(checked.has_value(), std::string(said).empty()) << source;
  }
}

TEST(Sources, ImportPutsThemWhereTheManifestSays) {
  Folder folder;
  SourceContext context;
  for (const char* source : {"tar: {path: a.tar, into: /opt, strip: 1}",
                             "dir: {path: site, into: /srv, owner: '3:4'}"}) {
    SourceEntry entry = source_of(folder, source);
    must(entry.source->prepare(context));
    must(entry.source->import(context, folder.rootfs));
  }
  EXPECT_EQ(folder.at("/opt/y/file").content(), "from the tar");
  EXPECT_EQ(folder.at("/srv/etc/motd").attributes.gid, 4U);
}

TEST(Sources, OnlyDistributionsInstallPackages) {
  for (const SourceKind& kind : source_kinds()) {
    EXPECT_EQ(kind.installs_packages, kind.key == "debian") << kind.key;
  }
}

}  // namespace
}  // namespace cfs::builder
