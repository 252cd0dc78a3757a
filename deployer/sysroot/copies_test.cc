// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/copies.h"

#include "deployer/sysroot/sysroot.h"
#include "deployer/test_support.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

constexpr const char* kOriginals[] = {"meta.json", "origin.json", "config.json", "trust/root.json"};

/// What a disk makes of a file. Nothing: the file is gone.
struct Rot {
  const char* name;
  std::function<std::optional<std::string>(const std::string& content)> of;
};

const std::vector<Rot>& rots() {
  static const std::vector<Rot> kAll = {
      {"removed", [](const std::string&) { return std::nullopt; }},
      {"zeroed", [](const std::string& text) { return std::string(text.size(), '\0'); }},
      {"garbage", [](const std::string& text) { return random_text(text.size(), 7); }},
      {"truncated", [](const std::string& text) { return text.substr(0, text.size() / 2); }},
      {"empty", [](const std::string&) { return std::string(); }},
      {"too large", [](const std::string& text) { return text + std::string(3 << 20, ' '); }},
  };
  return kAll;
}

class CopiesTest : public DeviceTest {
 protected:
  void SetUp() override {
    ASSERT_DONE(run_command({"init", "--sysroot", path("sysroot"), "--url", server_.url(), "--root",
                             path("root.json"), "--name", "test", "--board", "acme,gw-2"}));
    offer(first_release());
    ASSERT_DONE(update());
    ASSERT_EQ(reboot_well(), "1");
  }
  static std::string in_sysroot(const std::string& path) { return "sysroot/cfs/" + path; }
  void damage(const std::string& name, const Rot& damage) {
    const std::string file = in_sysroot(name);
    std::optional<std::string> content = damage.of(read(file));
    if (content) {
      write(file, *content);
    } else {
      ASSERT_TRUE(std::filesystem::remove(path(file)));
    }
  }
  Result<int> fsck(std::vector<std::string> options = {}) {
    options.insert(options.begin(), "fsck");
    return command(options);
  }
  void expect_fsck(const std::vector<std::string>& options, int status, const std::string& words) {
    Result<int> result = fsck(options);
    ASSERT_TRUE(result) << result.error().describe();
    EXPECT_EQ(*result, status) << output_;
    EXPECT_THAT(output_, HasSubstr(words));
  }
};

TEST_F(CopiesTest, AreThereFromTheBeginning) {
  EXPECT_THAT(names_in(in_sysroot("copies")),
              ElementsAre("config.json", "meta.json", "origin.json", "root.json"));
  for (const char* name : kOriginals) {
    EXPECT_EQ(read(in_sysroot(sysroot::copy_path(name))), read(in_sysroot(name))) << name;
  }
  EXPECT_EQ(stat_at(AT_FDCWD, path(in_sysroot("copies/origin.json")), 0).value().st_mode,
            S_IFREG | 0600U);
  EXPECT_EQ(stat_at(AT_FDCWD, path(in_sysroot("copies")), 0).value().st_mode, S_IFDIR | 0755U);
}

TEST_F(CopiesTest, AnOriginalThatIsLostIsPutBack) {
  for (const char* name : kOriginals) {
    const std::string content = read(in_sysroot(name));
    for (const Rot& one : rots()) {
      SCOPED_TRACE(std::string(name) + " " + one.name);
      damage(name, one);
      const std::string damaged = read(in_sysroot(name));
      EXPECT_THAT(status(), AllOf(HasSubstr("test 1 is running"),
                                  HasSubstr("damaged   " + std::string(name) + ": ")));
      expect_fsck({}, 7, std::string(name) + ": ");
      EXPECT_THAT(output_, HasSubstr("1 wrong, 0 repaired"));
      EXPECT_EQ(read(in_sysroot(name)), damaged);  // who only looks changes nothing

      expect_up_to_date("1");
      EXPECT_THAT(output_, HasSubstr("'" + std::string(name) + "' is put back from its copy: "));
      EXPECT_EQ(read(in_sysroot(name)), content);
      expect_up_to_date("1");
      EXPECT_THAT(output_, Not(HasSubstr("put back")));

      damage(name, one);
      expect_fsck({"--repair"}, 0, "1 wrong, 1 repaired");
      EXPECT_THAT(output_, AllOf(StartsWith(std::string(name) + ": "), HasSubstr("\n  repaired")));
      EXPECT_EQ(read(in_sysroot(name)), content);
      expect_fsck({}, 0, "nothing is wrong");
    }
  }
}

TEST_F(CopiesTest, ItIsSaidInALine) {
  ASSERT_TRUE(std::filesystem::remove(path(in_sysroot("origin.json"))));
  expect_up_to_date("1");
  EXPECT_THAT(output_, StartsWith("'origin.json' is put back from its copy: cannot open "
                                  "'origin.json': No such file or directory\n"));
}

