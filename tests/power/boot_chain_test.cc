// SPDX-License-Identifier: Apache-2.0
// The chain of a disk that cfs-deploy has made, whole and damaged in each of its links.
#include "tests/power/boot_chain.h"

#include <filesystem>

#include "deployer/test_support.h"
#include "lib/base/subprocess.h"
#include "lib/disk/ext4_layout.h"
#include "lib/sysroot/layout.h"

namespace cfs::power {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class BootChainTest : public deployer::DeviceTest {
 protected:
  static std::string say(std::vector<std::string> arguments) {
    std::vector<std::string> shell = {
        "sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; \"$@\" 2>&1 || echo failed", "sh"};
    shell.insert(shell.end(), arguments.begin(), arguments.end());
    return cfs::run_command({.arguments = shell}).value_or("cannot run a shell");
  }
  std::string debugfs(const std::string& request) {
    return say({"debugfs", "-w", "-R", request, path("root.img")});
  }

  /// A disk takes a second to make: each test gets a copy of one.
  void SetUp() override {
    if (!made_) {
      made_.emplace(TemporaryDirectory::create().value());
      release_ = offer(deployer::first_release());
      const std::string disk = made_->path() + "/disk";
      ASSERT_DONE(run_command({"install", "--disk", disk, "--url", server_.url(), "--root",
                               path("root.json"), "--name", "test", "--free", "1MiB"}));
      std::string table = say({"sfdisk", "--dump", disk});
      size_t second = table.find("start=", table.find("start=") + 1);
      const std::string skip = std::to_string(std::stoull(table.substr(second + 6)) / 2048);
      say({"dd", "if=" + disk, "of=" + made_->path() + "/root.img", "bs=1M", "skip=" + skip,
           "conv=sparse", "status=none"});
      say({"mcopy", "-s", "-n", "-i", disk + "@@1M", "::/EFI", "::/loader", made_->path()});
    }
    say({"cp", "--sparse=always", made_->path() + "/root.img", path("root.img")});
    say({"cp", "-r", made_->path() + "/EFI", made_->path() + "/loader", path("esp")});
    published_[release_.image.digest] = release_.file_with_role("uki")->sha256;
    image_object_ = sysroot::object_path(release_.image.digest);
  }
  static void TearDownTestSuite() { made_.reset(); }

  Result<verity::Digest> check() {
    boot::SystemdBoot esp = loader();
    Ext4Files files = CFS_TRY(Ext4Files::open(path("root.img")));
    Device device(esp, CFS_TRY(open_at(AT_FDCWD, path("esp"), O_RDONLY | O_DIRECTORY)), &files,
                  published_);
    boot::BootEntry booted = CFS_TRY(device.check_boots());
    objects_ = device.object_count();
    CFS_TRY(device.check_could_boot(*booted.digest));
    return *booted.digest;
  }
  void expect_broken(ErrorCode code, const std::string& words) {
    Result<verity::Digest> booted = check();
    ASSERT_FALSE(booted) << words;
    EXPECT_EQ(booted.error().code, code) << booted.error().describe();
    EXPECT_THAT(booted.error().describe(), HasSubstr(words));
  }
  /// Changes a byte of what lies on the disk for a file, at that offset, which may be behind its
  /// end.
  void flip(const std::string& file, uint64_t offset) {
    const std::string block =
        debugfs("bmap /cfs/" + file + " " + std::to_string(offset / disk::kBlockBytes));
    const uint64_t number = std::stoull(block.substr(block.find('\n') + 1));
    ASSERT_NE(number, 0U) << block;
    const uint64_t at = number * disk::kBlockBytes + offset % disk::kBlockBytes;
    UniqueFd disk = open_at(AT_FDCWD, path("root.img"), O_RDWR).value();
    std::byte byte{};
    ASSERT_TRUE(pread_full(disk.get(), std::span(&byte, 1), at));
    byte ^= std::byte{1};
    ASSERT_TRUE(pwrite_full(disk.get(), Bytes(&byte, 1), at));
  }
  static std::string object_of(const std::string& file) {
    return sysroot::object_path(
        verity::digest_of(as_bytes(deployer::first_release().files.at(file))));
  }

