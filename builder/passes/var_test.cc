// SPDX-License-Identifier: Apache-2.0
#include "builder/passes/var.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "builder/test_support.h"

namespace cfs::builder {
namespace {

using sysroot::VarPolicy;
using sysroot::VarRule;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kEpoch = 1600000000;
constexpr PersistentPlace kHome = {"/home", "/var/home", "var/home", 0755};
constexpr PersistentPlace kUsrLocal = {"/usr/local", "/var/usrlocal", "../var/usrlocal", 0755};

struct VarBench : Workbench {
  VarBench() {
    TarMaker tar;
    tar.add("usr/", {.type = '5', .mode = 0755});
    tar.add("var/", {.type = '5', .mode = 0751, .gid = 8});
    tar.add("var/run", {.type = '2', .link = "/run"});
    tar.add("var/www/index.html", {.uid = 33, .pax = {{"SCHILY.xattr.user.a", "b"}}},
            std::string(300, 'p'));
    tar.add("var/www/again.html", {.type = '1', .link = "var/www/index.html"});
    tar.add("var/www/empty/", {.type = '5', .mode = 01777});
    tar.add("var/lib/dpkg/status", {}, std::string(200, 's'));
    tar.add("home/", {.type = '5', .mode = 0711});
    tar.add("home/user/.profile", {.uid = 1000}, "x");
    must(import(tar.finish()));
  }
  Result<std::vector<VarRule>> separate(const VarSettings& settings = {}) {
    return separate_var(settings, kEpoch, rootfs);
  }
  void add_file(const std::string& name) {
    TarMaker tar;
    tar.add(name, {}, "x");
    must(import(tar.finish()));
  }
  std::string text_of(const std::string& node_path) {
    return must(contents.read(at(node_path).inode(), 1 << 20));
  }
};

TEST(Var, BecomesTheFactoryTreeAndAnEmptyDirectory) {
  VarBench bench;
  EXPECT_THAT(must(bench.separate()),
              ElementsAre(VarRule{"/var/lib/dpkg", VarPolicy::kReplaced},
                          VarRule{"/var/run", VarPolicy::kMissingOnly},
                          VarRule{"/var/www/again.html", VarPolicy::kMissingOnly},
                          VarRule{"/var/www/index.html", VarPolicy::kMissingOnly}));
  EXPECT_TRUE(bench.at("/var").children().empty());
  for (const char* path : {"/var", "/usr/share/factory/var"}) {
    EXPECT_EQ(bench.at(path).attributes.mode, S_IFDIR | 0751U) << path;
    EXPECT_EQ(bench.at(path).attributes.gid, 8U) << path;
  }
  const std::string factory = "/usr/share/factory/var/";
  tree::Node& page = bench.at(factory + "www/index.html");
  EXPECT_EQ(page.attributes.uid, 33U);
  EXPECT_EQ(page.xattr("user.a")->value, "b");
  EXPECT_EQ(bench.text_of(factory + "www/index.html"), std::string(300, 'p'));
  EXPECT_EQ(&bench.at(factory + "www/again.html").inode(), &page);
  EXPECT_EQ(bench.at(factory + "www/empty").attributes.mode, S_IFDIR | 01777U);
  EXPECT_EQ(bench.at(factory + "run").symlink_target(), "/run");
  EXPECT_EQ(bench.text_of("/usr/lib/cfs/var.conf"), "cfs-var 1\nreplaced /var/lib/dpkg\n");
}

TEST(Var, ThePackageDatabaseIsPartOfTheRelease) {
  VarBench bench;
  must(bench.separate());
  EXPECT_EQ(bench.text_of(kDpkgStatusPath), std::string(200, 's'));
  EXPECT_EQ(bench.at("/usr/share/factory/var/lib/dpkg").symlink_target(),
            "../../usr/lib/sysimage/dpkg");
}

TEST(Var, AnImageThatHasItThereAlreadyStaysSo) {
  VarBench bench;
  bench.tree.remove(bench.at("/var/lib/dpkg"));
  TarMaker tar;
  tar.add("var/lib/dpkg", {.type = '2', .link = "../../usr/lib/sysimage/dpkg"});
  tar.add("usr/lib/sysimage/dpkg/status", {}, "there");
  must(bench.import(tar.finish()));
  must(bench.separate());
  EXPECT_EQ(bench.text_of(kDpkgStatusPath), "there");
  EXPECT_EQ(bench.text_of("/usr/lib/cfs/var.conf"), "cfs-var 1\n");
}

TEST(Var, PoliciesAreThoseOfTheManifest) {
  VarBench bench;
  VarSettings settings;
  settings.paths = {{.rule = {"/var/www", VarPolicy::kReplaced}},
                    {.rule = {"/var/www/index.html", VarPolicy::kReplacedUnlessChanged}},
                    {.rule = {"/var/lib/dpkg", VarPolicy::kMissingOnly}}};
  EXPECT_THAT(must(bench.separate(settings)),
              ElementsAre(VarRule{"/var/lib/dpkg", VarPolicy::kMissingOnly},
                          VarRule{"/var/run", VarPolicy::kMissingOnly},
                          VarRule{"/var/www/again.html", VarPolicy::kReplaced},
                          VarRule{"/var/www/index.html", VarPolicy::kReplacedUnlessChanged}));
  EXPECT_EQ(bench.text_of("/usr/lib/cfs/var.conf"),
            "cfs-var 1\nmissing-only /var/lib/dpkg\nreplaced /var/www\n"
            "replaced-unless-changed /var/www/index.html\n");
}

TEST(Var, DirectoriesThatPersistMoveThere) {
  VarBench bench;
  VarSettings settings;
  settings.persistent = {{.place = &kHome}, {.place = &kUsrLocal}};
  must(bench.separate(settings));
  EXPECT_EQ(bench.at("/home").symlink_target(), "var/home");
  EXPECT_EQ(bench.at("/usr/local").symlink_target(), "../var/usrlocal");
  EXPECT_EQ(bench.at("/usr/share/factory/var/home").attributes.mode, S_IFDIR | 0711U);
  EXPECT_EQ(bench.text_of("/usr/share/factory/var/home/user/.profile"), "x");
  EXPECT_EQ(bench.at("/usr/share/factory/var/usrlocal").attributes.mode, S_IFDIR | 0755U);
}

TEST(Var, AnImageWithoutVarStaysAsItIs) {
  VarBench bench;
  bench.tree.remove(bench.at("/var"));
  const std::string before = dump_of(bench.tree);
  EXPECT_TRUE(must(bench.separate()).empty());
  EXPECT_EQ(dump_of(bench.tree), before);
}

TEST(Var, WhatIsInTheWayIsNamed) {
  auto refused = [](VarBench& bench, const VarSettings& settings, const std::string& words) {
    Result<std::vector<VarRule>> done = bench.separate(settings);
    ASSERT_FALSE(done) << words;
    EXPECT_EQ(done.error().code, ErrorCode::kInvalidInput);
    EXPECT_THAT(done.error().describe(), HasSubstr(words));
  };
  VarSettings unknown;
  unknown.paths = {{.rule = {"/var/ww", VarPolicy::kReplaced}, .place = "m.yaml:1:2: "}};
  VarBench plain;
  refused(plain, unknown, "m.yaml:1:2: the image has no '/var/ww'");
  VarSettings home;
  home.persistent = {{.place = &kHome, .manifest_place = "m.yaml:3:4: "}};
  VarBench taken;
  taken.add_file("var/home/x");
  refused(taken, home, "m.yaml:3:4: '/home' would become '/var/home', which the image has");
  VarBench link;
  link.tree.remove(link.at("/home"));
  TarMaker tar;
  tar.add("home", {.type = '2', .link = "var/home"});
  must(link.import(tar.finish()));
  refused(link, home, "m.yaml:3:4: '/home' is not a directory of the image");
  VarBench factory;
  factory.add_file("usr/share/factory/var/x");
  refused(factory, {}, "the image has something there already");
  VarBench twice;
  twice.add_file("usr/lib/sysimage/dpkg/status");
  refused(twice, {}, "two package databases");
  VarBench broken;
  broken.add_file("var/a\nb");
  refused(broken, {}, "line break");
}

}  // namespace
}  // namespace cfs::builder
