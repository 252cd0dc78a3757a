// SPDX-License-Identifier: Apache-2.0
#include "lib/disk/esp_partition.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/relative_path.h"
#include "lib/base/subprocess.h"
#include "lib/disk/content.h"
#include "lib/disk/host_program.h"
#include "lib/sysroot/layout.h"

namespace cfs::disk {
namespace {

constexpr uint64_t kSectorBytes = 512;
constexpr int64_t kFirstFatTime = 315532800;  // 1980-01-01
/// From this size on clusters have 4 KiB, below it 512 bytes: FAT32 needs at least 65,525 clusters.
constexpr uint64_t kLargeBytes = 512ULL << 20U;
/// The two FATs (at most 1/64 of the file system), reserved sectors, directories.
constexpr uint64_t overhead_bytes(uint64_t size_bytes) { return size_bytes / 32 + (1U << 20); }

/// Characters that mean the same to mtools, FAT and us.
bool is_fat_path(const std::string& path) {
  return is_plain_path(path) && std::all_of(path.begin(), path.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                  c == '/' || c == '.' || c == '-' || c == '_' || c == '+' || c == '~';
         });
}

Result<std::string> absolute(const std::string& path) {
  char* resolved = ::realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return errno_error("cannot find '" + path + "'");
  std::string result = resolved;
  ::free(resolved);
  return result;
}

Result<> check(std::span<const EspFile> files, uint64_t size_bytes) {
  uint64_t needed = overhead_bytes(size_bytes);
  std::set<std::string> names;  // FAT names do not differ by case; mcopy would ask at a clash
  for (const EspFile& file : files) {
    std::string lower = file.path;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    if (!is_fat_path(file.path) || !names.insert(lower).second) {
      return make_error(ErrorCode::kInvalidInput,
                        "'" + file.path + "' cannot be on an ESP, or twice");
    }
    needed += align_up(CFS_TRY(size_of(file.content)), 4096);
  }
  if (needed > size_bytes) {
    return make_error(ErrorCode::kNoSpace, fmt::format("the ESP of {} bytes is too small: its "
                                                       "files need {} bytes",
                                                       size_bytes, needed));
  }
  return {};
}

}  // namespace

Result<> make_esp(const std::string& directory, const std::string& name, const Extent& extent,
                  uint32_t volume_id, int64_t source_date_epoch, std::span<const EspFile> files) {
  CFS_TRY(check(files, extent.size_bytes));
  std::string mkfs = CFS_TRY(find_program("mkfs.vfat", "dosfstools"));
  std::string mmd = CFS_TRY(find_program("mmd", "mtools"));
  std::string mcopy = CFS_TRY(find_program("mcopy", "mtools"));
  auto run = [&](std::vector<std::string> arguments) -> Result<> {
    CFS_TRY(check_interrupted());
    CFS_TRY(
        run_command({.arguments = std::move(arguments),
                     .environment = {"SOURCE_DATE_EPOCH=" +
                                         std::to_string(std::max(kFirstFatTime, source_date_epoch)),
                                     "MTOOLSRC=/dev/null", "MTOOLS_SKIP_CHECK=1"},
                     .working_directory = directory}));
    return {};
  };

  // --invariant: mkfs.vfat 4.2 takes the label's creation time from the clock otherwise.
  CFS_TRY(run({mkfs, "--invariant", "-F", "32", "-S", std::to_string(kSectorBytes), "-s",
               extent.size_bytes >= kLargeBytes ? "8" : "1", "-n", sysroot::kEspLabel, "-i",
               fmt::format("{:08x}", volume_id),
               "--offset=" + std::to_string(extent.offset_bytes / kSectorBytes), name,
               std::to_string(extent.size_bytes / 1024)}));

  const std::string drive = name + "@@" + std::to_string(extent.offset_bytes);
  std::set<std::string> directories;
  for (const EspFile& file : files) {
    for (size_t slash = file.path.find('/'); slash != std::string::npos;
         slash = file.path.find('/', slash + 1)) {
      directories.insert("::" + file.path.substr(0, slash));
    }
  }
  if (!directories.empty()) {
    std::vector<std::string> arguments = {mmd, "-i", drive};
    arguments.insert(arguments.end(), directories.begin(), directories.end());
    CFS_TRY(run(std::move(arguments)));
  }
  TemporaryDirectory texts = CFS_TRY(TemporaryDirectory::create(directory));
  for (const EspFile& file : files) {
    std::string source;
    if (const auto* text = std::get_if<std::string>(&file.content)) {
      source = texts.path() + "/text";
      CFS_TRY(write_file_atomically(AT_FDCWD, source, as_bytes(*text)));
    } else {
      source = std::get<HostFile>(file.content).path;
    }
    source = CFS_TRY(absolute(source));
    CFS_TRY_WITH("while copying '" + file.path + "' to the ESP",
                 run({mcopy, "-i", drive, source, "::" + file.path}));
  }
  return {};
}

}  // namespace cfs::disk
