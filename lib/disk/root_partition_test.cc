// SPDX-License-Identifier: Apache-2.0
#include "lib/disk/root_partition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "lib/base/io.h"
#include "lib/base/subprocess.h"
#include "lib/disk/ext4_layout.h"
#include "lib/verity/merkle.h"

namespace cfs::disk {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t kMiB = 1U << 20;
constexpr uint64_t kOffset = 3 * kMiB;
constexpr int64_t kTime = 1'700'000'000;

/// What e2fsprogs says of the file system; fails the test unless the program succeeds.
std::string say(std::vector<std::string> arguments) {
  std::vector<std::string> shell = {"sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; \"$@\" 2>&1", "sh"};
  shell.insert(shell.end(), arguments.begin(), arguments.end());
  Result<std::string> said = run_command({.arguments = shell});
  EXPECT_TRUE(said) << arguments[0] << ": " << said.error().describe();
  return said.value_or("");
}

/// The number behind `label` in the superblock as debugfs prints it.
uint64_t number_of(const std::string& super, const std::string& label) {
  size_t position = super.find(label);
  EXPECT_NE(position, std::string::npos) << label;
  return std::stoull(super.substr(position + label.size()));
}

class RootPartitionTest : public ::testing::Test {
 protected:
  /// Makes the file system of a plan; returns its size.
  uint64_t make(const DiskPlan& plan) {
    const std::string path = directory_.path() + "/disk";
    EXPECT_TRUE(remove_file(AT_FDCWD, path));
    EXPECT_TRUE(write_file_atomically(AT_FDCWD, path, {}));
    Result<uint64_t> size = make_root(directory_.path(), "disk", kOffset, plan, kTime);
    EXPECT_TRUE(size) << size.error().describe();
    return size.value_or(0);
  }
  [[nodiscard]] std::string file_system() const {
    return directory_.path() + "/disk?offset=" + std::to_string(kOffset);
  }
  [[nodiscard]] std::string super() const {
    return say({"debugfs", "-R", "show_super_stats -h", file_system()});
  }

  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
};

RootEntry object(uint64_t number, uint64_t size_bytes) {
  std::string content(size_bytes, 'x');
  content.replace(0, 0, std::to_string(number) + "\n");
  verity::Digest digest = verity::digest_of(as_bytes(content));
  return {.path = "cfs/objects/" + digest.object_path(),
          .mode = S_IFREG | 0444,
          .mtime_seconds = kTime,
          .content = std::move(content),
          .verity = digest};
}

TEST_F(RootPartitionTest, HasTheFreeSpaceThatWasAskedForAtEverySize) {
  std::mt19937_64 random(12);
  std::vector<uint64_t> sizes = {0,         1,          4096,       kMiB,           10 * kMiB,
                                 50 * kMiB, 100 * kMiB, 127 * kMiB, 128 * kMiB - 1, 1024 * kMiB};
  // Beyond 64 MiB and 1 GiB the journal is larger.
  while (sizes.size() < 200) {
    sizes.push_back(random() % (sizes.size() % 20 == 0 ? 1100 : 80) * kMiB + random() % kMiB);
  }
  for (size_t i = 0; i < sizes.size(); ++i) {
    DiskPlan plan{
        .seed = std::to_string(i), .esp_files = {}, .root_free_bytes = sizes[i], .on_progress = {}};
    for (uint64_t number = random() % 60; number > 0; --number) {
      plan.root_entries.push_back(object(number, random() % (number % 10 == 0 ? 400'000 : 9'000)));
    }
    SCOPED_TRACE("free " + std::to_string(sizes[i]) + ", objects " +
                 std::to_string(plan.root_entries.size()));
    ::testing::internal::CaptureStderr();
    const uint64_t size_bytes = make(plan);
    EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
    const std::string text = super();
    const uint64_t left =
        (number_of(text, "Free blocks:") - number_of(text, "Reserved block count:")) * kBlockBytes;
    const uint64_t for_users = left - kernel_reserve_bytes(size_bytes);
    EXPECT_GE(left, kernel_reserve_bytes(size_bytes));
    EXPECT_GE(for_users, sizes[i]);
    EXPECT_LE(for_users, sizes[i] + sizes[i] / 25 + 12 * kMiB);
    if (i % 10 == 0) {
      EXPECT_THAT(say({"e2fsck", "-fn", file_system()}), Not(HasSubstr("Fix")));
    }
    if (HasFailure()) return;
  }
}

TEST_F(RootPartitionTest, RootHasRoomForOneMoreReleaseWhenOthersHaveFilledTheDisk) {
  DiskPlan plan{.seed = "s", .esp_files = {}, .root_free_bytes = 5 * kMiB, .on_progress = {}};
  uint64_t content_bytes = 0;
  for (uint64_t number = 0; number < 100; ++number) {
    plan.root_entries.push_back(object(number, 300'000));
    content_bytes += 300'000;
  }
  make(plan);
  const std::string text = super();
  EXPECT_GE(number_of(text, "Reserved block count:") * kBlockBytes, content_bytes + 4 * kMiB);
  EXPECT_THAT(text, HasSubstr("Reserved blocks uid:      0 (user root)"));
  // And names for as many files again.
  EXPECT_GE(number_of(text, "Free inodes:"), 100U + 512U);
}

TEST_F(RootPartitionTest, AnErrorInTheMetadataMakesItReadOnly) {
  DiskPlan plan{.seed = "s", .esp_files = {}, .root_free_bytes = 0, .on_progress = {}};
  make(plan);
  EXPECT_THAT(super(), HasSubstr("Errors behavior:          Remount read-only"));
}

}  // namespace
}  // namespace cfs::disk