  static inline std::optional<TemporaryDirectory> made_;
  static inline release::ReleaseDescription release_;
  Device::Published published_;
  std::string image_object_;
  size_t objects_ = 0;
};

constexpr const char* kSomeFile = "/usr/bin/program5";  // several blocks

TEST_F(BootChainTest, AWholeDeviceBoots) {
  Result<verity::Digest> booted = check();
  ASSERT_TRUE(booted) << booted.error().describe();
  EXPECT_EQ(*booted, release_.image.digest);
  EXPECT_EQ(objects_, release_.objects.count + 1);
}

TEST_F(BootChainTest, AnObjectIsDamagedOrMissing) {
  flip(object_of(kSomeFile), 5000);
  expect_broken(ErrorCode::kDigestMismatch, object_of(kSomeFile));
  debugfs("rm /cfs/" + object_of(kSomeFile));
  expect_broken(ErrorCode::kNotFound, object_of(kSomeFile));
}

TEST_F(BootChainTest, TheImageIsDamagedOrMissing) {
  flip(image_object_, 4000);
  expect_broken(ErrorCode::kDigestMismatch, image_object_);
  debugfs("rm /cfs/" + image_object_);
  expect_broken(ErrorCode::kNotFound, image_object_);
}

TEST_F(BootChainTest, AnObjectHasNoVerity) {
  debugfs("sif /cfs/" + object_of(kSomeFile) + " flags 0x80000");
  expect_broken(ErrorCode::kNoVerity, object_of(kSomeFile));
}

TEST_F(BootChainTest, TheMerkleTreeIsDamaged) {
  flip(object_of(kSomeFile), disk::kVerityAlignmentBytes + 40);
  expect_broken(ErrorCode::kCorrupt, "another Merkle tree");
}

TEST_F(BootChainTest, TheDescriptorIsDamaged) {
  flip(object_of(kSomeFile), disk::kVerityAlignmentBytes + disk::kBlockBytes + 9);
  expect_broken(ErrorCode::kCorrupt, "another descriptor");
}

TEST_F(BootChainTest, TheDescriptorIsNotFound) {
  flip(object_of(kSomeFile), disk::kVerityAlignmentBytes + 2 * disk::kBlockBytes - 4);
  expect_broken(ErrorCode::kCorrupt, "another size of the descriptor");
}

TEST_F(BootChainTest, TheLinkOfTheImageLeadsElsewhere) {
  const std::string link = "/cfs/" + sysroot::image_path(release_.image.digest);
  debugfs("rm " + link);
  expect_broken(ErrorCode::kNotFound, "images/");
  debugfs("symlink " + link + " ../" + object_of(kSomeFile));
  expect_broken(ErrorCode::kCorrupt, "points elsewhere");
}

TEST_F(BootChainTest, TheUkiIsTorn) {
  const std::string uki = path(file_of(boots_next()));
  const uint64_t size = std::filesystem::file_size(uki);
  {
    UniqueFd fd = open_at(AT_FDCWD, uki, O_RDWR).value();
    const std::string zeros(512, '\0');
    ASSERT_TRUE(pwrite_full(fd.get(), as_bytes(zeros), size - 1024));
  }
  expect_broken(ErrorCode::kDigestMismatch, "not as it was published");
  std::filesystem::resize_file(uki, size / 2);
  expect_broken(ErrorCode::kNotFound, "no entry to start");
}

TEST_F(BootChainTest, TheUkiIsNotOfARelease) {
  published_.clear();
  expect_broken(ErrorCode::kCorrupt, "is not the image of a release");
}

TEST_F(BootChainTest, TheBootLoaderHasNothingToStart) {
  std::filesystem::remove(path(file_of(boots_next())));
  EXPECT_FALSE(check());
}

TEST_F(BootChainTest, TheBootLoaderStartsWhatIsNotInstalled) {
  release::ReleaseDescription other = offer(deployer::second_release());
  const release::ReleaseFile& uki = *other.file_with_role("uki");
  const std::string entry = "cfs_2_0123456789ab.0";
  write(file_of(entry), repository_.files[release::target_path(uki.sha256.hex(), uki.name)]);
  write("esp/loader/loader.conf", boot::loader_conf(entry).value());
  expect_broken(ErrorCode::kCorrupt, "is not the image of a release");
  published_[other.image.digest] = uki.sha256;
  expect_broken(ErrorCode::kNotFound, sysroot::image_path(other.image.digest));
}

TEST_F(BootChainTest, AJournalThatWasNotReplayedIsRefused) {
  debugfs("feature needs_recovery");
  expect_broken(ErrorCode::kInvalidInput, "journal");
}

}  // namespace
}  // namespace cfs::power
