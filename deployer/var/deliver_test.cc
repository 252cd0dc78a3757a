// SPDX-License-Identifier: Apache-2.0
#include "deployer/var/deliver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "lib/base/io.h"
#include "lib/base/run_until_change.h"
#include "lib/base/subprocess.h"
#include "lib/sysroot/layout.h"
#include "lib/sysroot/var_policy.h"

namespace cfs::deployer {
namespace {

using sysroot::VarPolicy;
using testing::ElementsAre;
using testing::IsEmpty;

/// What a shell prints.
std::string shell(const std::string& script) {
  return run_command({.arguments = {"sh", "-c", script + " 2>&1 || echo failed"}})
      .value_or("cannot run a shell");
}

/// A sysroot, and the roots of releases.
class DeliverTest : public ::testing::Test {
 protected:
  DeliverTest() {
    for (const char* name : {"cfs/state/var", "cfs/tmp"}) {
      EXPECT_TRUE(make_directories(AT_FDCWD, path(name)));
    }
    for (unsigned number = 1; number <= 3; ++number) {
      EXPECT_TRUE(make_directories(AT_FDCWD, factory(number)));
      EXPECT_TRUE(make_directories(AT_FDCWD, root(number) + "/usr/lib/cfs"));
    }
  }

  [[nodiscard]] std::string path(const std::string& name) const {
    return directory_.path() + "/" + name;
  }
  [[nodiscard]] std::string root(unsigned number) const {
    return path("release" + std::to_string(number));
  }
  [[nodiscard]] std::string factory(unsigned number) const {
    return root(number) + "/" + sysroot::kFactoryVar;
  }
  [[nodiscard]] std::string var(const std::string& name = "") const {
    return path("cfs/state/var/" + name);
  }

  static void write(const std::string& file, const std::string& content) {
    EXPECT_TRUE(make_directories(AT_FDCWD, file.substr(0, file.rfind('/'))));
    EXPECT_TRUE(write_file_atomically(AT_FDCWD, file, as_bytes(content)));
  }
  static std::string read(const std::string& file) {
    return read_file(AT_FDCWD, file, 1 << 20).value_or("nothing");
  }
  void ship(unsigned number, const std::string& name, const std::string& content) {
    write(factory(number) + "/" + name, content);
  }
  void set_policies(unsigned number, std::vector<sysroot::VarRule> rules) {
    write(root(number) + "/" + sysroot::kVarPolicyFile,
          sysroot::serialise_var_rules(std::move(rules)).value());
  }

