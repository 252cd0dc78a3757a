// SPDX-License-Identifier: Apache-2.0
#include "lib/mount/self_test.h"

#include <dirent.h>
#include <elf.h>
#include <link.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>

#include "lib/base/io.h"

namespace cfs::mount {
namespace {

constexpr size_t kMountInfoLimitBytes = 4 << 20;
constexpr size_t kInterpreterLimitBytes = 256;
constexpr int kMaxInterpreters = 4;  // a script's interpreter's loader; the kernel allows 5 levels

std::string unescaped(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    auto octal = [&](size_t at) { return text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && i + 3 < text.size() && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
      int value = (text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0');
      result += static_cast<char>(value);
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::string quoted(const std::string& text) { return "'" + text + "'"; }

struct DirectoryCloser {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

Result<uint64_t> open_files_below(int directory_fd, dev_t device, const std::string& path) {
  UniqueFd own = CFS_TRY(open_at(directory_fd, ".", O_RDONLY | O_DIRECTORY));
  std::unique_ptr<DIR, DirectoryCloser> directory(::fdopendir(own.get()));
  if (!directory) return errno_error("cannot list " + quoted(path));
  (void)own.release();  // closedir owns it now
  uint64_t count = 0;
  for (;;) {
    errno = 0;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): a stream of ours
    const dirent* entry = ::readdir(directory.get());
    if (entry == nullptr) {
      if (errno != 0) return errno_error("cannot list " + quoted(path));
      return count;
    }
    std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    std::string entry_path = path + "/" + name;
    struct stat status =
        CFS_TRY_WITH("in " + quoted(path), stat_at(directory_fd, name, AT_SYMLINK_NOFOLLOW));
    if (S_ISREG(status.st_mode)) {
      int fd = ::openat(directory_fd, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
      if (fd < 0) return errno_error("cannot open " + quoted(entry_path));
      ::close(fd);
      ++count;
    } else if (S_ISDIR(status.st_mode)) {
      UniqueFd child = CFS_TRY_WITH(
          "in " + quoted(path), open_at(directory_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
      struct stat opened = CFS_TRY(fstat_fd(child.get()));
      if (opened.st_dev == device)
        count += CFS_TRY(open_files_below(child.get(), device, entry_path));
    }
  }
}

}  // namespace

bool MountInfo::has_option(std::string_view option) const {
  for (std::string_view part : split(super_options, ',')) {
    if (part == option) return true;
  }
  return false;
}

std::optional<MountInfo> parse_mountinfo_line(std::string_view line) {
  // id parent major:minor root target options [optional fields…] - type source super-options
  std::vector<std::string_view> fields = split(line, ' ');
  size_t dash = 6;
  while (dash < fields.size() && fields[dash] != "-") ++dash;
  if (dash + 3 >= fields.size()) return std::nullopt;
  MountInfo info;
  if (fields[0].empty()) return std::nullopt;
  for (char c : fields[0]) {
    if (c < '0' || c > '9') return std::nullopt;
    info.id = info.id * 10 + static_cast<uint64_t>(c - '0');
  }
  info.target = unescaped(fields[4]);
  info.type = fields[dash + 1];
  info.source = unescaped(fields[dash + 2]);
  info.super_options = fields[dash + 3];
  return info;
}

Result<MountInfo> mount_of(int fd) {
  struct statx status = {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &status) != 0)
    return errno_error("cannot statx");
  std::string table = CFS_TRY(read_file(AT_FDCWD, "/proc/self/mountinfo", kMountInfoLimitBytes));
  for (std::string_view line : split(table, '\n')) {
    std::optional<MountInfo> info = parse_mountinfo_line(line);
    if (info && info->id == status.stx_mnt_id) return *std::move(info);
  }
  return make_error(ErrorCode::kInternal, "the mount is not in /proc/self/mountinfo");
}

Result<UniqueFd> open_in_root(int root_fd, const std::string& path, int flags) {
  open_how how = {};
  how.flags = static_cast<__u64>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  long fd = ::syscall(SYS_openat2, root_fd, path.c_str(), &how, sizeof(how));
  if (fd < 0) return errno_error("cannot open " + quoted(path));
  return UniqueFd(static_cast<int>(fd));
}

Result<std::optional<std::string>> interpreter_of(int fd) {
  std::array<std::byte, kInterpreterLimitBytes> start{};
  size_t count = CFS_TRY(pread_full(fd, start, 0));
  std::string_view text = as_text(Bytes(start).first(count));
  if (text.substr(0, 2) == "#!") {
    text = text.substr(2, text.find('\n') - 2);
    size_t begin = text.find_first_not_of(" \t");
    if (begin == std::string_view::npos) return std::optional<std::string>();
    text.remove_prefix(begin);
    return std::optional<std::string>(text.substr(0, text.find_first_of(" \t")));
  }
  ElfW(Ehdr) header;
  if (count < sizeof(header) || text.substr(0, SELFMAG) != std::string_view(ELFMAG, SELFMAG)) {
    return std::optional<std::string>();
  }
  std::memcpy(&header, start.data(), sizeof(header));
  for (size_t i = 0; i < header.e_phnum; ++i) {
    ElfW(Phdr) program = {};
    size_t got = CFS_TRY(pread_full(fd, std::as_writable_bytes(std::span(&program, 1)),
                                    header.e_phoff + i * sizeof(program)));
    if (got < sizeof(program)) break;
    if (program.p_type != PT_INTERP) continue;
    std::string name(std::min<size_t>(program.p_filesz, kInterpreterLimitBytes), '\0');
    got = CFS_TRY(pread_full(fd, std::as_writable_bytes(std::span(name)), program.p_offset));
    name.resize(got);
    return std::optional<std::string>(name.c_str());  // up to the NUL
  }
  return std::optional<std::string>();
}

Result<> check_verity_required(int root_fd) {
  MountInfo info = CFS_TRY(mount_of(root_fd));
  if (info.type != "overlay") {
    return make_error(ErrorCode::kInternal, "the root is " + info.type + ", not overlay");
  }
  for (const char* option : {"metacopy=on", "verity=require"}) {
    if (!info.has_option(option)) {
      return make_error(ErrorCode::kInternal, "the root is mounted without " + std::string(option) +
                                                  " (" + info.super_options + ")");
    }
  }
  return {};
}

Result<> check_program_readable(int root_fd, const std::string& program) {
  std::string path = program;
  for (int level = 0; level <= kMaxInterpreters; ++level) {
    UniqueFd fd = CFS_TRY(open_in_root(root_fd, path, O_RDONLY));
    std::vector<std::byte> buffer(64 << 10);
    for (;;) {
      size_t count = CFS_TRY_WITH("in " + quoted(path), read_full(fd.get(), buffer));
      if (count < buffer.size()) break;
    }
    std::optional<std::string> next = CFS_TRY(interpreter_of(fd.get()));
    if (!next) return {};
    path = *std::move(next);
  }
  return make_error(ErrorCode::kInvalidInput, quoted(program) + " has too many interpreters");
}

Result<uint64_t> check_every_file_opens(int root_fd) {
  struct stat root = CFS_TRY(fstat_fd(root_fd));
  return open_files_below(root_fd, root.st_dev, "");
}

}  // namespace cfs::mount
