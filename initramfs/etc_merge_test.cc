// SPDX-License-Identifier: Apache-2.0
#include "initramfs/etc_merge.h"

#include <random>

#include "initramfs/etc_fixture.h"

namespace cfs::initramfs {
namespace {

class EtcMerge : public EtcTest {
 protected:
  /// Merges and returns the result.
  Files merged(const Files& base, const Files& local, const Files& theirs,
               const std::vector<std::string>& keep = {}) {
    for (const char* tree : {"base", "local", "target"}) std::filesystem::remove_all(path(tree));
    make("base", base);
    make("local", local);
    make("target", theirs);
    Result<> result =
        merge_etc(open("base").get(), open("local").get(), open("target").get(), keep);
    EXPECT_TRUE(result) << result.error().describe();
    EXPECT_EQ(show("base"), base);
    EXPECT_EQ(show("local"), local);
    return show("target");
  }
};

TEST_F(EtcMerge, WhatOneSideChangedIsTaken) {
  EXPECT_EQ(merged({{"a", "1"}, {"b", "1"}, {"gone", "1"}, {"dropped", "1"}},
                   {{"a", "2"}, {"b", "1"}, {"dropped", "1"}, {"mine", "m"}},
                   {{"a", "1"}, {"b", "3"}, {"gone", "1"}, {"theirs", "t"}}),
            (Files{{"a", "2"}, {"b", "3"}, {"mine", "m"}, {"theirs", "t"}}));
}

TEST_F(EtcMerge, OfAConflictBothAreShown) {
  EXPECT_EQ(merged({{"a", "1"}, {"gone", "1"}, {"dropped", "1"}, {"d/x", "1"}},
                   {{"a", "2"}, {"dropped", "2"}, {"new", "mine"}, {"d/x", "2"}},
                   {{"a", "3"}, {"gone", "3"}, {"new", "theirs"}, {"d/x", "3"}}),
            (Files{{"a", "2"},
                   {"a.cfs-new", "3"},
                   {"gone.cfs-new", "3"},
                   {"dropped", "2"},
                   {"new", "mine"},
                   {"new.cfs-new", "theirs"},
                   {"d/x", "2"},
                   {"d/x.cfs-new", "3"}}));
}

TEST_F(EtcMerge, TheSameChangeIsNoConflict) {
  EXPECT_EQ(merged({{"a", "1"}, {"b", "1"}}, {{"a", "2"}, {"n", "x"}}, {{"a", "2"}, {"n", "x"}}),
            (Files{{"a", "2"}, {"n", "x"}}));
}

TEST_F(EtcMerge, DirectoriesThatTheReleaseDropped) {
  // Unchanged here: gone. With a file of the device: that stays.
  EXPECT_EQ(merged({{"d/x", "1"}, {"e/x", "1"}, {"f/x", "1"}, {"f/y", "1"}},
                   {{"d/x", "1"}, {"e/x", "1"}, {"e/mine", "m"}, {"f/x", "1"}}, {{"z", "dir"}}),
            (Files{{"e/mine", "m"}, {"z", "dir"}}));
}

TEST_F(EtcMerge, AFileInThePlaceOfADirectory) {
  EXPECT_EQ(merged({{"d/x", "1"}}, {{"d/x", "1"}, {"d/mine", "m"}}, {{"d", "file"}}),
            (Files{{"d/mine", "m"}, {"d.cfs-new", "file"}}));
  EXPECT_EQ(merged({{"d/x", "1"}}, {{"d", "file"}}, {{"d/x", "1"}}), (Files{{"d", "file"}}));
  EXPECT_EQ(merged({{"d/x", "1"}}, {{"d", "file"}}, {{"d/x", "2"}}),
            (Files{{"d", "file"}, {"d.cfs-new/x", "2"}}));
  EXPECT_EQ(merged({{"d", "file"}}, {{"d", "file"}}, {{"d/x", "1"}}), (Files{{"d/x", "1"}}));
  EXPECT_EQ(merged({{"d", "file"}}, {{"d", "changed"}}, {{"d/x", "1"}}),
            (Files{{"d", "changed"}, {"d.cfs-new/x", "1"}}));
  EXPECT_EQ(merged({{"d/x", "1"}}, {}, {{"d/x", "2"}}), (Files{{"d.cfs-new/x", "2"}}));
}

TEST_F(EtcMerge, SymlinksAreCompared) {
  make("elsewhere", {{"x", "1"}});
  EXPECT_EQ(merged({{"l", "-> a"}, {"d/x", "1"}}, {{"l", "-> b"}, {"d", "-> ../elsewhere"}},
                   {{"l", "-> a"}, {"d/x", "1"}}),
            (Files{{"l", "-> b"}, {"d", "-> ../elsewhere"}}));
  EXPECT_EQ(merged({{"d/x", "1"}}, {{"d/x", "2"}}, {{"d", "-> ../elsewhere"}}),
            (Files{{"d/x", "2"}, {"d.cfs-new", "-> ../elsewhere"}}));
  EXPECT_EQ(show("elsewhere"), (Files{{"x", "1"}}));
}

TEST_F(EtcMerge, ModesAreChangesToo) {
  make("base", {{"d/x", "1"}});
  make("local", {{"d/x", "1"}});
  make("target", {{"d/x", "2"}});
  ASSERT_EQ(::chmod(path("local/d").c_str(), 0700), 0);
  ASSERT_EQ(::chmod(path("local/d/x").c_str(), 0600), 0);
  ASSERT_TRUE(merge_etc(open("base").get(), open("local").get(), open("target").get(), {}));
  EXPECT_EQ(show("target"), (Files{{"d/x", "1"}, {"d/x.cfs-new", "2"}}));
  struct stat status = {};
  ASSERT_EQ(::stat(path("target/d").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700U);
  ASSERT_EQ(::stat(path("target/d/x").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600U);
}

TEST_F(EtcMerge, WhatIsKeptIsLeftOut) {
  EXPECT_EQ(merged({{"k/a", "1"}, {"k/b", "1"}}, {{"k/a", "2"}, {"k/b", "2"}},
                   {{"k/a", "3"}, {"k/b", "1"}}, {"/etc/k/a"}),
            (Files{{"k/a", "3"}, {"k/b", "2"}}));
}

// A conflict is shown until somebody removes what shows it, and always with the newest.
TEST_F(EtcMerge, ConflictsOfEarlierReleases) {
  EXPECT_EQ(merged({{"a", "3"}}, {{"a", "2"}, {"a.cfs-new", "3"}}, {{"a", "3"}}),
            (Files{{"a", "2"}, {"a.cfs-new", "3"}}));
  EXPECT_EQ(merged({{"a", "3"}}, {{"a", "2"}, {"a.cfs-new", "3"}}, {{"a", "4"}}),
            (Files{{"a", "2"}, {"a.cfs-new", "4"}}));
  EXPECT_EQ(merged({{"a", "3"}}, {{"a", "2"}}, {{"a", "3"}}), (Files{{"a", "2"}}));
}

// The same rules on flat maps, written down independently: files in directories that all three
// have.
Files model(const Files& base, const Files& local, const Files& theirs) {
  auto at = [](const Files& files, const std::string& name) {
    auto found = files.find(name);
    return found == files.end() ? std::string("missing") : found->second;
  };
  Files result = theirs;
  Files names = base;
  names.insert(local.begin(), local.end());
  for (const auto& [name, unused] : names) {
    const std::string was = at(base, name);
    const std::string is = at(local, name);
    const std::string wanted = at(theirs, name);
    if (is == was || is == wanted) continue;
    if (wanted != was && wanted != "missing") result[name + ".cfs-new"] = wanted;
    result.erase(name);
    if (is != "missing") result[name] = is;
  }
  return result;
}

TEST_F(EtcMerge, IsAsTheModelSays) {
  std::mt19937 random(7);
  auto one_of = [&](unsigned count) { return random() % count; };
  auto tree = [&] {
    Files files = {{"always", "there"}, {"d/e/z", "z"}, {"f/z", "z"}, {"g/h/i/z", "z"}};
    for (const char* name : {"a", "b", "c", "d/a", "d/b", "d/e/a", "f/a", "f/b", "g/h/i/a"}) {
      if (one_of(4) != 0) files[name] = std::to_string(one_of(3));
    }
    return files;
  };
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE(round);
    const Files base = tree();
    const Files local = tree();
    const Files theirs = tree();
    Files result = merged(base, local, theirs);
    std::erase_if(result, [](const auto& entry) { return entry.second == "dir"; });
    ASSERT_EQ(result, model(base, local, theirs));
  }
}

// Whatever the three are: the device's own is there, and nothing that nobody has.
TEST_F(EtcMerge, AnyThreeTrees) {
  std::mt19937 random(11);
  auto one_of = [&](unsigned count) { return random() % count; };
  auto tree = [&] {
    Files files;
    for (const char* name : {"a", "b", "c"}) {
      switch (one_of(5)) {
        case 0:
          break;
        case 1:
          files[name] = std::to_string(one_of(2));
          break;
        case 2:
          files[name] = "-> x";
          break;
        case 3:
          files[name] = "dir";
          break;
        default:
          files[std::string(name) + "/x"] = std::to_string(one_of(2));
          if (one_of(2) == 0) files[std::string(name) + "/y/z"] = std::to_string(one_of(2));
      }
    }
    return files;
  };
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE(round);
    const Files base = tree();
    const Files local = tree();
    const Files theirs = tree();
    const Files result = merged(base, local, theirs);
    for (const auto& [name, what] : local) {
      if (what == "dir" || (base.contains(name) && base.at(name) == what)) continue;
      ASSERT_TRUE(result.contains(name)) << name;
      ASSERT_EQ(result.at(name), what) << name;
    }
    if (local == base) {
      ASSERT_EQ(result, theirs);
    }
    if (theirs == base) {
      ASSERT_EQ(result, local);
    }
  }
}

}  // namespace
}  // namespace cfs::initramfs
