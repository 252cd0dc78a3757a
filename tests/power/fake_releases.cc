// SPDX-License-Identifier: Apache-2.0
// Makes release repositories of a few small files.
//
//     fake_releases DIR COUNT
//
// DIR/<n> is the repository when release n was the newest. Prints for each release "n DIGEST
// SHA256": its image, and its UKI, which has a kernel that is none.
#include <cstdio>
#include <cstdlib>

#include "deployer/fake_release.h"
#include "lib/base/io.h"

namespace {

using cfs::deployer::FakeRelease;
using cfs::deployer::random_text;

/// Each release changes a file, adds one, and lacks the one that the release before it added.
FakeRelease release(uint64_t number) {
  FakeRelease made{.version = std::to_string(number), .epoch = number};
  for (uint64_t i = 0; i < 24; ++i) {
    const uint64_t seed = i == number % 24 ? 1000 + number : i;
    made.files["/usr/bin/program" + std::to_string(i)] = random_text(100 + 1500 * i, seed);
  }
  made.files["/usr/bin/new" + std::to_string(number)] = random_text(20'000, 2000 + number);
  made.files["/etc/hostname"] = "device";
  made.files["/var/lib/data"] = random_text(5000, 3000);
  return made;
}

cfs::Result<> run(const std::string& directory, uint64_t count) {
  cfs::trust::FakeRepository repository;
  for (uint64_t number = 1; number <= count; ++number) {
    cfs::release::ReleaseDescription made =
        CFS_TRY(cfs::deployer::publish(repository, release(number)));
    repository.publish_next();
    CFS_TRY(cfs::deployer::write_repository(repository, directory + "/" + std::to_string(number)));
    (void)std::printf("%s %s %s\n", made.version.c_str(), made.image.digest.hex().c_str(),
                      made.file_with_role("uki")->sha256.hex().c_str());
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return cfs::exit_status(cfs::ErrorCode::kUsage);
  cfs::Result<> done = run(argv[1], std::strtoull(argv[2], nullptr, 10));
  if (done) return 0;
  (void)std::fprintf(stderr, "%s\n", done.error().describe().c_str());
  return cfs::exit_status(done.error().code);
}
