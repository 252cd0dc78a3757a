// SPDX-License-Identifier: Apache-2.0
#include "deployer/command.h"

#include <signal.h>
#include <sys/mount.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <set>

#include "deployer/test_support.h"
#include "lib/base/interrupt.h"

namespace cfs::deployer {
namespace {

class CommandTest : public DeviceTest {};

TEST_F(CommandTest, Usage) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{},
                                             {"fly"},
                                             {"init"},
                                             {"update", "--bogus"},
                                             {"update", "--url", "ftp://x/"},
                                             {"install", "--disk"}}) {
    Result<int> result = run_command(arguments);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::kUsage);
  }
  ASSERT_DONE(run_command({"--help"}));
  EXPECT_THAT(output_, AllOf(HasSubstr("install"), HasSubstr("Exit status")));
  ASSERT_DONE(run_command({"update", "--help"}));
  EXPECT_THAT(output_, HasSubstr("--retry"));
}

TEST_F(CommandTest, AnEmptyPathIsAUsageError) {
  for (const auto& [option, arguments] :
       std::vector<std::pair<std::string, std::vector<std::string>>>{
           {"--esp", {"update", "--esp", ""}},
           {"--sysroot", {"status", "--sysroot="}},
           {"--root", {"init", "--url", "http://x", "--name", "test", "--root", ""}},
           {"--disk",
            {"install", "--disk", "", "--root", "r", "--name", "test", "--url", "http://x"}}}) {
    expect_exit(run_command(arguments), 2, option + ": the value is empty");
  }
}

TEST_F(CommandTest, AnUnknownWordIsToldWhatIsNear) {
  Result<int> result = run_command({"upgrade"});
  expect_exit(result, 2, "upgrade");
  EXPECT_THAT(result.error().hint, HasSubstr("update"));
}

std::set<std::string> options_in(const std::string& text) {
  std::set<std::string> options;
  for (size_t at = text.find("--"); at != std::string::npos; at = text.find("--", at)) {
    size_t end = std::min(text.find_first_not_of("abcdefghijklmnopqrstuvwxyz-", at), text.size());
    if (end > at + 2) options.insert(text.substr(at, end - at));
    at = end;
  }
  for (const char* of_every_command : {"--help", "--json"}) options.erase(of_every_command);
  return options;
}

// A command or an option that is added needs a line there; one that is removed leaves none.
TEST_F(CommandTest, TheReadmeNamesEveryCommandAndOption) {
  const std::string readme = read_file(AT_FDCWD, "deployer/README.md", 1 << 20).value();
  std::map<std::string, std::string> described;  // command → the text of its synopsis
  std::string* current = nullptr;
  std::istringstream lines(readme);
  for (std::string line; std::getline(lines, line);) {
    const std::string start = "    cfs-deploy ";
    if (line.starts_with(start)) {
      const std::string rest = line.substr(start.size());
      current = &described[rest.substr(0, rest.find(' '))];
    } else if (!line.starts_with("    ")) {
      current = nullptr;
    }
    if (current != nullptr) *current += line + "\n";
  }
  std::set<std::string> names;
  for (const CommandRow& row : commands()) {
    names.insert(row.name);
    ASSERT_DONE(run_command({row.name, "--help"}));
    EXPECT_EQ(options_in(described[row.name]), options_in(output_)) << row.name;
    ASSERT_DONE(run_command({"--help"}));
    EXPECT_THAT(output_, HasSubstr(row.summary));
  }
  EXPECT_EQ(described.size(), names.size());
}

TEST_F(CommandTest, AnAddressIsLookedAtOnTheCommandLine) {
  const std::string too_long = "http://example.org/" + std::string(4096, 'x');
  for (const char* bad :
       {"https://", "https://example.org/?x", "https://example.org/a b", "file://host/x",
        "https://me:secret@example.org:x/", "http://m\xc3\xbcnchen.invalid", too_long.c_str()}) {
    for (const std::vector<std::string>& arguments :
         {std::vector<std::string>{"update", "--url", bad},
          {"init", "--root", "r", "--name", "test", "--url", bad},
          {"install", "--disk", "d", "--root", "r", "--name", "test", "--url", "http://x",
           "--device-url", bad}}) {
      Result<int> result = run_command(arguments);
      expect_exit(result, 2, "");
      EXPECT_THAT(result.error().describe() + result.error().hint, Not(HasSubstr("secret")));
    }
  }
  offer(first_release());
  ASSERT_TRUE(write_repository(repository_, path("repository")));
  ASSERT_DONE(init());
  ASSERT_DONE(update({"--url", "FILE://localhost" + path("repository")}));
}

TEST_F(CommandTest, AnInterruptedUpdateAlwaysSaysSo) {
  offer(first_release());
  ASSERT_DONE(init());
  int interrupted = 0;
  for (int moment : {1, 2, 3, 4, 5, 6, 7, 8, 12, 20, 30}) {
    std::atomic<int> requests{0};
    std::atomic<pid_t> child{0};
    {
      std::lock_guard lock(mutex_);
      fault_ = [&](const Request&, Response&) {
        if (++requests == moment) (void)::kill(child, SIGINT);
      };
    }
    int ready[2];
    ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
    const pid_t pid = ::fork();
    if (pid == 0) {
      char go = 0;
      if (::read(ready[0], &go, 1) != 1) ::_exit(9);
      catch_interrupts();
      Result<int> result = update();
      if (result) ::_exit(0);
      bool is_said = result.error().code == ErrorCode::kInterrupted &&
                     result.error().message == "stopped by SIGINT" && !result.error().hint.empty();
      ::_exit(is_said ? 1 : 2);
    }
    child = pid;
    ASSERT_EQ(::write(ready[1], "x", 1), 1);
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    ::close(ready[0]);
    ::close(ready[1]);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_LE(WEXITSTATUS(status), 1) << "at request " << moment;
    interrupted += WEXITSTATUS(status);
  }
  EXPECT_GE(interrupted, 5);
}

TEST_F(CommandTest, ADiskThatFillsUpMeanwhileGetsAHint) {
  FakeRelease release = first_release();
  release.files["/usr/big"] = random_text(3'000'000, 300);
  offer(release);
  ASSERT_DONE(init());
  int status = in_own_mounts([&] {
    // Smaller than the file system that is asked for room.
    if (::mount("none", path("sysroot/cfs/objects").c_str(), "tmpfs", 0, "size=1m") != 0)
      return 101;
    Result<int> result = update();
    if (result || result.error().code != ErrorCode::kNoSpace) return 102;
    return result.error().hint.find("free some space") != std::string::npos ? 0 : 103;
  });
  EXPECT_EQ(status, 0);
}

TEST_F(CommandTest, WhatCannotBePrintedWasDoneAllTheSame) {
  offer(first_release());
  const UniqueFd full = open_at(AT_FDCWD, "/dev/full", O_WRONLY).value();
  const Io io{.in_fd = -1, .out_fd = full.get()};
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"init", "--sysroot", path("sysroot"), "--url", server_.url(),
                                 "--root", path("root.json"), "--name", "test"},
        {"update", "--sysroot", path("sysroot"), "--esp", path("esp")}}) {
    Result<int> result = run(arguments, io, environment_);
    expect_exit(result, 1, "cannot print the result");
    EXPECT_THAT(result.error().hint, HasSubstr("nothing else failed"));
  }
  expect_up_to_date("1");
  // Nothing to do is nothing to tell.
  expect_exit(run({"update", "--sysroot", path("sysroot"), "--esp", path("esp")}, io, environment_),
              1, "cannot print the result");
}

}  // namespace
}  // namespace cfs::deployer