TEST_F(CopiesTest, ARootOfWhichABitHasFlippedIsLost) {
  const std::string content = read(in_sysroot("trust/root.json"));
  std::string flipped = content;
  flipped[flipped.find("1.0.34") + 5] ^= 1;
  write(in_sysroot("trust/root.json"), flipped);
  std::filesystem::remove(path(in_sysroot("trust/initial_root.json")));
  expect_fsck({}, 7, "trust/root.json: ");
  expect_up_to_date("1");
  EXPECT_EQ(read(in_sysroot("trust/root.json")), content);
}

TEST_F(CopiesTest, ACopyThatIsLostIsPutBack) {
  for (const char* name : kOriginals) {
    const std::string copy = sysroot::copy_path(name);
    const std::string content = read(in_sysroot(copy));
    for (const Rot& one : rots()) {
      SCOPED_TRACE(copy + " " + one.name);
      damage(copy, one);
      EXPECT_THAT(status(), HasSubstr("test 1 is running"));
      expect_fsck({}, 7, copy + ": ");
      expect_up_to_date("1");
      EXPECT_THAT(output_, Not(HasSubstr("put back")));  // nobody has missed it
      EXPECT_EQ(read(in_sysroot(copy)), content);

      damage(copy, one);
      expect_fsck({"--repair"}, 0, "1 wrong, 1 repaired");
      EXPECT_THAT(output_, AllOf(StartsWith(copy + ": "), HasSubstr("\n  repaired")));
      EXPECT_EQ(read(in_sysroot(copy)), content);
    }
  }
}

// The disk cannot write there either: the device goes on with the other one.
TEST_F(CopiesTest, WhatCannotBeReadNorWrittenIsDoneWithout) {
  for (const std::string name : kOriginals) {
    for (const std::string& lost : {name, sysroot::copy_path(name)}) {
      SCOPED_TRACE(lost);
      int result = in_own_mounts([&] {
        // Reading this file from its beginning gives EIO, and nothing can be renamed over it.
        const std::string file = path(in_sysroot(lost));
        if (::mount("/proc/self/mem", file.c_str(), nullptr, MS_BIND, nullptr) != 0) return 101;
        if (read_file(AT_FDCWD, file, 512).error().sys_errno != EIO) return 102;
        if (!command({"status"})) return 1;
        // lib/trust writes the root that it begins with.
        if (lost != "trust/root.json" && update().value_or(-1) != 10) return 2;
        if (fsck().value_or(-1) != 7) return 3;
        if (output_.find(lost + ": cannot read") == std::string::npos) return 4;
        if (fsck({"--repair"}).value_or(-1) != 7) return 5;
        return output_.find("  not repaired: ") == std::string::npos ? 6 : 0;
      });
      EXPECT_EQ(result, 0);
      EXPECT_EQ(read(in_sysroot(lost)), read(in_sysroot(name)));
    }
  }
}

TEST_F(CopiesTest, TheCopyFollowsItsOriginal) {
  const std::string origin = read(in_sysroot("origin.json"));
  std::string other = origin;
  other.replace(other.find("stable"), 6, "sample");
  write(in_sysroot("copies/origin.json"), other);
  expect_fsck({}, 0, "nothing is wrong");
  expect_fsck({"--repair"}, 0, "nothing is wrong");
  EXPECT_EQ(read(in_sysroot("copies/origin.json")), origin);
  // An earlier version made a sysroot without them, and one of them changes the root only.
  std::filesystem::remove_all(path(in_sysroot("copies")));
  expect_up_to_date("1");
  EXPECT_EQ(read(in_sysroot("copies/root.json")), read(in_sysroot("trust/root.json")));
}

TEST_F(CopiesTest, WhatStandsInThePlaceOfTheDirectory) {
  std::filesystem::remove_all(path(in_sysroot("copies")));
  write(in_sysroot("copies"), "a file");
  expect_fsck({}, 7, "copies/meta.json: ");
  expect_fsck({"--repair"}, 0, "4 wrong, 4 repaired");
  std::filesystem::remove_all(path(in_sysroot("copies")));
  ASSERT_TRUE(make_directories(AT_FDCWD, path("outside")));
  std::filesystem::create_directory_symlink(path("outside"), path(in_sysroot("copies")));
  expect_fsck({"--repair"}, 0, "4 wrong, 4 repaired");
  EXPECT_THAT(names_in("outside"), IsEmpty());
  expect_fsck({}, 0, "nothing is wrong");
}

