// SPDX-License-Identifier: Apache-2.0
#include "deployer/config/config.h"

#include "deployer/test_support.h"
#include "lib/json/reader.h"

namespace cfs::deployer {
namespace {

using ::testing::StartsWith;

class ConfigTest : public DeviceTest {
 protected:
  ConfigTest() {
    EXPECT_TRUE(make_directories(AT_FDCWD, path("vendor")));
    EXPECT_TRUE(make_directories(AT_FDCWD, path("local")));
  }
  Config config() { return read_config(environment_).value(); }
  void expect_refused(const std::string& text, const std::string& words,
                      const std::string& hint = "") {
    write("local/deploy.yaml", text);
    Result<Config> read = read_config(environment_);
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().code, ErrorCode::kInvalidInput) << text;
    EXPECT_THAT(read.error().message, HasSubstr(path("local/deploy.yaml:"))) << text;
    EXPECT_THAT(read.error().message, HasSubstr(words)) << text;
    EXPECT_THAT(read.error().hint, HasSubstr(hint)) << text;
  }
};

TEST_F(ConfigTest, NoFileIsFine) {
  EXPECT_EQ(config().keep, 2U);
  EXPECT_EQ(config().health.limit, std::chrono::minutes(15));
  EXPECT_TRUE(config().origins.empty());
  for (const char* empty : {"", "\n\n", "# nothing yet\n  # here\n"}) {
    write("local/deploy.yaml", empty);
    EXPECT_TRUE(config().origins.empty()) << empty;
  }
}

TEST_F(ConfigTest, EveryKeyCanBeSet) {
  write("local/deploy.yaml", R"(
urls: ["https://example.org/os", "file:///mnt/os"]
channel: beta
keep: 4
tries: 1
on_corruption: reboot
update:
  every: 6h
  jitter: 0s
  window: 22:30-04:00
  metered: refuse
reboot:
  when: idle
  idle_command: [/usr/bin/idle, --strict]
  lock_command: [/usr/bin/lock]
health:
  limit: 90s
  mark_bad_within: 2d
)");
  Config read = config();
  EXPECT_EQ(read.origins.size(), config_keys().size());
  ASSERT_EQ(read.urls.size(), 2U);
  EXPECT_EQ(read.urls[1].file_path(), "/mnt/os");
  EXPECT_EQ(read.channel, "beta");
  EXPECT_EQ(read.keep, 4U);
  EXPECT_EQ(read.tries, 1U);
  EXPECT_EQ(read.on_corruption, kernel_cmdline::CorruptionAction::kReboot);
  EXPECT_EQ(read.update.every, std::chrono::hours(6));
  EXPECT_EQ(read.update.jitter.count(), 0);
  EXPECT_EQ(read.update.window, (TimeWindow{.begin = 22 * 60 + 30, .end = 4 * 60}));
  EXPECT_EQ(read.update.metered, Metered::kRefuse);
  EXPECT_EQ(read.reboot.when, RebootWhen::kIdle);
  EXPECT_THAT(read.reboot.idle_command, ElementsAre("/usr/bin/idle", "--strict"));
  EXPECT_THAT(read.reboot.lock_command, ElementsAre("/usr/bin/lock"));
  EXPECT_EQ(read.health.limit, std::chrono::seconds(90));
  EXPECT_EQ(read.health.mark_bad_within, std::chrono::hours(48));
}

// What `config show` prints can stand in the file, and means the same there.
TEST_F(ConfigTest, WhatIsShownCanBeRead) {
  const std::string defaults = to_text(config());
  write("local/deploy.yaml", "urls: [http://x/]\nupdate: {window: 02:00-05:00}\nchannel: '7'\n");
  const std::string changed = to_text(config());
  for (const std::string& text : {defaults, changed}) {
    write("local/deploy.yaml", text);
    std::string again = to_text(config());
    auto without_origins = [](const std::string& lines) {
      std::string result;
      std::istringstream stream(lines);
      for (std::string line; std::getline(stream, line);) {
        line.resize(std::min(line.find('#'), line.size()));
        line.resize(line.find_last_not_of(' ') + 1);
        result += line + "\n";
      }
      return result;
    };
    EXPECT_EQ(without_origins(again), without_origins(text));
  }
}

TEST_F(ConfigTest, TheAdministratorsFileCountsKeyByKey) {
  write("vendor/deploy.yaml",
        "urls: [http://a/, http://b/]\nkeep: 5\nupdate: {every: 6h, metered: refuse}\n");
  write("local/deploy.yaml", "urls: [http://c/]\nupdate:\n  every: 12h\n");
  Config read = config();
  ASSERT_EQ(read.urls.size(), 1U) << "a list replaces a list";
  EXPECT_EQ(read.urls[0].shown(), "http://c/");
  EXPECT_EQ(read.keep, 5U);
  EXPECT_EQ(read.update.every, std::chrono::hours(12));
  EXPECT_EQ(read.update.metered, Metered::kRefuse);
  EXPECT_EQ(read.origins["keep"], path("vendor/deploy.yaml:2"));
  EXPECT_EQ(read.origins["update.every"], path("local/deploy.yaml:3"));
}

TEST_F(ConfigTest, WhatIsWrongIsNamed) {
  expect_refused("kep: 3\n", ":1:1: kep: unknown key 'kep'", "did you mean 'keep'?");
  expect_refused("keep: 3\nupdate:\n  evry: 1d\n", ":3:3: update.evry: unknown key 'evry'",
                 "did you mean 'every'?");
  expect_refused("keep: 3\nkeep: 4\n", ":2:1: keep: duplicate key 'keep'");
  expect_refused("keep: 1\n", ":1:7: keep: 1 is not in the range 2 to 99");
  expect_refused("tries: 10\n", "tries: 10 is not in the range 1 to 9");
  expect_refused("update: {every: 30}\n", "update.every: bad duration '30'", "15min");
  expect_refused("update: {every: 59min}\n", "update.every: less than 1h");
  expect_refused("health: {limit: 59s}\n", "health.limit: less than 1min");
  expect_refused("reboot: {when: idel}\n", "bad value 'idel'", "did you mean 'idle'?");
  expect_refused("reboot: {when: idle}\n", ":1: reboot.when: idle, and no reboot.idle_command");
  expect_refused("reboot: {lock_command: [lock]}\n", "'lock' is no absolute path");
  expect_refused("reboot: {lock_command: /bin/lock}\n", "expected a list, found a scalar");
  expect_refused("urls: [ftp://x/]\n", "urls[0]: ");
  expect_refused("channel: Beta\n", "'Beta' cannot be a channel");
  expect_refused("- keep\n", "expected a map with the keys urls, channel,");
  for (const char* window : {"2:00-5:00", "02:00", "02:00-24:00", "02:00-02:00", "02:60-03:00", "",
                             "02:00-05:00-", "xx:00-05:00", "02.00-05.00"}) {
    expect_refused("update: {window: '" + std::string(window) + "'}\n", "bad window",
                   "02:00-05:00");
  }
}

TEST_F(ConfigTest, AllThatIsWrongIsNamedAtOnce) {
  expect_refused("keep: x\ntries: 0\n", " has 2 errors:");
}

TEST_F(ConfigTest, TheCommand) {
  write("vendor/deploy.yaml", "urls: ['https://me:secret@example.org/os']\n");
  write("local/deploy.yaml", "keep: 3\n");
  ASSERT_DONE(run_command({"config", "show"}));
  EXPECT_THAT(output_,
              AllOf(HasSubstr("keep: 3 "), HasSubstr("# " + path("local/deploy.yaml:1")),
                    HasSubstr("  every: 1d "), HasSubstr("# default"),
                    HasSubstr("urls: [\"https://example.org/os\"]"), Not(HasSubstr("secret"))));
  ASSERT_DONE(run_command({"config", "show", "--json"}));
  json::Value json = json::parse(output_, {}, "config").value();
  std::vector<json::Reader> keys =
      json::Reader(json, "config").member("keys")->elements(100).value();
  ASSERT_EQ(keys.size(), config_keys().size());
  EXPECT_EQ(keys[2].member("key")->text(20).value(), "keep");
  EXPECT_EQ(keys[2].member("value")->integer().value(), 3U);
  EXPECT_THAT(keys[2].member("origin")->text(4096).value(), StartsWith(path("local")));
  expect_exit(run_command({"config"}), 2, "action");
  expect_exit(run_command({"config", "shw"}), 2, "shw");
}

// A key that is added needs a row there; one that is removed leaves none.
TEST_F(ConfigTest, TheDocumentHasEveryKey) {
  const std::string document = read_file(AT_FDCWD, "docs/CONFIG.md", 1 << 20).value();
  std::vector<std::string> rows;
  std::istringstream lines(document);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("| `")) rows.push_back(line);
  }
  std::vector<std::string> expected;
  const Config defaults;
  for (const ConfigKey& key : config_keys()) {
    json::Value value = key.show(defaults);
    const auto* number = value.as<int64_t>();
    const auto* text = value.as<std::string>();
    std::string shown = number != nullptr ? std::to_string(*number)
                        : text == nullptr ? "[]"
                        : text->empty()   ? "\"\""
                                          : *text;
    expected.push_back(std::string("| `") + key.name + "` | " + key.form + " | `" + shown + "` | " +
                       key.meaning + " |");
  }
  EXPECT_EQ(rows, expected);
}

}  // namespace
}  // namespace cfs::deployer
