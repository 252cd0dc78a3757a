// SPDX-License-Identifier: Apache-2.0
// What boot_loader.h promises, for every boot loader: random operations, compared after each with a
// model. A new boot loader needs a harness here and a place in BootLoaders.
#include "lib/boot/boot_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <random>

#include "lib/boot/boot_counter.h"
#include "lib/boot/fake_boot_loader.h"
#include "lib/boot/systemd_boot.h"
#include "lib/boot/test_programs.h"

namespace cfs::boot {
namespace {

/// How a test makes a boot loader of one kind, and what the machine does to it.
struct FakeHarness {
  FakeBootLoader loader;
  BootLoader& open() { return loader; }
  void start(const std::string& id) { loader.start(id); }
  void wish(const EntryWishes& wishes) { loader.wish(wishes); }
  void damage(const std::string& id) { loader.damage(id); }
};

struct SystemdBootHarness {
  TemporaryDirectory directory = TemporaryDirectory::create().value();
  std::optional<SystemdBoot> loader;

  [[nodiscard]] std::string path(const std::string& name) const {
    return directory.path() + "/" + name;
  }
  BootLoader& open() {
    EXPECT_TRUE(make_directories(AT_FDCWD, path("esp")));
    EXPECT_TRUE(make_directories(AT_FDCWD, path("efivars")));
    return loader.emplace(SystemdBoot::open(AT_FDCWD, path("esp"), path("efivars")).value());
  }
  [[nodiscard]] std::string file_of(const std::string& id) const {
    for (const auto& file : std::filesystem::directory_iterator(path("esp/EFI/Linux"))) {
      if (same_entry(split_counter(file.path().stem().string()).id, id)) return file.path();
    }
    ADD_FAILURE() << "no file of '" << id << "'";
    return "";
  }
  /// As sd-boot 252: the name that the file had is what it tells, then it counts.
  void start(const std::string& id) {
    const std::filesystem::path file = file_of(id);
    set_variable("LoaderEntrySelected", file.filename().string());
    set_variable("LoaderEntryOneShot", "");
    const std::string stem = file.stem();
    CountedName name = split_counter(stem);
    if (!name.tries) return;
    Tries counted{.left = name.tries->left - std::min(name.tries->left, 1U),
                  .done = name.tries->done + 1};
    std::filesystem::rename(
        file, file.parent_path() / (with_counter(name.id, counted) + file.extension().string()));
  }
  void wish(const EntryWishes& wishes) {
    set_variable("LoaderEntryOneShot", wishes.one_shot);
    set_variable("LoaderEntryDefault", wishes.default_pattern);
  }
  void set_variable(const std::string& name, const std::string& text) const {
    const std::string file = path("efivars/" + name + "-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f");
    if (text.empty()) {
      std::filesystem::remove(file);
      return;
    }
    std::string value("\6\0\0\0", 4);
    for (char c : text + '\0') value += {static_cast<char>(std::tolower(c)), '\0'};
    EXPECT_TRUE(write_file_atomically(AT_FDCWD, file, as_bytes(value)));
  }
  void damage(const std::string& id) { std::filesystem::resize_file(file_of(id), 1000); }
};

template <typename Harness>
class BootLoaderTest : public ::testing::Test {
 protected:
  /// A UKI that pins sixty-four times `digit`.
  int uki(char digit) {
    std::string path = directory_.path() + "/uki-" + digit;
    if (!stat_at(AT_FDCWD, path, 0)) {
      EXPECT_TRUE(write_file_atomically(
          AT_FDCWD, path, make_test_uki("composefs.digest=" + std::string(64, digit))));
    }
    return open_.emplace_back(open_at(AT_FDCWD, path, O_RDONLY).value()).get();
  }
  static verity::Digest digest(char digit) {
    return verity::Digest::parse(std::string(64, digit)).value();
  }

