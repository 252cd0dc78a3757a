// SPDX-License-Identifier: Apache-2.0
#include "initramfs/root_device.h"

#include <time.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <utility>
#include <vector>

#include "lib/base/hex.h"
#include "lib/base/io.h"
#include "lib/base/little_endian.h"

namespace cfs::initramfs {
namespace {

constexpr size_t kUeventLimitBytes = 16 << 10;
constexpr long kPollNanoseconds = 50'000'000;

// ext4: the superblock is at 1024.
constexpr size_t kExtMagicOffset = 1024 + 0x38;
constexpr size_t kExtUuidOffset = 1024 + 0x68;
constexpr size_t kExtLabelOffset = 1024 + 0x78;
constexpr size_t kExtLabelBytes = 16;
constexpr std::string_view kExtMagic = "\x53\xef";

// btrfs: the superblock is at 64 KiB.
constexpr size_t kBtrfsMagicOffset = 0x10000 + 0x40;
constexpr size_t kBtrfsUuidOffset = 0x10000 + 0x20;
constexpr size_t kBtrfsLabelOffset = 0x10000 + 0x12b;
constexpr size_t kBtrfsLabelBytes = 256;
constexpr std::string_view kBtrfsMagic = "_BHRfS_M";
static_assert(kBtrfsLabelOffset + kBtrfsLabelBytes <= kIdentifyBytes);

std::string uuid_text(Bytes raw) {
  std::string hex = to_hex(raw);
  for (size_t position : {20U, 16U, 12U, 8U}) hex.insert(position, "-");
  return hex;
}

// GPT fields: offsets in the header, which is the disk's second block, and in an entry.
constexpr std::string_view kGptSignature = "EFI PART";
constexpr size_t kGptHeaderBytes = 92;
constexpr size_t kGptEntriesBlockOffset = 72;
constexpr size_t kGptEntryCountOffset = 80;
constexpr size_t kGptEntryBytesOffset = 84;
constexpr size_t kGptEntryUuidOffset = 16;
constexpr size_t kGptMinEntryBytes = 128;

// MBR fields.
constexpr size_t kMbrBytes = 512;
constexpr size_t kMbrDiskIdOffset = 440;
constexpr size_t kMbrMagicOffset = 510;
constexpr std::string_view kMbrMagic = "\x55\xaa";

template <typename T>
T load(Bytes bytes, size_t offset) {
  LittleEndian<T> value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

// The first three fields of a GUID are little-endian.
std::string guid_text(Bytes raw) {
  std::array<std::byte, 16> bytes;
  std::copy(raw.begin(), raw.end(), bytes.begin());
  std::reverse(bytes.begin(), bytes.begin() + 4);
  std::reverse(bytes.begin() + 4, bytes.begin() + 6);
  std::reverse(bytes.begin() + 6, bytes.begin() + 8);
  return uuid_text(bytes);
}

size_t number_or(const std::string& text, size_t otherwise) {
  size_t value = 0;
  auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failure == std::errc() && end != text.data() ? value : otherwise;
}

std::string label_text(Bytes raw) {
  std::string_view text = as_text(raw);
  return std::string(text.substr(0, text.find('\0')));
}

// The value of `KEY=` in a uevent file (one variable a line).
std::string uevent_value(std::string_view uevent, const std::string& key) {
  std::string prefix = key + "=";
  while (!uevent.empty()) {
    std::string_view line = uevent.substr(0, uevent.find('\n'));
    if (line.substr(0, prefix.size()) == prefix) return std::string(line.substr(prefix.size()));
    uevent.remove_prefix(std::min(uevent.size(), line.size() + 1));
  }
  return "";
}

// nullopt: nothing to be read there, or nothing we know.
std::optional<Superblock> read_superblock(const std::string& path) {
  Result<UniqueFd> fd = open_at(AT_FDCWD, path, O_RDONLY | O_NONBLOCK);
  if (!fd) return std::nullopt;
  std::vector<std::byte> start(kIdentifyBytes);
  Result<size_t> count = pread_full(fd->get(), start, 0);
  if (!count) return std::nullopt;
  return identify_superblock(Bytes(start).first(*count));
}

// The kernel's uevents of 6.12 have a partition's number and name but not its id, so the table on
// the disk it is part of is read. "": not a partition.
std::string read_partition_uuid(const std::string& sys_path, std::string_view uevent,
                                const std::string& dev) {
  size_t number = number_or(uevent_value(uevent, "PARTN"), 0);
  if (number == 0) return "";
  std::string disk = sys_path + "/..";  // the directory of a partition lies in that of its disk
  Result<std::string> disk_uevent = read_file(AT_FDCWD, disk + "/uevent", kUeventLimitBytes);
  Result<std::string> block_bytes =
      read_file(AT_FDCWD, disk + "/queue/logical_block_size", kUeventLimitBytes);
  if (!disk_uevent || !block_bytes) return "";
  Result<UniqueFd> fd =
      open_at(AT_FDCWD, dev + "/" + uevent_value(*disk_uevent, "DEVNAME"), O_RDONLY | O_NONBLOCK);
  if (!fd) return "";
  std::vector<std::byte> start(kPartitionTableBytes);
  Result<size_t> count = pread_full(fd->get(), start, 0);
  if (!count) return "";
  return partition_uuid(Bytes(start).first(*count), number_or(*block_bytes, 512), number);
}

double now_seconds() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

}  // namespace

std::optional<Superblock> identify_superblock(Bytes start) {
  auto has = [&](size_t offset, std::string_view magic) {
    return start.size() >= offset + magic.size() &&
           as_text(start.subspan(offset, magic.size())) == magic;
  };
  if (has(kExtMagicOffset, kExtMagic) && start.size() >= kExtLabelOffset + kExtLabelBytes) {
    return Superblock{"ext4", label_text(start.subspan(kExtLabelOffset, kExtLabelBytes)),
                      uuid_text(start.subspan(kExtUuidOffset, 16))};
  }
  if (has(kBtrfsMagicOffset, kBtrfsMagic) && start.size() >= kBtrfsLabelOffset + kBtrfsLabelBytes) {
    return Superblock{"btrfs", label_text(start.subspan(kBtrfsLabelOffset, kBtrfsLabelBytes)),
                      uuid_text(start.subspan(kBtrfsUuidOffset, 16))};
  }
  return std::nullopt;
}

std::string partition_uuid(Bytes start, size_t block_bytes, size_t number) {
  if (number == 0) return "";
  if (start.size() / 2 >= block_bytes && block_bytes >= kGptHeaderBytes) {
    Bytes header = start.subspan(block_bytes, block_bytes);
    if (as_text(header.first(kGptSignature.size())) == kGptSignature) {
      auto entries_block = load<uint64_t>(header, kGptEntriesBlockOffset);
      auto entry_count = load<uint32_t>(header, kGptEntryCountOffset);
      auto entry_bytes = load<uint32_t>(header, kGptEntryBytesOffset);
      if (number > entry_count || entry_bytes < kGptMinEntryBytes ||
          entries_block > start.size() / block_bytes) {
        return "";
      }
      uint64_t offset = entries_block * block_bytes + uint64_t{entry_bytes} * (number - 1);
      if (offset > start.size() || start.size() - offset < kGptMinEntryBytes) return "";
      return guid_text(start.subspan(offset + kGptEntryUuidOffset, 16));
    }
  }
  if (start.size() >= kMbrBytes &&
      as_text(start.subspan(kMbrMagicOffset, kMbrMagic.size())) == kMbrMagic && number <= 255) {
    auto big_endian = [](uint32_t value) {
      std::array<std::byte, 4> bytes;
      for (size_t i = 0; i < 4; ++i) bytes[3 - i] = static_cast<std::byte>(value >> (8 * i));
      return to_hex(bytes);
    };
    return big_endian(load<uint32_t>(start, kMbrDiskIdOffset)) + "-" +
           big_endian(static_cast<uint32_t>(number)).substr(6);
  }
  return "";
}

Result<std::optional<RootDevice>> find_root_device(const kernel_cmdline::RootSpec& spec,
                                                   const std::string& block_class,
                                                   const std::string& dev) {
  using Kind = kernel_cmdline::RootSpec::Kind;
  for (const std::string& name : CFS_TRY(list_directory(AT_FDCWD, block_class))) {
    Result<std::string> uevent =
        read_file(AT_FDCWD, block_class + "/" + name + "/uevent", kUeventLimitBytes);
    if (!uevent) continue;  // just unplugged
    std::string path = dev + "/" + uevent_value(*uevent, "DEVNAME");
    if (spec.kind == Kind::kPath && path != spec.value) continue;
    if (spec.kind == Kind::kPartLabel && uevent_value(*uevent, "PARTNAME") != spec.value) continue;
    if (spec.kind == Kind::kPartUuid &&
        read_partition_uuid(block_class + "/" + name, *uevent, dev) != spec.value) {
      continue;
    }
    std::optional<Superblock> superblock = read_superblock(path);
    if (!superblock) continue;
    if (spec.kind == Kind::kLabel && superblock->label != spec.value) continue;
    if (spec.kind == Kind::kUuid && superblock->uuid != spec.value) continue;
    return std::optional<RootDevice>(RootDevice{path, superblock->type});
  }
  return std::optional<RootDevice>();
}

Result<RootDevice> wait_for_root_device(const kernel_cmdline::RootSpec& spec,
                                        unsigned timeout_seconds) {
  double deadline = now_seconds() + timeout_seconds;
  for (;;) {
    std::optional<RootDevice> device = CFS_TRY(find_root_device(spec, "/sys/class/block", "/dev"));
    if (device) return *std::move(device);
    if (now_seconds() >= deadline) {
      return make_error(ErrorCode::kNotFound, "no ext4 or btrfs file system '" + spec.value +
                                                  "' appeared within " +
                                                  std::to_string(timeout_seconds) + " s");
    }
    timespec pause = {.tv_sec = 0, .tv_nsec = kPollNanoseconds};
    (void)::nanosleep(&pause, nullptr);
  }
}

}  // namespace cfs::initramfs