  Result<VarDelivery> try_boot(unsigned number) {
    Directory cfs = Directory::open(AT_FDCWD, path("cfs")).value();
    return deliver_var(
        cfs, root(number),
        verity::Digest::parse(std::string(64, static_cast<char>('0' + number))).value());
  }
  VarDelivery boot(unsigned number) {
    Result<VarDelivery> delivery = try_boot(number);
    if (!delivery) ADD_FAILURE() << delivery.error().describe();
    EXPECT_THAT(list_directory(AT_FDCWD, path("cfs/tmp")).value(), IsEmpty());
    return delivery.value_or(VarDelivery{});
  }

  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
};

TEST_F(DeliverTest, FillsAsTarSeesIt) {
  // All that a tree can hold; owners and devices where the test may make them.
  const std::string made = shell(R"(cd ')" + factory(1) + R"(' && umask 022 &&
      mkdir -p lib/a/b/c spool/x "odd name" && chmod 1777 spool/x && chmod 2750 lib/a && chmod 0751 . &&
      printf small > lib/small && head -c 700000 /dev/urandom > lib/large && : > lib/empty &&
      ln lib/large lib/a/again && ln lib/large spool/third && ln -s /run run && ln -s nowhere lib/dangling &&
      chmod 4711 lib/small && mkfifo lib/pipe && printf x > "odd name/.x y" &&
      touch -d '2001-02-03 04:05:06.789' lib/small lib/a/b && touch -h -d 2002-01-01 run &&
      (setfattr -n user.colour -v red lib/large && setfattr -n user.x lib/a || true) &&
      (setfacl -m u:7:rx lib/small && setfacl -d -m u:8:rwx lib/a/b || true) &&
      if test $(id -u) = 0; then
        chown 33:44 lib/small && chmod 4711 lib/small && chmod 000 lib/empty && chown -h 5:6 run && mknod lib/null c 1 3
      fi && touch -d 2003-01-01 lib lib/a spool . && echo made)");
  ASSERT_EQ(made, "made\n");
  boot(1);
  const auto tar = [](const std::string& directory, const std::string& filter) {
    return shell(
        "cd '" + directory +
        "' && tar --sort=name --numeric-owner --xattrs --xattrs-include='*' --acls "
        "--format=posix --pax-option=exthdr.name=%d/%f,delete=atime,delete=ctime -cf - . | " +
        filter);
  };
  const std::string list = "tar -tvvf - --xattrs --acls --full-time --numeric-owner";
  EXPECT_EQ(tar(var(), list), tar(factory(1), list));
  EXPECT_EQ(tar(var(), "sha256sum"), tar(factory(1), "sha256sum"));
  EXPECT_EQ(std::filesystem::hard_link_count(var("lib/large")), 3U);
}

TEST_F(DeliverTest, ASecondBootOfAReleaseChangesNothing) {
  ship(1, "lib/file", "1");
  EXPECT_EQ(boot(1).added, 2U);
  std::filesystem::remove_all(var("lib"));
  EXPECT_EQ(boot(1).added, 0U);
  EXPECT_FALSE(std::filesystem::exists(var("lib")));
}

TEST_F(DeliverTest, AnImageThatShipsNothingTouchesNothing) {
  ship(1, "file", "1");
  boot(1);
  std::filesystem::remove_all(factory(2));
  boot(2);
  EXPECT_EQ(read(var("file")), "1");
}

TEST_F(DeliverTest, TheFirstReleaseWithAStrongerPolicyIsUndone) {
  ship(1, "www/page", "1");
  ship(2, "www/page", "2");
  set_policies(2, {{"/var/www", VarPolicy::kReplacedUnlessChanged}});
  boot(1);
  EXPECT_EQ(boot(2).replaced, 1U);
  EXPECT_EQ(read(var("www/page")), "2");
  boot(1);
  EXPECT_EQ(read(var("www/page")), "1");
}

TEST_F(DeliverTest, DirectoriesWithFilesOfTheDeviceStay) {
  ship(1, "a/file", "1");
  ship(1, "b/file", "1");
  boot(1);
  write(var("b/own"), "x");
  ship(2, "other", "2");
  boot(2);
  EXPECT_FALSE(std::filesystem::exists(var("a")));
  EXPECT_FALSE(std::filesystem::exists(var("b/file")));
  EXPECT_EQ(read(var("b/own")), "x");
  boot(1);
  EXPECT_EQ(read(var("b/file")), "1");
  EXPECT_EQ(read(var("a/file")), "1");
}

TEST_F(DeliverTest, ATypeThatChanges) {
  ship(1, "becomes-file/x", "1");
  ship(1, "has-more/x", "1");
  ship(1, "becomes-directory", "1");
  ship(2, "becomes-file", "2");
  ship(2, "has-more", "2");
  ship(2, "becomes-directory/x", "2");
  boot(1);
  write(var("has-more/own"), "x");
  set_policies(2, {{"/var/becomes-directory", VarPolicy::kReplacedUnlessChanged},
                   {"/var/becomes-file", VarPolicy::kReplacedUnlessChanged},
                   {"/var/has-more", VarPolicy::kReplacedUnlessChanged}});
  EXPECT_THAT(boot(2).kept, ElementsAre("has-more"));
  EXPECT_EQ(read(var("becomes-file")), "2");
  EXPECT_EQ(read(var("becomes-directory/x")), "2");
  EXPECT_EQ(read(var("has-more/own")), "x");
  boot(1);
  EXPECT_EQ(read(var("becomes-file/x")), "1");
  EXPECT_EQ(read(var("becomes-directory")), "1");
  EXPECT_EQ(read(var("has-more/x")), "1");
  ship(3, "has-more", "3");
  set_policies(3, {{"/var/has-more", VarPolicy::kReplaced}});
  boot(3);
  EXPECT_EQ(read(var("has-more")), "3");
}

TEST_F(DeliverTest, ADirectoryThatBecomesALinkIsReplacedWithAllItHolds) {
  ship(1, "lib/dpkg/status", "1");
  boot(1);
  write(var("lib/dpkg/own"), "x");
  std::filesystem::create_directories(factory(2) + "/lib");
  std::filesystem::create_symlink("../../usr/lib/sysimage/dpkg", factory(2) + "/lib/dpkg");
  set_policies(2, {{"/var/lib/dpkg", VarPolicy::kReplaced}});
  boot(2);
  EXPECT_EQ(std::filesystem::read_symlink(var("lib/dpkg")), "../../usr/lib/sysimage/dpkg");
}

TEST_F(DeliverTest, AttributesOfADirectoryFollowThePolicy) {
  ship(1, "a/x", "1");
  ship(2, "a/x", "1");
  std::filesystem::permissions(factory(2) + "/a", std::filesystem::perms(0700));
  boot(1);
  boot(2);
  EXPECT_EQ(std::filesystem::status(var("a")).permissions(), std::filesystem::perms(0755));
  ship(3, "a/x", "1");
  std::filesystem::permissions(factory(3) + "/a", std::filesystem::perms(0711));
  set_policies(3, {{"/var/a", VarPolicy::kReplacedUnlessChanged}});
  boot(3);
  EXPECT_EQ(std::filesystem::status(var("a")).permissions(), std::filesystem::perms(0711));
}

TEST_F(DeliverTest, SymlinksOfTheDeviceAreNotFollowed) {
  write(path("outside/file"), "outside");
  std::filesystem::create_symlink(path("outside"), var("a"));
  std::filesystem::create_symlink(path("outside/file"), var("b"));
  ship(1, "a/file", "1");
  ship(1, "a/deep/file", "1");
  ship(1, "b", "1");
  set_policies(1, {{"/var/a/deep", VarPolicy::kReplaced}, {"/var/b", VarPolicy::kReplaced}});
  EXPECT_THAT(boot(1).kept, ElementsAre("a/deep/file", "a/file"));
  EXPECT_EQ(read(path("outside/file")), "outside");
  EXPECT_FALSE(std::filesystem::exists(path("outside/deep")));
  EXPECT_EQ(read(var("b")), "1");
  EXPECT_FALSE(std::filesystem::is_symlink(var("b")));
  EXPECT_TRUE(std::filesystem::is_symlink(var("a")));
}

/// Files of a device, in words: content by path.
using Files = std::map<std::string, std::string>;

std::optional<std::string> at(const Files& files, const std::string& name) {
  auto found = files.find(name);
  if (found == files.end()) return std::nullopt;
  return found->second;
}

/// The rules of docs/STATE.md for files, told once more: `ours` is what a release last made of a
/// path (nothing: that it is not there), `by` the policy by which it did.
struct Model {
  struct Release {
    Files files;
    std::map<std::string, VarPolicy> policies;
  };
  struct Ours {
    std::optional<std::string> content;
    VarPolicy by = VarPolicy::kMissingOnly;
  };
  Files files;
  std::map<std::string, Ours> ours;

