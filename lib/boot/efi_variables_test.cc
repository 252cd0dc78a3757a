// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/efi_variables.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "lib/base/io.h"

namespace cfs::boot {
namespace {

using namespace std::string_view_literals;

class EfiVariablesTest : public ::testing::Test {
 protected:
  void set(const std::string& name, std::string_view value) {
    ASSERT_TRUE(make_directories(AT_FDCWD, directory_));
    ASSERT_TRUE(write_file_atomically(
        AT_FDCWD, directory_ + "/" + name + "-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f",
        as_bytes(value)));
  }
  TemporaryDirectory top_ = TemporaryDirectory::create().value();
  std::string directory_ = top_.path() + "/efivars";
};

TEST_F(EfiVariablesTest, TheEntryThatTheBootLoaderStarted) {
  EXPECT_EQ(selected_entry(directory_).value(), std::nullopt);
  set("Other", "");
  EXPECT_EQ(selected_entry(directory_).value(), std::nullopt);
  auto selected = [&](std::string_view value) {
    set("LoaderEntrySelected", value);
    return selected_entry(directory_).value();
  };
  EXPECT_EQ(selected("\6\0\0\0a\0.\0e\0f\0i\0\0\0"sv), "a");
  EXPECT_EQ(selected("\6\0\0\0a\0+\0002\0-\0001\0.\0e\0f\0i\0\0\0"sv), "a");
  EXPECT_EQ(selected("\6\0\0\0a\0b\0"sv), "ab");
  for (std::string_view bad : {""sv, "\6\0"sv, "\6\0\0\0"sv, "\6\0\0\0\0\0"sv, "\6\0\0\0a"sv,
                               "\6\0\0\0a\1\0\0"sv, "\6\0\0\0\xe4\0\0\0"sv}) {
    EXPECT_EQ(selected(bad), std::nullopt);
  }
}

TEST_F(EfiVariablesTest, AllEntriesAndTheOneForTheNextBoot) {
  EXPECT_TRUE(loader_entries(directory_)->empty());
  set("LoaderEntries", "\6\0\0\0a\0.\0e\0f\0i\0\0\0b\0+\0002\0.\0e\0f\0i\0\0\0"sv);
  EXPECT_EQ(loader_entries(directory_).value(), (std::vector<std::string>{"a.efi", "b+2.efi"}));
  // Another system's entry is no reason not to see ours.
  set("LoaderEntries", "\6\0\0\0\xe4\0.\0\0\0b\0\0\0"sv);
  EXPECT_EQ(loader_entries(directory_).value(), (std::vector<std::string>{"", "b"}));
  EXPECT_FALSE(is_counted_boot(directory_).value());
  set("LoaderBootCountPath", "\6\0\0\0x\0\0\0"sv);
  EXPECT_TRUE(is_counted_boot(directory_).value());

  for (const char* name : {"a.efi", "b+2.efi"}) {
    ASSERT_TRUE(start_once(directory_, name));
    EXPECT_EQ(entry_wishes(directory_)->one_shot, name);
  }
  EXPECT_EQ(start_once(directory_, "\xe4.efi").error().code, ErrorCode::kInvalidInput);
  EXPECT_EQ(entry_wishes(directory_)->one_shot, "b+2.efi");
  set("LoaderEntryPreferred", "\6\0\0\0a\0\0\0"sv);
  ASSERT_TRUE(withdraw_entry_wishes(directory_));
  EXPECT_EQ(entry_wishes(directory_)->one_shot, "");
  EXPECT_FALSE(std::filesystem::exists(
      directory_ + "/LoaderEntryPreferred-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"));
  EXPECT_FALSE(start_once(directory_ + "/none", "a.efi"));
}

TEST_F(EfiVariablesTest, ThePartitionThatTheMachineWasBootedFrom) {
  auto wide = [](std::string_view text) {
    std::string value("\6\0\0\0", 4);
    for (char c : text) value += {c, '\0'};
    return value + std::string("\0\0", 2);
  };
  EXPECT_EQ(booted_partition(directory_).value(), std::nullopt);
  set("LoaderDevicePartUUID", wide("C12A7328-F81F-11D2-BA4B-00A0C93EC93B"));
  EXPECT_EQ(booted_partition(directory_).value(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
  for (const char* bad : {"", "C12A7328", "../../../../../../../../../../../../etc",
                          "c12a7328/f81f/11d2/ba4b/00a0c93ec93b"}) {
    set("LoaderDevicePartUUID", wide(bad));
    EXPECT_EQ(booted_partition(directory_).value(), std::nullopt) << bad;
  }
}

}  // namespace
}  // namespace cfs::boot