  Harness harness_;
  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
  std::vector<UniqueFd> open_;
};

using BootLoaders = ::testing::Types<FakeHarness, SystemdBootHarness>;
TYPED_TEST_SUITE(BootLoaderTest, BootLoaders);

ErrorCode code(const Result<>& result) {
  return result ? ErrorCode::kNothingToDo : result.error().code;
}
constexpr ErrorCode kDone = ErrorCode::kNothingToDo;

std::optional<Tries> counter(std::optional<unsigned> tries_left) {
  return tries_left ? std::optional(Tries{.left = *tries_left, .done = 0}) : std::nullopt;
}

TYPED_TEST(BootLoaderTest, DoesWhatTheModelDoes) {
  const std::vector<std::string> ids = {"cfs_1_0123456789ab.0", "cfs_1_0123456789ab.1",
                                        "cfs_1_0123456789ab.10", "a+b", "x~1.efi-2"};
  struct Entry {
    char digit;
    std::optional<Tries> tries;
    bool is_damaged = false;
  };
  std::map<std::string, Entry> model;
  std::optional<std::string> chosen;
  EntryWishes wishes;
  std::optional<std::string> selected;
  std::mt19937 random(20261126);
  auto below = [&](size_t limit) { return static_cast<size_t>(random() % limit); };
  BootLoader* loader = &this->harness_.open();

  for (int step = 0; step < 1500; ++step) {
    const std::string& id = ids[below(ids.size())];
    const bool is_there = model.count(id) > 0;
    const bool is_chosen = chosen == id;
    SCOPED_TRACE("step " + std::to_string(step) + ", " + id);
    switch (below(10)) {
      case 0:
      case 1: {
        char digit = static_cast<char>('a' + below(3));
        bool is_same = is_there && model[id].digit == digit && !model[id].is_damaged;
        bool is_refused =
            is_there && is_chosen && !model[id].is_damaged && model[id].digit != digit;
        std::optional<unsigned> left;
        if (below(2) == 0) left = static_cast<unsigned>(below(4));
        ASSERT_EQ(code(loader->install(id, this->uki(digit), left)),
                  is_refused ? ErrorCode::kExists : kDone);
        if (!is_refused && !is_same) model[id] = {.digit = digit, .tries = counter(left)};
        break;
      }
      case 2:
      case 3: {
        ErrorCode expected = !is_there              ? ErrorCode::kNotFound
                             : model[id].is_damaged ? ErrorCode::kCorrupt
                                                    : kDone;
        ASSERT_EQ(code(loader->set_next(id)), expected);
        if (expected == kDone) {
          chosen = id;
          wishes = {};
        }
        break;
      }
      case 4: {
        std::optional<unsigned> left;
        if (below(3) != 0) left = static_cast<unsigned>(below(4));
        ASSERT_EQ(code(loader->set_tries(id, left)), is_there ? kDone : ErrorCode::kNotFound);
        if (is_there) model[id].tries = counter(left);
        break;
      }
      case 5:
        ASSERT_EQ(code(loader->remove(id)), is_chosen ? ErrorCode::kBusy : kDone);
        if (!is_chosen) model.erase(id);
        break;
      case 6:
        if (!is_there) break;
        this->harness_.start(id);
        selected = id;
        wishes.one_shot.clear();
        if (std::optional<Tries>& tries = model[id].tries) {
          *tries = {.left = tries->left == 0 ? 0 : tries->left - 1, .done = tries->done + 1};
        }
        break;
      case 7:
        wishes.one_shot = below(2) == 0 ? ids[below(ids.size())] + ".efi" : "";
        wishes.default_pattern = below(2) == 0 ? ids[below(ids.size())] + "[+.]*" : "";
        this->harness_.wish(wishes);
        break;
      case 8:
        ASSERT_EQ(code(loader->count_boot(id)), is_there ? kDone : ErrorCode::kNotFound);
        if (is_there && model[id].tries && model[id].tries->left > 0) {
          model[id].tries =
              Tries{.left = model[id].tries->left - 1, .done = model[id].tries->done + 1};
        }
        break;
      default:
        if (is_there && below(2) == 0) {
          this->harness_.damage(id);
          model[id].is_damaged = true;
        } else {
          loader = &this->harness_.open();
        }
    }
    std::vector<BootEntry> expected;
    for (const auto& [name, entry] : model) {
      BootEntry one{.id = name,
                    .digest = this->digest(entry.digit),
                    .problem = {},
                    .size_bytes = 0,
                    .tries = entry.tries};
      if (entry.is_damaged) one.digest.reset();
      expected.push_back(std::move(one));
    }
    Result<std::vector<BootEntry>> list = loader->list();
    ASSERT_TRUE(list) << list.error().describe();
    for (BootEntry& entry : *list) {
      ASSERT_EQ(entry.problem.empty(), entry.digest.has_value());
      ASSERT_GT(entry.size_bytes, 0U);
      entry.problem.clear();
      entry.size_bytes = 0;
    }
    ASSERT_TRUE(*list == expected);
    ASSERT_EQ(loader->chosen().value(), chosen);
    // What is asked for starts, if it is there; of the others none that is used up before the rest.
    auto is_startable = [&](const std::string& name) {
      return model.count(name) > 0 && !model[name].is_damaged;
    };
    auto has_tries = [&](const std::string& name) {
      return !model[name].tries || model[name].tries->left > 0;
    };
    auto stem = [](const std::string& pattern, size_t ending) {
      return pattern.empty() ? pattern : pattern.substr(0, pattern.size() - ending);
    };
    const std::string one_shot = stem(wishes.one_shot, 4);
    const std::string firmware = stem(wishes.default_pattern, 5);
    std::optional<NextBoot> next = loader->next().value();
    if (is_startable(one_shot) && !model[one_shot].tries) {
      ASSERT_EQ(next, (NextBoot{one_shot, NextBoot::Reason::kOneShot}));
    } else if (is_startable(firmware)) {
      ASSERT_EQ(next, (NextBoot{firmware, NextBoot::Reason::kFirmwareDefault}));
    } else if (chosen && is_startable(*chosen) && has_tries(*chosen)) {
      ASSERT_EQ(next, (NextBoot{*chosen, NextBoot::Reason::kChosen}));
    } else {
      size_t startable = 0;
      size_t with_tries = 0;
      for (const auto& [name, entry] : model) {
        if (!is_startable(name)) continue;
        ++startable;
        with_tries += has_tries(name) ? 1U : 0U;
      }
      ASSERT_EQ(next.has_value(), startable > 0);
      if (next) {
        ASSERT_EQ(next->reason, NextBoot::Reason::kFirst);
        ASSERT_TRUE(is_startable(next->id)) << next->id;
        ASSERT_TRUE(has_tries(next->id) || with_tries == 0) << next->id;
      }
    }
    std::string unseen;
    if (!wishes.default_pattern.empty() && !is_startable(firmware)) unseen = wishes.default_pattern;
    if (!one_shot.empty() && (!is_startable(one_shot) || model[one_shot].tries)) {
      unseen = wishes.one_shot;
    }
    ASSERT_EQ(loader->unseen_wish().value(), unseen);
    // With one of them used up another one that has tries comes first, if there is one.
    const std::optional<std::string> first =
        loader->first_with({{id, Tries{.left = 0, .done = 1}}}).value();
    ASSERT_EQ(first.has_value(), next.has_value());
    const bool is_other_there = std::any_of(model.begin(), model.end(), [&](const auto& one) {
      return one.first != id && is_startable(one.first) && has_tries(one.first);
    });
    ASSERT_EQ(first && *first != id && has_tries(*first), is_other_there);
    std::optional<std::string> said = loader->selected().value();
    ASSERT_EQ(said.has_value(), selected.has_value());
    ASSERT_TRUE(!said || same_entry(*said, *selected)) << *said;
  }
  EXPECT_GT(model.size(), 1U);
}

TYPED_TEST(BootLoaderTest, OneEntryWhateverTheCase) {
  BootLoader& loader = this->harness_.open();
  ASSERT_TRUE(loader.install("Cfs_1~RC_ab.0", this->uki('a'), {}));
  ASSERT_TRUE(loader.set_next("cfs_1~rc_ab.0"));
  EXPECT_EQ(loader.install("CFS_1~rc_ab.0", this->uki('b'), {}).error().code, ErrorCode::kExists);
  EXPECT_EQ(loader.remove("CFS_1~rc_ab.0").error().code, ErrorCode::kBusy);
  EXPECT_EQ(loader.list()->size(), 1U);
}

TYPED_TEST(BootLoaderTest, HoldsWhatWasInstalledUntilItIsDamaged) {
  BootLoader& loader = this->harness_.open();
  EXPECT_FALSE(loader.holds("a", this->uki('a')).value());
  ASSERT_TRUE(loader.install("a", this->uki('a'), 3));
  EXPECT_TRUE(loader.holds("A", this->uki('a')).value());
  EXPECT_FALSE(loader.holds("a", this->uki('b')).value());
  this->harness_.damage("a");
  EXPECT_FALSE(loader.holds("a", this->uki('a')).value());
}

TYPED_TEST(BootLoaderTest, RefusesIdsThatAreFileNames) {
  BootLoader& loader = this->harness_.open();
  for (const char* bad : {"", ".x", "x.efi", "x.EFI", "a/b", "x y", "x*", "x+3", "x+3-1", "x\n"}) {
    EXPECT_EQ(loader.install(bad, this->uki('a'), {}).error().code, ErrorCode::kInvalidInput)
        << bad;
    EXPECT_EQ(loader.set_next(bad).error().code, ErrorCode::kInvalidInput) << bad;
    EXPECT_EQ(loader.set_tries(bad, 3).error().code, ErrorCode::kInvalidInput) << bad;
    EXPECT_EQ(loader.remove(bad).error().code, ErrorCode::kInvalidInput) << bad;
  }
  EXPECT_TRUE(loader.list()->empty());
}

TYPED_TEST(BootLoaderTest, RefusesWhatIsNotAUki) {
  BootLoader& loader = this->harness_.open();
  const std::string path = this->directory_.path() + "/text";
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path, as_bytes("no UKI")));
  UniqueFd text = open_at(AT_FDCWD, path, O_RDONLY).value();
  EXPECT_EQ(loader.install("a", text.get(), {}).error().code, ErrorCode::kCorrupt);
  EXPECT_TRUE(loader.list()->empty());
  EXPECT_GT(loader.free_bytes().value(), 0U);
}