  void boot(const Release& release, const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      std::optional<std::string> shipped = at(release.files, name);
      std::optional<std::string> found = at(files, name);
      VarPolicy policy = release.policies.at(name);
      Ours& known = ours[name];
      bool is_changed = found != known.content;
      if (!shipped) {
        if (is_changed) continue;
        files.erase(name);
        known = {};
      } else if (found == shipped || policy == VarPolicy::kReplaced ||
                 (!is_changed && (!found || policy != VarPolicy::kMissingOnly ||
                                  known.by != VarPolicy::kMissingOnly))) {
        files[name] = *shipped;
        known = {.content = shipped, .by = policy};
      }
    }
  }
};

class DeliverModelTest : public DeliverTest, public ::testing::WithParamInterface<unsigned> {
 protected:
  const std::vector<std::string> kNames = {"a", "b", "c", "d/a", "d/b", "d/e/a"};

  /// Makes what three releases ship, anew.
  void make_releases(std::mt19937& random) {
    for (unsigned number = 1; number <= 3; ++number) {
      Model::Release& release = releases_[number];
      std::vector<sysroot::VarRule> rules;
      for (const std::string& name : kNames) {
        if (random() % 4 != 0) {
          release.files[name] = std::string(1, static_cast<char>('p' + random() % 3));
          ship(number, name, release.files[name]);
        }
        release.policies[name] = static_cast<VarPolicy>(random() % 3);
        rules.push_back({.path = "/var/" + name, .policy = release.policies[name]});
      }
      set_policies(number, std::move(rules));
    }
  }
  void change_something(std::mt19937& random) {
    for (const std::string& name : kNames) {
      if (random() % 4 != 0) continue;
      if (random() % 3 == 0) {
        std::filesystem::remove(var(name));
        model_.files.erase(name);
      } else {
        const std::string content = "local " + std::to_string(random());
        write(var(name), content);
        model_.files[name] = content;
      }
    }
  }
  Files found() {
    Files files;
    for (const std::string& name : kNames) {
      if (std::filesystem::exists(var(name))) files[name] = read(var(name));
    }
    return files;
  }

