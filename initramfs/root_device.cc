// SPDX-License-Identifier: Apache-2.0
#include "initramfs/root_device.h"

#include <time.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "lib/base/hex.h"
#include "lib/base/io.h"

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

std::string label_text(Bytes raw) {
  std::string_view text = as_text(raw);
  return std::string(text.substr(0, text.find('\0')));
}

std::string lower_case(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
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

double now_seconds() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

}  // namespace

Result<RootSpec> parse_root_spec(const std::string& text) {
  using Kind = RootSpec::Kind;
  if (text.substr(0, 5) == "/dev/") return RootSpec{Kind::kPath, text};
  for (auto [prefix, kind] : {std::pair<std::string_view, Kind>{"LABEL=", Kind::kLabel},
                              {"UUID=", Kind::kUuid},
                              {"PARTLABEL=", Kind::kPartLabel},
                              {"PARTUUID=", Kind::kPartUuid}}) {
    if (text.substr(0, prefix.size()) == prefix && text.size() > prefix.size()) {
      std::string value = text.substr(prefix.size());
      bool is_id = kind == Kind::kUuid || kind == Kind::kPartUuid;
      return RootSpec{kind, is_id ? lower_case(std::move(value)) : std::move(value)};
    }
  }
  return make_error(
      ErrorCode::kInvalidInput,
      "'root=" + text + "' is not LABEL=, UUID=, PARTLABEL=, PARTUUID= or the path of a device");
}

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

Result<std::optional<RootDevice>> find_root_device(const RootSpec& spec,
                                                   const std::string& block_class,
                                                   const std::string& dev) {
  using Kind = RootSpec::Kind;
  for (const std::string& name : CFS_TRY(list_directory(AT_FDCWD, block_class))) {
    Result<std::string> uevent =
        read_file(AT_FDCWD, block_class + "/" + name + "/uevent", kUeventLimitBytes);
    if (!uevent) continue;  // just unplugged
    std::string path = dev + "/" + uevent_value(*uevent, "DEVNAME");
    if (spec.kind == Kind::kPath && path != spec.value) continue;
    if (spec.kind == Kind::kPartLabel && uevent_value(*uevent, "PARTNAME") != spec.value) continue;
    if (spec.kind == Kind::kPartUuid &&
        lower_case(uevent_value(*uevent, "PARTUUID")) != spec.value) {
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

Result<RootDevice> wait_for_root_device(const RootSpec& spec, unsigned timeout_seconds) {
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
