// SPDX-License-Identifier: Apache-2.0
#include "initramfs/root_device.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <utility>
#include <vector>

#include "initramfs/ext4_superblock.h"
#include "initramfs/uevent.h"
#include "lib/base/hex.h"
#include "lib/base/io.h"
#include "lib/base/little_endian.h"

namespace cfs::initramfs {
namespace {

constexpr size_t kAttributeLimitBytes = 16 << 10;

// ext4.
constexpr size_t kExtUuidOffset = kExtSuperblockOffset + 0x68;
constexpr size_t kExtLabelOffset = kExtSuperblockOffset + 0x78;
constexpr size_t kExtLabelBytes = 16;

// btrfs: the superblock is at 64 KiB.
constexpr size_t kBtrfsMagicOffset = 0x10000 + 0x40;
constexpr size_t kBtrfsUuidOffset = 0x10000 + 0x20;
constexpr size_t kBtrfsLabelOffset = 0x10000 + 0x12b;
constexpr size_t kBtrfsLabelBytes = 256;
constexpr std::string_view kBtrfsMagic = "_BHRfS_M";

// The blocks that these fields lie in.
constexpr size_t kSuperblockBlockBytes = 4096;
constexpr size_t kExtBlockOffset = 0;
constexpr size_t kBtrfsBlockOffset = 0x10000;
static_assert(kExtLabelOffset + kExtLabelBytes <= kExtBlockOffset + kSuperblockBlockBytes);
static_assert(kBtrfsLabelOffset + kBtrfsLabelBytes <= kBtrfsBlockOffset + kSuperblockBlockBytes);
static_assert(kBtrfsBlockOffset + kSuperblockBlockBytes == kIdentifyBytes);

std::string uuid_text(Bytes raw) {
  std::string hex = to_hex(raw);
  for (size_t position : {20U, 16U, 12U, 8U}) hex.insert(position, 1, '-');
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

std::string read_attribute(const std::string& path) {
  Result<std::string> text = read_file(AT_FDCWD, path, kAttributeLimitBytes);
  return text ? *std::move(text) : std::string();
}

// Partition tables, read once a look.
class Disks {
 public:
  explicit Disks(const std::string& dev) : dev_(dev) {}

  // The kernel's uevents of 6.12 have a partition's number and name but not its id, so the table on
  // the disk is read. `sys_path`: the disk's directory in /sys.
  std::string partition_uuid_on(const std::string& disk, const std::string& sys_path,
                                size_t number) {
    auto [found, is_new] = starts_.try_emplace(disk);
    if (is_new) found->second = read_start(disk);
    size_t block_bytes = number_or(read_attribute(sys_path + "/queue/logical_block_size"), 512);
    return partition_uuid(found->second, block_bytes, number);
  }

 private:
  [[nodiscard]] std::vector<std::byte> read_start(const std::string& disk) const {
    Result<UniqueFd> fd = open_at(AT_FDCWD, dev_ + "/" + disk, O_RDONLY | O_NONBLOCK);
    if (!fd) return {};
    std::vector<std::byte> start(kPartitionTableBytes);
    Result<size_t> count = pread_full(fd->get(), start, 0);
    start.resize(count ? *count : 0);
    return start;
  }
  std::string dev_;
  std::map<std::string, std::vector<std::byte>> starts_;
};

}  // namespace

std::optional<Superblock> identify_superblock(Bytes start) {
  auto has = [&](size_t offset, std::string_view magic) {
    return start.size() >= offset + magic.size() &&
           as_text(start.subspan(offset, magic.size())) == magic;
  };
  if (start.size() >= kExtLabelOffset + kExtLabelBytes &&
      load_little_endian<uint16_t>(start, kExtSuperblockOffset + kExtMagicOffset) == kExtMagic) {
    auto state = load_little_endian<uint16_t>(start, kExtSuperblockOffset + kExtStateOffset);
    return Superblock{
        .type = "ext4",
        .label = label_text(start.subspan(kExtLabelOffset, kExtLabelBytes)),
        .uuid = uuid_text(start.subspan(kExtUuidOffset, 16)),
        .needs_check = (state & (kExtStateClean | kExtStateErrors)) != kExtStateClean};
  }
  if (has(kBtrfsMagicOffset, kBtrfsMagic) && start.size() >= kBtrfsLabelOffset + kBtrfsLabelBytes) {
    return Superblock{.type = "btrfs",
                      .label = label_text(start.subspan(kBtrfsLabelOffset, kBtrfsLabelBytes)),
                      .uuid = uuid_text(start.subspan(kBtrfsUuidOffset, 16))};
  }
  return std::nullopt;
}

// Every device is looked at while the machine boots, so only the blocks that can hold a superblock
// are read.
std::optional<Superblock> read_superblock(const std::string& path) {
  Result<UniqueFd> fd = open_at(AT_FDCWD, path, O_RDONLY | O_NONBLOCK);
  if (!fd) return std::nullopt;
  std::vector<std::byte> start(kIdentifyBytes);
  size_t size_bytes = 0;
  for (size_t offset : {kExtBlockOffset, kBtrfsBlockOffset}) {
    std::span<std::byte> block = std::span(start).subspan(offset, kSuperblockBlockBytes);
    Result<size_t> count = pread_full(fd->get(), block, offset);
    if (!count) return std::nullopt;
    if (*count > 0) size_bytes = offset + *count;
    if (*count < block.size()) break;
  }
  return identify_superblock(Bytes(start).first(size_bytes));
}

std::string partition_uuid(Bytes start, size_t block_bytes, size_t number) {
  if (number == 0) return "";
  if (start.size() / 2 >= block_bytes && block_bytes >= kGptHeaderBytes) {
    Bytes header = start.subspan(block_bytes, block_bytes);
    if (as_text(header.first(kGptSignature.size())) == kGptSignature) {
      auto entries_block = load_little_endian<uint64_t>(header, kGptEntriesBlockOffset);
      auto entry_count = load_little_endian<uint32_t>(header, kGptEntryCountOffset);
      auto entry_bytes = load_little_endian<uint32_t>(header, kGptEntryBytesOffset);
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
    return big_endian(load_little_endian<uint32_t>(start, kMbrDiskIdOffset)) + "-" +
           big_endian(static_cast<uint32_t>(number)).substr(6);
  }
  return "";
}

Result<std::vector<BlockDevice>> list_block_devices(const std::string& block_class,
                                                    const std::string& dev,
                                                    PartitionIds partition_ids) {
  std::vector<BlockDevice> devices;
  Disks disks(dev);
  for (const std::string& name : CFS_TRY(list_directory(AT_FDCWD, block_class))) {
    std::string sys_path = block_class + "/" + name;
    std::string uevent = read_attribute(sys_path + "/uevent");
    if (uevent.empty() || read_attribute(sys_path + "/size") == "0\n") continue;
    BlockDevice device;
    device.disk = uevent_value(uevent, "DEVNAME");
    device.path = dev + "/" + device.disk;
    size_t number = number_or(uevent_value(uevent, "PARTN"), 0);
    if (number > 0) {
      std::string disk_path = sys_path + "/..";  // a partition's directory lies in its disk's
      device.disk = uevent_value(read_attribute(disk_path + "/uevent"), "DEVNAME");
      device.partition_label = uevent_value(uevent, "PARTNAME");
      if (partition_ids == PartitionIds::kRead) {
        device.partition_uuid = disks.partition_uuid_on(device.disk, disk_path, number);
      }
    }
    device.superblock = read_superblock(device.path);
    devices.push_back(std::move(device));
  }
  return devices;
}

bool is_meant(const kernel_cmdline::RootSpec& spec, const BlockDevice& device) {
  using Kind = kernel_cmdline::RootSpec::Kind;
  if (!device.superblock) return false;
  switch (spec.kind) {
    case Kind::kPath:
      return device.path == spec.value;
    case Kind::kLabel:
      return device.superblock->label == spec.value;
    case Kind::kUuid:
      return device.superblock->uuid == spec.value;
    case Kind::kPartLabel:
      return device.partition_label == spec.value;
    case Kind::kPartUuid:
      return device.partition_uuid == spec.value;
  }
  return false;
}

std::string describe_devices(const std::vector<BlockDevice>& devices) {
  std::string text;
  for (const BlockDevice& device : devices) {
    if (!text.empty()) text += ", ";
    text += device.path;
    if (device.superblock) {
      text += " (" + device.superblock->type + " '" + device.superblock->label + "')";
    }
  }
  return text.empty() ? "none" : text;
}

}  // namespace cfs::initramfs