  std::map<unsigned, Model::Release> releases_;
  Model model_;
};

TEST_P(DeliverModelTest, FollowsTheRules) {
  std::mt19937 random(GetParam());
  make_releases(random);
  unsigned running = 0;
  for (unsigned step = 0; step < 12; ++step) {
    unsigned next = 1 + static_cast<unsigned>(random() % 3);
    boot(next);
    if (next != running) model_.boot(releases_[next], kNames);
    running = next;
    ASSERT_EQ(found(), model_.files) << "seed " << GetParam() << ", step " << step;
    if (random() % 2 == 0) change_something(random);
  }
}

TEST_P(DeliverModelTest, ARollbackRestoresWhatWasNotChanged) {
  std::mt19937 random(GetParam());
  make_releases(random);
  boot(1);
  const Files before = found();
  boot(2);
  boot(1);
  EXPECT_EQ(found(), before) << "seed " << GetParam();
}

INSTANTIATE_TEST_SUITE_P(Seeds, DeliverModelTest, ::testing::Range(0U, 60U));

/// Killed anywhere in the first boot of release 2, a device ends as if it had not been when that
/// release boots again, and when release 1 boots instead, as if release 2 had brought each file or
/// had not.
TEST_F(DeliverTest, KilledAnywhereItGoesOn) {
  ship(1, "same", "1");
  ship(1, "replaced", "1");
  ship(1, "local", "1");
  ship(1, "gone", "1");
  ship(1, "forced", "1");
  ship(1, "dir/x", "1");
  ship(1, "swapped/x", "1");
  ship(2, "same", "1");
  ship(2, "replaced", "2");
  ship(2, "local", "2");
  ship(2, "forced", "2");
  ship(2, "new", "2");
  ship(2, "dir/x", "1");
  ship(2, "swapped", "2");
  std::filesystem::permissions(factory(2) + "/dir", std::filesystem::perms(0700));
  std::vector<sysroot::VarRule> rules = {{"/var/forced", VarPolicy::kReplaced}};
  for (const char* name : {"dir", "local", "replaced", "swapped"}) {
    rules.push_back({std::string("/var/") + name, VarPolicy::kReplacedUnlessChanged});
  }
  set_policies(2, rules);
  const std::string start = path("start");
  boot(1);
  write(var("local"), "changed");
  write(var("forced"), "changed");
  write(var("own"), "own");
  const auto copy = [&](const std::string& from, const std::string& to) {
    EXPECT_EQ(shell("rm -rf '" + to + "' && cp -a '" + from + "' '" + to + "'"), "");
  };
  const auto tree = [&] {
    return shell("cd '" + var() + "' && find . -type d -printf '%p %m\\n' | sort; cd '" + var() +
                 "' && find . -type f | sort | while read f; do echo $f $(cat $f); done");
  };
  copy(path("cfs"), start);
  boot(2);
  const std::string with_second = tree();
  boot(1);
  const std::string back = tree();
  EXPECT_THAT(back, testing::HasSubstr("./forced 1\n"));
  const std::string back_without_forced =
      std::string(back).replace(back.find("./forced 1"), 10, "./forced changed");

  unsigned changes = 0;
  std::set<std::string> cuts;
  // Each run looks at a third of them.
  constexpr unsigned kStep = 3;
  changes = static_cast<unsigned>(::getpid()) % kStep;
  for (bool killed = true; killed; changes += kStep) {
    copy(start, path("cfs"));
    killed = run_until_change(changes, [&] { (void)try_boot(2); });
    // As Sysroot::open() does.
    EXPECT_EQ(shell("rm -rf '" + path("cfs/tmp") + "'/*"), "");
    if (!cuts.insert(tree() + read(path("cfs") + "/" + sysroot::kVarRecord)).second) continue;
    copy(path("cfs"), path("cut"));
    boot(2);
    ASSERT_EQ(tree(), with_second) << "before change " << changes;
    copy(path("cut"), path("cfs"));
    boot(1);
    ASSERT_THAT(tree(), testing::AnyOf(back, back_without_forced)) << "before change " << changes;
  }
  EXPECT_GT(changes, 30U);
  EXPECT_GT(cuts.size(), 5U);
}

}  // namespace
}  // namespace cfs::deployer
