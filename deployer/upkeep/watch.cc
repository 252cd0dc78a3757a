// SPDX-License-Identifier: Apache-2.0
#include "deployer/upkeep/watch.h"

#include <dirent.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>

#include "deployer/config/config.h"
#include "deployer/options.h"
#include "deployer/trial.h"
#include "deployer/upkeep/needed_objects.h"
#include "deployer/upkeep/repair.h"
#include "lib/base/hex.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/kernel_cmdline/boot_options.h"

namespace cfs::deployer {
namespace {

using kernel_cmdline::CorruptionAction;

constexpr size_t kMaxRecordBytes = 16 << 10;  // of /dev/kmsg; the kernel's own are half as long
constexpr size_t kMaxCommandLineBytes = 64 << 10;
constexpr unsigned kPrefixes = 256;

/// Calls `visit` with the name and the inode of everything in a directory of objects; a missing
/// directory has nothing.
Result<> for_each_entry(int store_fd, const std::string& prefix,
                        const std::function<void(const std::string&, uint64_t)>& visit) {
  Result<UniqueFd> fd = open_at(store_fd, prefix, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!fd && fd.error().code == ErrorCode::kNotFound) return {};
  UniqueFd directory = CFS_TRY(std::move(fd));
  std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(directory.get()), ::closedir);
  if (stream == nullptr) return errno_error("cannot read '" + prefix + "'");
  (void)directory.release();  // the stream closes it
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());  // NOLINT(concurrency-mt-unsafe): its own stream
    if (entry == nullptr && errno != 0) return errno_error("cannot read '" + prefix + "'");
    if (entry == nullptr) return {};
    visit(entry->d_name, entry->d_ino);
  }
}

/// The objects of that inode or name. An inode of another file system may have the number of an
/// object: whoever asks reads the object before he believes it.
Result<std::set<verity::Digest>> find_in_store(const store::ObjectStore& store,
                                               const Complaint& complaint) {
  std::set<verity::Digest> found;
  const auto* inode = std::get_if<DamagedInode>(&complaint);
  const auto* file = std::get_if<DamagedFile>(&complaint);
  for (unsigned first = 0; first < kPrefixes; ++first) {
    CFS_TRY(check_interrupted());
    const std::array<std::byte, 1> byte = {static_cast<std::byte>(first)};
    const std::string prefix = to_hex(byte);
    CFS_TRY(
        for_each_entry(store.directory_fd(), prefix, [&](const std::string& name, uint64_t number) {
          const bool is_it = inode != nullptr ? number == inode->inode : name == file->name;
          std::optional<verity::Digest> object;
          if (is_it) object = verity::Digest::from_object_path(prefix + "/" + name);
          if (object) found.insert(*object);
        }));
  }
  return found;
}

/// The objects of files whose path ends so, as far as something is wrong with them.
Result<std::set<verity::Digest>> find_in_images(const Sysroot& sysroot,
                                                const MissingContent& missing) {
  std::set<verity::Digest> found;
  const std::string end = "/" + missing.path_end;
  Inventory inventory = CFS_TRY(read_inventory(sysroot));
  for (const NeededImage& image : needed_images(inventory)) {
    Result<tree::Tree> tree = read_tree(sysroot.objects(), image.digest);
    CFS_TRY(check_interrupted());
    if (!tree) continue;  // of a damaged image fs-verity complains
    CFS_TRY(tree->for_each([&](const tree::Node& node) -> Result<> {
      const tree::Node& file = node.inode();
      if (!file.is_external() || file.digest() == nullptr || !node.path().ends_with(end)) return {};
      if (CFS_TRY(what_is_wrong(sysroot.objects(), *file.digest(), Depth::kMeasured))) {
        found.insert(*file.digest());
      }
      return {};
    }));
  }
  return found;
}

Result<std::set<verity::Digest>> find_objects(const Sysroot& sysroot, const Complaint& complaint) {
  const auto* missing = std::get_if<MissingContent>(&complaint);
  return missing != nullptr ? find_in_images(sysroot, *missing)
                            : find_in_store(sysroot.objects(), complaint);
}

/// The stricter of what the configuration says and what the kernel command line says.
Result<CorruptionAction> corruption_action(const Environment& environment) {
  std::string text =
      CFS_TRY(read_file(AT_FDCWD, environment.kernel_command_line, kMaxCommandLineBytes));
  while (text.ends_with('\n')) text.pop_back();
  // A configuration that cannot be read is a health check's matter.
  const Config config = read_config(environment).value_or(Config{});
  return std::max(config.on_corruption, kernel_cmdline::parse_corruption_action(
                                            kernel_cmdline::CommandLine::parse(text)));
}

/// One read of the kernel's log. Nothing: there is no more now. Empty: it has ended, as a file does
/// and the kernel does not.
Result<std::optional<std::string>> read_log(int fd) {
  std::string text(kMaxRecordBytes, '\0');
  for (;;) {
    CFS_TRY(check_interrupted());
    const ssize_t count = ::read(fd, text.data(), text.size());
    if (count >= 0) {
      text.resize(static_cast<size_t>(count));
      return std::optional(std::move(text));
    }
    if (errno == EAGAIN) return std::nullopt;
    // EPIPE: records were overwritten before they were read; the next read goes on after them.
    if (errno != EPIPE && errno != EINTR) return errno_error("cannot read the kernel's log");
  }
}