TEST(EntryId, IsForEveryVersion) {
  EXPECT_EQ(entry_id("12.1+3~rc1", "cccccccccccc.2"), "cfs_12.1+3~rc1_cccccccccccc.2");
  EXPECT_TRUE(check_entry_id(entry_id("12.1+3~rc1", "cccccccccccc.2")));
  EXPECT_TRUE(check_entry_id(entry_id(std::string(64, '+'), "cccccccccccc.4000000000")));
  EXPECT_EQ(deployment_of_entry("cfs_12.1_beta_cccccccccccc.2"), "cccccccccccc.2");
  EXPECT_EQ(deployment_of_entry("debian"), "");
  EXPECT_TRUE(check_entry_id("x+y"));
  EXPECT_FALSE(check_entry_id(std::string(181, 'x')));
  EXPECT_TRUE(same_entry("cfs_1~RC_ab.0", "cfs_1~rc_ab.0"));
  EXPECT_FALSE(same_entry("cfs_1_ab.0", "cfs_1_ab.1"));
}

TEST(BootCounter, IsTakenOffAndPutBack) {
  const auto none = std::optional<Tries>();
  struct Case {
    const char* name;
    const char* id;
    std::optional<Tries> tries;
  };
  const Case cases[] = {
      {"x", "x", none},
      {"x+3", "x", Tries{3, 0}},
      {"x+2-1", "x", Tries{2, 1}},
      {"x+0-2147483647", "x", Tries{0, 2147483647}},
      {"1.2+b1+3", "1.2+b1", Tries{3, 0}},
      {"x+2147483648", "x+2147483648", none},
      {"x+", "x+", none},
      {"x+3-", "x+3-", none},
      {"x+-1", "x+-1", none},
      {"x+3-1-1", "x+3-1-1", none},
      {"x+3a", "x+3a", none},
  };
  for (const Case& one : cases) {
    CountedName name = split_counter(one.name);
    EXPECT_EQ(name.id, one.id) << one.name;
    EXPECT_EQ(name.tries, one.tries) << one.name;
    EXPECT_EQ(with_counter(name.id, name.tries), one.name);
  }
}

}  // namespace
}  // namespace cfs::boot
