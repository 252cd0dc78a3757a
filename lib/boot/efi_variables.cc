// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/efi_variables.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

#include "lib/base/io.h"
#include "lib/boot/boot_counter.h"

namespace cfs::boot {
namespace {

// A variable's name and, behind the dash, the vendor of the Boot Loader Interface.
constexpr const char* kSelectedEntry = "LoaderEntrySelected-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
constexpr const char* kBootedPartition =
    "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
constexpr const char* kOneShotEntry = "LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
constexpr const char* kDefaultEntry = "LoaderEntryDefault-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
constexpr const char* kPreferredEntry = "LoaderEntryPreferred-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
constexpr const char* kEntries = "LoaderEntries-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
constexpr const char* kBootCountPath = "LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
constexpr size_t kAttributesBytes = 4;
constexpr size_t kMaxVariableBytes = 64 << 10;
constexpr size_t kUuidBytes = 36;

/// The texts of a variable: UTF-16LE, a NUL at the end of each. One that is not ASCII is empty.
/// None: there is no such variable.
Result<std::vector<std::string>> read_texts(const std::string& efi_variables,
                                            const std::string& name) {
  Result<std::string> variable = read_file(AT_FDCWD, efi_variables + "/" + name, kMaxVariableBytes);
  std::vector<std::string> texts;
  if (!variable) {
    if (variable.error().code == ErrorCode::kNotFound) return texts;
    return Error(std::move(variable).error()).with("while asking how this machine was booted");
  }
  std::string_view rest = *variable;
  if (rest.size() < kAttributesBytes || rest.size() % 2 != 0) return texts;
  std::string text;
  bool is_ascii = true;
  for (rest.remove_prefix(kAttributesBytes); !rest.empty(); rest.remove_prefix(2)) {
    const bool is_end = rest[0] == '\0' && rest[1] == '\0';
    if (rest[1] != '\0' || static_cast<unsigned char>(rest[0]) >= 0x80) is_ascii = false;
    if (!is_end) text += rest[0];
    if (!is_end && rest.size() > 2) continue;
    texts.push_back(is_ascii ? std::move(text) : std::string());
    text.clear();
    is_ascii = true;
  }
  return texts;
}

/// The first of them, if it says something.
Result<std::optional<std::string>> read_text(const std::string& efi_variables,
                                             const std::string& name) {
  std::vector<std::string> texts = CFS_TRY(read_texts(efi_variables, name));
  if (texts.empty() || texts.front().empty()) return std::optional<std::string>();
  return std::optional(std::move(texts.front()));
}

/// Linux protects variables by making their files immutable.
Result<> remove_variable(const std::string& efi_variables, const std::string& name) {
  const std::string path = efi_variables + "/" + name;
  Result<UniqueFd> file = open_at(AT_FDCWD, path, O_RDONLY);
  if (!file && file.error().code == ErrorCode::kNotFound) return {};
  if (!file) return Error(std::move(file).error());
  int flags = 0;
  if (::ioctl(file->get(), FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_IMMUTABLE_FL) != 0) {
    flags &= ~FS_IMMUTABLE_FL;
    if (::ioctl(file->get(), FS_IOC_SETFLAGS, &flags) != 0) {
      return errno_error("cannot change '" + path + "'");
    }
  }
  return remove_file(AT_FDCWD, path);
}

}  // namespace

Result<std::optional<std::string>> selected_entry(const std::string& efi_variables) {
  std::optional<std::string> name = CFS_TRY(read_text(efi_variables, kSelectedEntry));
  if (!name) return name;
  std::string_view stem = *name;
  constexpr std::string_view kSuffix = ".efi";
  if (stem.size() > kSuffix.size() &&
      same_entry(stem.substr(stem.size() - kSuffix.size()), kSuffix)) {
    stem.remove_suffix(kSuffix.size());
  }
  return std::optional(std::string(split_counter(stem).id));
}

Result<std::vector<std::string>> loader_entries(const std::string& efi_variables) {
  return read_texts(efi_variables, kEntries);
}

Result<bool> is_counted_boot(const std::string& efi_variables) {
  return CFS_TRY(read_text(efi_variables, kBootCountPath)).has_value();
}

Result<std::optional<std::string>> booted_partition(const std::string& efi_variables) {
  std::optional<std::string> uuid = CFS_TRY(read_text(efi_variables, kBootedPartition));
  if (!uuid) return uuid;
  for (char& c : *uuid) {
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
    bool is_uuid_character = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == '-';
    if (!is_uuid_character || uuid->size() != kUuidBytes) return std::optional<std::string>();
  }
  return uuid;
}

Result<EntryWishes> entry_wishes(const std::string& efi_variables) {
  EntryWishes wishes;
  wishes.one_shot = CFS_TRY(read_text(efi_variables, kOneShotEntry)).value_or("");
  wishes.default_pattern = CFS_TRY(read_text(efi_variables, kDefaultEntry)).value_or("");
  return wishes;
}

Result<> start_once(const std::string& efi_variables, const std::string& name) {
  constexpr std::string_view kNonVolatileBootRuntime("\7\0\0\0", kAttributesBytes);
  std::string value(kNonVolatileBootRuntime);
  for (char c : name) {
    if (c == '\0' || static_cast<unsigned char>(c) >= 0x80) {
      return make_error(ErrorCode::kInvalidInput, "'" + name + "' is not ASCII");
    }
    value += {c, '\0'};
  }
  value.append(2, '\0');
  CFS_TRY(remove_variable(efi_variables, kOneShotEntry));
  const std::string path = efi_variables + "/" + kOneShotEntry;
  UniqueFd file = CFS_TRY(open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, 0644));
  return write_full(file.get(), as_bytes(value));  // efivarfs wants it in one piece
}

Result<> withdraw_entry_wishes(const std::string& efi_variables) {
  for (const char* name : {kOneShotEntry, kDefaultEntry, kPreferredEntry}) {
    CFS_TRY_WITH("while withdrawing another choice of what boots",
                 remove_variable(efi_variables, name));
  }
  return {};
}

}  // namespace cfs::boot