Result<> follow(Watcher& watcher, const Environment& environment, int log) {
  using Clock = std::chrono::steady_clock;
  const CorruptionAction action = CFS_TRY(corruption_action(environment));
  Clock::time_point next_try = Clock::now();
  bool has_repaired = false;
  bool has_ended = false;
  while (!has_ended) {
    while (std::optional<std::string> text = CFS_TRY(read_log(log))) {
      has_ended = text->empty();
      if (has_ended) break;
      for (std::string_view rest = *text; !rest.empty();) {
        const size_t end = std::min(rest.find('\n'), rest.size() - 1) + 1;
        if (CFS_TRY(watcher.hear(rest.substr(0, end)))) next_try = Clock::now();
        rest.remove_prefix(end);
      }
    }
    if (!watcher.is_idle() && (has_ended || Clock::now() >= next_try)) {
      has_repaired = CFS_TRY(watcher.mend()) > 0 || has_repaired;
      next_try = Clock::now() + watcher.pause();
      // Not before: after the reboot it would be as damaged as it is.
      if (has_repaired && watcher.is_idle() && action == CorruptionAction::kReboot) {
        environment.print("restarting, as cfs.on_corruption=reboot says\n");
        return restart(environment);
      }
    }
    if (has_ended) break;
    pollfd readable{.fd = log, .events = POLLIN, .revents = 0};
    int wait_ms = -1;
    if (!watcher.is_idle()) {
      auto left = std::chrono::duration_cast<std::chrono::milliseconds>(next_try - Clock::now());
      wait_ms = static_cast<int>(std::clamp<int64_t>(left.count(), 0, 3'600'000));
    }
    if (::poll(&readable, 1, wait_ms) < 0 && errno != EINTR) {
      return errno_error("cannot wait for the kernel's log");
    }
  }
  return {};
}

}  // namespace

Result<bool> Watcher::hear(std::string_view record) {
  const std::optional<Complaint> complaint = parse_complaint(record);
  if (!complaint || !heard_.insert(*complaint).second) return false;
  Sysroot sysroot = CFS_TRY(Sysroot::open(environment_, sysroot_, Access::kRead));
  bool is_new = false;
  for (const verity::Digest& object : CFS_TRY(find_objects(sysroot, *complaint))) {
    if (!pending_.insert(object).second) continue;
    is_new = true;
    environment_.print("the kernel found object " + object.hex() + " damaged\n");
  }
  if (is_new) pause_ = kFirstPause;
  return is_new;
}

Result<size_t> Watcher::mend() {
  heard_.clear();
  Result<Sysroot> opened = Sysroot::open(environment_, sysroot_, Access::kWrite);
  if (!opened && opened.error().code == ErrorCode::kBusy) return size_t{0};  // at the next pause
  Sysroot sysroot = CFS_TRY(std::move(opened));
  std::set<verity::Digest> damaged;
  for (const verity::Digest& object : pending_) {
    if (CFS_TRY(what_is_wrong(sysroot.objects(), object, Depth::kRead))) {
      damaged.insert(object);
    } else {
      environment_.print("object " + object.hex() + " is right by now\n");
    }
  }
  pending_ = damaged;
  size_t repaired = CFS_TRY(repair_known(sysroot));
  // A damaged image did not say what it needs. Now it may.
  if (repaired > 0 && !pending_.empty()) repaired += CFS_TRY(repair_known(sysroot));
  std::erase_if(told_, [&](const verity::Digest& object) { return !pending_.contains(object); });
  pause_ = pending_.empty() ? kFirstPause : std::min(pause_ * 2, kLongestPause);
  return repaired;
}

Result<size_t> Watcher::repair_known(Sysroot& sysroot) {
  Inventory inventory = CFS_TRY(read_inventory(sysroot));
  const Uses uses = CFS_TRY(find_uses(sysroot, needed_images(inventory), pending_));
  std::vector<tree::ObjectReference> wanted;
  for (const auto& [object, use] : uses.of) {
    if (told_.insert(object).second) {
      environment_.print("object " + object.hex() + " is damaged; it is used " +
                         std::to_string(use.count) + " times\n");
      for (const std::string& path : use.paths) environment_.print("    " + path + "\n");
    }
    if (use.size_bytes) wanted.push_back({object, *use.size_bytes});
  }
  if (uses.is_complete) {  // what nobody uses is left to `fsck --repair`
    std::erase_if(pending_,
                  [&](const verity::Digest& object) { return !uses.of.contains(object); });
  }
  const std::vector<net::Url> urls = repository_urls(sysroot, environment_);
  NotFetched left = CFS_TRY(repair_objects(sysroot, environment_, urls, wanted));
  for (const tree::ObjectReference& object : wanted) {
    auto failed = left.find(object.digest);
    if (failed == left.end()) {
      environment_.print("object " + object.digest.hex() + " is repaired\n");
      pending_.erase(object.digest);
    } else {
      environment_.print("object " + object.digest.hex() +
                         " is not repaired yet: " + failed->second.describe() + "\n");
    }
  }
  return wanted.size() - left.size();
}

RunCommand declare_watch(CLI::App& command) {
  auto sysroot = std::make_shared<std::string>(kDefaultSysroot);
  add_sysroot_option(command, *sysroot);
  return [sysroot](const Environment& environment) -> Result<Answer> {
    UniqueFd log = CFS_TRY(open_at(AT_FDCWD, environment.kernel_log, O_RDONLY | O_NONBLOCK));
    Watcher watcher(*sysroot, environment);
    Result<> followed = follow(watcher, environment, log.get());
    if (is_interrupted()) return Answer();  // how it is told to end
    CFS_TRY(std::move(followed));
    return Answer();
  };
}

}  // namespace cfs::deployer
