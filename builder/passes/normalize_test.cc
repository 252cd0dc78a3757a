// SPDX-License-Identifier: Apache-2.0
#include "builder/passes/normalize.h"

#include <gtest/gtest.h>

#include "builder/test_support.h"

namespace cfs::builder {
namespace {

constexpr int64_t kEpoch = 1600000000;  // day 18518

std::vector<NormalizePass> all() {
  std::vector<NormalizePass> passes;
  for (const NormalizePassName& name : normalize_passes()) passes.push_back(name.pass);
  return passes;
}

TEST(Normalize, RemovesWhatDiffersBetweenBuilds) {
  const std::vector<std::string> removed = {"etc/hostname",
                                            "etc/resolv.conf",
                                            "etc/.resolv.conf.systemd-resolved.bak",
                                            "etc/apt/sources.list",
                                            "etc/apt/sources.list.d/x.list",
                                            "etc/apt/apt.conf.d/99mmdebstrap",
                                            "etc/ssh/ssh_host_rsa_key",
                                            "var/lib/apt/lists/lock",
                                            "var/cache/apt/pkgcache.bin",
                                            "var/log/dpkg.log",
                                            "var/log/apt/term.log",
                                            "var/lib/dpkg/status-old",
                                            "etc/passwd-",
                                            "etc/shadow-",
                                            "var/cache/debconf/config.dat-old",
                                            "var/cache/ldconfig/aux-cache",
                                            "usr/lib/python3/__pycache__/a.pyc",
                                            "var/lib/systemd/random-seed",
                                            "var/lib/dbus/machine-id",
                                            "dev/null",
                                            "run/x/y",
                                            "tmp/t",
                                            "proc/1",
                                            "sys/s",
                                            "var/tmp/u",
                                            "var/backups/dpkg.status.0"};
  const std::vector<std::string> kept = {"etc/passwd",           "etc/apt/apt.conf.d/70debconf",
                                         "etc/ssh/sshd_config",  "var/lib/dpkg/status",
                                         "usr/lib/python3/a.py", "var/cache/debconf/config.dat"};
  TarMaker tar;
  for (const std::string& path : removed) tar.add(path, {}, "content");
  for (const std::string& path : kept) tar.add(path, {}, "content");
  tar.add("etc/machine-id", {.mode = 0444}, "0123456789abcdef\n");
  tar.add("etc/shadow", {.mode = 0640, .gid = 42},
          "root:*:19999:0:99999:7:::\nnever:!::0:::::\nmust:x:0::::::\nshort\n");
  tar.add("var/log/wtmp", {.mode = 0664, .gid = 43});
  Workbench bench;
  must(bench.import(tar.finish()));
  remove_host_leaks(bench.tree);
  must(normalize(bench.rootfs, all(), kEpoch));
  for (const std::string& path : removed) EXPECT_EQ(bench.tree.find("/" + path), nullptr) << path;
  for (const std::string& path : kept) EXPECT_NE(bench.tree.find("/" + path), nullptr) << path;
  for (const char* path : {"/dev", "/run", "/tmp", "/proc", "/sys", "/var/tmp"}) {
    EXPECT_NE(bench.tree.find(path), nullptr) << path;
  }
  EXPECT_EQ(bench.at("/etc/machine-id").size_bytes, 0U);
  EXPECT_EQ(bench.at("/etc/machine-id").attributes.mode, S_IFREG | 0444U);
  EXPECT_EQ(must(bench.contents.read(bench.at("/etc/shadow"), 1000)),
            "root:*:18518:0:99999:7:::\nnever:!::0:::::\nmust:x:0::::::\nshort\n");
  EXPECT_EQ(bench.at("/etc/shadow").attributes.gid, 42U);
  EXPECT_NE(bench.tree.find("/var/log/wtmp"), nullptr);
}

TEST(Normalize, AHardLinkIsAFileToo) {
  TarMaker tar;
  tar.add("etc/first-id", {}, "0123456789abcdef\n");
  tar.add("etc/machine-id", {.type = '1', .link = "etc/first-id"});
  tar.add("etc/first.conf", {}, "nameserver 192.0.2.1\n");
  tar.add("etc/resolv.conf", {.type = '1', .link = "etc/first.conf"});
  Workbench bench;
  must(bench.import(tar.finish()));
  ASSERT_TRUE(bench.at("/etc/machine-id").is_link());
  ASSERT_TRUE(bench.at("/etc/resolv.conf").is_link());
  remove_host_leaks(bench.tree);
  must(normalize(bench.rootfs, all(), kEpoch));
  EXPECT_EQ(bench.at("/etc/machine-id").inode().size_bytes, 0U);
  EXPECT_EQ(bench.tree.find("/etc/resolv.conf"), nullptr);
}

TEST(Normalize, OnlyTheNamedPassesRun) {
  TarMaker tar;
  tar.add("etc/passwd-", {}, "x");
  tar.add("var/log/a", {}, "x");
  Workbench bench;
  must(bench.import(tar.finish()));
  std::vector<NormalizePass> passes = {NormalizePass::kLogs};
  must(normalize(bench.rootfs, passes, kEpoch));
  EXPECT_NE(bench.tree.find("/etc/passwd-"), nullptr);
  EXPECT_EQ(bench.tree.find("/var/log/a"), nullptr);
}

TEST(Settle, ClampsTimesAndCountsLinks) {
  TarMaker tar;
  tar.add("old", {.mtime = 5, .pax = {{"mtime", "5.5"}}});
  tar.add("new", {.mtime = kEpoch + 1});
  tar.add("edge", {.mtime = kEpoch, .pax = {{"mtime", "1600000000.5"}}});
  tar.add("again", {.type = '1', .link = "new"});
  Workbench bench;
  must(bench.import(tar.finish()));
  settle(bench.tree, kEpoch);
  EXPECT_EQ(bench.at("/old").attributes.mtime, (tree::Timestamp{5, 500000000}));
  EXPECT_EQ(bench.at("/new").inode().attributes.mtime, (tree::Timestamp{kEpoch, 0}));
  EXPECT_EQ(bench.at("/edge").attributes.mtime, (tree::Timestamp{kEpoch, 0}));
  EXPECT_EQ(bench.at("/new").inode().attributes.nlink, 2U);
}

}  // namespace
}  // namespace cfs::builder