TEST_F(CopiesTest, AFileOfALaterVersionIsNoLoss) {
  for (const std::string name : kOriginals) {
    SCOPED_TRACE(name);
    const std::string content = read(in_sysroot(name));
    const std::string before = name == "trust/root.json" ? "\"spec_version\":\"1" : "\"schema\":1";
    std::string later = content;
    ASSERT_NE(later.find(before), std::string::npos);
    later[later.find(before) + before.size() - 1] = '2';
    write(in_sysroot(name), later);
    (void)fsck({"--repair"});
    EXPECT_EQ(read(in_sysroot(name)), later);
    EXPECT_EQ(read(in_sysroot(sysroot::copy_path(name))), content);
    write(in_sysroot(name), content);
  }
}

TEST_F(CopiesTest, WithoutBothAPersonIsNeeded) {
  for (const std::string name : {"meta.json", "origin.json"}) {
    SCOPED_TRACE(name);
    const std::string copy = sysroot::copy_path(name);
    const std::string content = read(in_sysroot(name));
    auto expect_a_hint = [&](int exit_status) {
      for (const char* verb : {"status", "update", "fsck", "rollback"}) {
        Result<int> result = command({verb});
        expect_exit(result, exit_status, "while opening sysroot");
        EXPECT_THAT(result.error().hint,
                    HasSubstr("put '" + name + "' back by hand, as docs/FORMATS.md"));
      }
    };
    write(in_sysroot(name), "{}");
    write(in_sysroot(copy), "");
    expect_a_hint(7);
    std::filesystem::remove(path(in_sysroot(name)));
    expect_a_hint(7);
    std::filesystem::remove(path(in_sysroot(copy)));
    expect_a_hint(1);
    write(in_sysroot(name), content);
    expect_up_to_date("1");
  }
}

TEST_F(CopiesTest, WithoutBothNobodyKnowsTheBoard) {
  write(in_sysroot("config.json"), "{}");
  write(in_sysroot("copies/config.json"), "");
  EXPECT_THAT(status(), HasSubstr("damaged   config.json: "));
  Result<int> updated = update();
  expect_exit(updated, 7, "config.json");
  EXPECT_THAT(updated.error().hint, HasSubstr("by hand"));
  expect_fsck({"--repair"}, 7, "config.json: ");
  EXPECT_THAT(output_, HasSubstr("not repaired: its copy is lost too: "));
  // Without either of them nobody has said what the device is.
  for (const char* name : {"config.json", "copies/config.json"}) {
    ASSERT_TRUE(std::filesystem::remove(path(in_sysroot(name))));
  }
  expect_fsck({}, 0, "nothing is wrong");
  expect_up_to_date("1");
}

// lib/trust has its own last resort.
TEST_F(CopiesTest, WithoutBothTheInitialRootIsTrusted) {
  const std::string root = read(in_sysroot("trust/root.json"));
  for (const char* name : {"trust/root.json", "copies/root.json"}) write(in_sysroot(name), "");
  expect_fsck({"--repair"}, 7, "not repaired: its copy is lost too: ");
  expect_up_to_date("1");
  EXPECT_EQ(read(in_sysroot("trust/root.json")), root);
  expect_up_to_date("1");
  EXPECT_EQ(read(in_sysroot("copies/root.json")), root);
}

TEST_F(CopiesTest, ASysrootIsOneWithoutItsMeta) {
  ASSERT_TRUE(std::filesystem::remove(path(in_sysroot("meta.json"))));
  expect_exit(init(), 1, "is a sysroot already");
  EXPECT_THAT(status(), HasSubstr("test 1 is running"));
}

TEST_F(CopiesTest, ADirectoryInThePlaceOfACopyGoes) {
  ASSERT_TRUE(std::filesystem::remove(path(in_sysroot("copies/meta.json"))));
  ASSERT_TRUE(make_directories(AT_FDCWD, path(in_sysroot("copies/meta.json/full"))));
  expect_fsck({"--repair"}, 0, "1 wrong, 1 repaired");
  EXPECT_EQ(read(in_sysroot("copies/meta.json")), read(in_sysroot("meta.json")));
}

// As a disk that is full, or that the kernel has made read-only in part.
TEST_F(CopiesTest, ACopyThatCannotBeWrittenStopsNobody) {
  write(in_sysroot("copies/meta.json"), "");
  int result = in_own_mounts([&] {
    const std::string copies = path(in_sysroot("copies"));
    if (::mount(copies.c_str(), copies.c_str(), nullptr, MS_BIND, nullptr) != 0) return 101;
    if (::mount(nullptr, copies.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) != 0)
      return 102;
    if (update().value_or(-1) != 10) return 1;
    if (command({"gc"}).value_or(-1) != 0) return 2;
    if (fsck({"--repair"}).value_or(-1) != 7) return 3;
    return output_.find("  not repaired: ") == std::string::npos ? 4 : 0;
  });
  EXPECT_EQ(result, 0);
}

}  // namespace
}  // namespace cfs::deployer
