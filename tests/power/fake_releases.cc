// SPDX-License-Identifier: Apache-2.0
// Makes release repositories of a few small files.
//
//     fake_releases DIR COUNT [FILES]
//
// DIR/<n> is the repository when release n was the newest; all share their contents. Each release
// has so many tiny FILES of its own besides. Prints for each "n DIGEST SHA256": its image, and its
// UKI, which has a kernel that is none.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "deployer/fake_release.h"
#include "lib/base/io.h"

namespace {

using cfs::deployer::FakeRelease;
using cfs::deployer::random_text;

/// Each release changes a file, adds one, and lacks the one that the release before it added.
FakeRelease release(uint64_t number, uint64_t files) {
  FakeRelease made{.version = std::to_string(number), .epoch = number};
  for (uint64_t i = 0; i < 24; ++i) {
    const uint64_t seed = i == number % 24 ? 1000 + number : i;
    made.files["/usr/bin/program" + std::to_string(i)] = random_text(100 + 1500 * i, seed);
  }
  for (uint64_t i = 0; i < files; ++i) {
    std::string directory = "/usr/share/" + std::to_string(number) + "/" + std::to_string(i / 1000);
    made.files[directory + "/" + std::to_string(i)] = random_text(100, number * 1'000'000 + i);
  }
  made.files["/usr/bin/new" + std::to_string(number)] = random_text(20'000, 2000 + number);
  made.files["/etc/hostname"] = "device";
  made.files["/var/lib/data"] = random_text(5000, 3000);
  return made;
}

/// Contents go by way of symlinks to where all repositories have them.
cfs::Result<> write(cfs::trust::FakeRepository& repository, const std::string& directory,
                    uint64_t number) {
  const std::string path = directory + "/" + std::to_string(number);
  CFS_TRY(cfs::make_directories(AT_FDCWD, path));
  for (const std::string name : {"obj", "rel", "targets"}) {
    CFS_TRY(cfs::make_directories(AT_FDCWD, directory + "/" + name));
    if (::symlink(("../" + name).c_str(), (path + "/" + name).c_str()) != 0) {
      return cfs::errno_error("cannot make '" + path + "/" + name + "'");
    }
  }
  CFS_TRY(cfs::deployer::write_repository(repository, path));
  std::erase_if(repository.files,
                [](const auto& file) { return !file.first.starts_with("metadata/"); });
  return {};
}

cfs::Result<> run(const std::string& directory, uint64_t count, uint64_t files) {
  cfs::trust::FakeRepository repository;
  for (uint64_t number = 1; number <= count; ++number) {
    cfs::release::ReleaseDescription made =
        CFS_TRY(cfs::deployer::publish(repository, release(number, files)));
    repository.publish_next();
    CFS_TRY(write(repository, directory, number));
    (void)std::printf("%s %s %s\n", made.version.c_str(), made.image.digest.hex().c_str(),
                      made.file_with_role("uki")->sha256.hex().c_str());
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 4) return cfs::exit_status(cfs::ErrorCode::kUsage);
  const uint64_t files = argc == 4 ? std::strtoull(argv[3], nullptr, 10) : 0;
  cfs::Result<> done = run(argv[1], std::strtoull(argv[2], nullptr, 10), files);
  if (done) return 0;
  (void)std::fprintf(stderr, "%s\n", done.error().describe().c_str());
  return cfs::exit_status(done.error().code);
}
