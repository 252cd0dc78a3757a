// SPDX-License-Identifier: Apache-2.0
// Each mode has homes for an /etc, below cfs/state/etc:
//
//   kept/{upper,work}              transient and ro: of all releases; at each boot all that is not
//                                  kept is removed from it
//   <image digest>.overlay/{upper,work}
//   <image digest>.merge/{tree,base}  base: the image's own /etc, as it was when tree was made
//   last                           a symlink to the home that was used last
//
// `last` is where the newest of what is kept lies. It is changed when its new target is complete
// and durable, so all that leads there can be done again after a cut.
//
// A disk can lose a link. So every boot also gives the home that it uses a later time than any
// other home has, whatever the clock says. Where `last` leads nowhere, the home with the latest
// time takes its place; of two with the same time, the one whose name sorts last.
#include "initramfs/etc.h"

#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <optional>
#include <tuple>

#include "initramfs/etc_merge.h"
#include "initramfs/failure.h"
#include "initramfs/file_tree.h"
#include "initramfs/kept.h"
#include "lib/base/io.h"
#include "lib/base/work_directory.h"
#include "lib/sysroot/layout.h"

namespace cfs::initramfs {
namespace {

using kernel_cmdline::EtcMode;
using kernel_cmdline::RootPolicy;

constexpr std::string_view kWorkPrefix = ".cfs-etc-";
constexpr mode_t kHomeMode = 0755;

enum class HomeKind { kKept, kOverlay, kMerge };

struct Home {
  HomeKind kind = HomeKind::kKept;
  std::string name;

  [[nodiscard]] const char* content() const {
    return kind == HomeKind::kMerge ? sysroot::kEtcTree : "upper";
  }
  [[nodiscard]] std::string path() const { return name + "/" + content(); }
  [[nodiscard]] EtcForm form() const {
    return kind == HomeKind::kMerge ? EtcForm::kTree : EtcForm::kLayer;
  }
  bool operator==(const Home&) const = default;
};

Home home_for(EtcMode mode, const verity::Digest& digest) {
  switch (mode) {
    case EtcMode::kMerge:
      return {HomeKind::kMerge, digest.hex() + std::string(sysroot::kEtcMergeSuffix)};
    case EtcMode::kOverlay:
      return {HomeKind::kOverlay, digest.hex() + std::string(sysroot::kEtcOverlaySuffix)};
    case EtcMode::kTransient:
    case EtcMode::kReadOnly:
      break;
  }
  return {HomeKind::kKept, sysroot::kEtcKept};
}

std::optional<Home> home_of_name(const std::string& name) {
  if (name == sysroot::kEtcKept) return Home{HomeKind::kKept, name};
  for (auto [suffix, kind] : {std::pair(sysroot::kEtcOverlaySuffix, HomeKind::kOverlay),
                              std::pair(sysroot::kEtcMergeSuffix, HomeKind::kMerge)}) {
    if (!name.ends_with(suffix)) continue;
    if (verity::Digest::parse(name.substr(0, name.size() - suffix.size()))) return Home{kind, name};
  }
  return std::nullopt;
}

/// Returns true if that is missing or, after damage, something else than is expected.
bool is_lost(const Error& error) {
  return error.code == ErrorCode::kNotFound || error.code == ErrorCode::kInvalidInput;
}

/// Returns true if the home is there with its content.
Result<bool> is_there(const Directory& state, const Home& home) {
  Result<struct stat> status = state.stat(home.path());
  if (status) return S_ISDIR(status->st_mode);
  if (is_lost(status.error())) return false;
  return Error(std::move(status).error());
}

/// The home that `last` names, if it is there.
Result<std::optional<Home>> named_home(const Directory& state) {
  Result<std::string> name = state.read_link(sysroot::kEtcLast);
  std::optional<Home> home = name ? home_of_name(*name) : std::nullopt;
  if (home && !CFS_TRY(is_there(state, *home))) home.reset();
  return home;
}

struct UsedHome {
  time_t time = 0;
  Home home;
};

/// All homes that are there.
Result<std::vector<UsedHome>> used_homes(const Directory& state) {
  std::vector<UsedHome> homes;
  for (const std::string& name : CFS_TRY(state.list())) {
    std::optional<Home> home = home_of_name(name);
    if (!home) continue;
    Result<struct stat> status = state.stat(name);
    Result<bool> there = is_there(state, *home);
    if (status && there && *there) homes.push_back({status->st_mtim.tv_sec, *std::move(home)});
  }
  return homes;
}

/// Gives the home the time by which the next boot knows that this one has used it.
Result<> note_use(const Directory& state, const Home& home) {
  time_t now = ::time(nullptr);
  for (const UsedHome& used : CFS_TRY(used_homes(state))) now = std::max(now, used.time + 1);
  Directory directory = CFS_TRY(state.open_directory(home.name));
  const std::array<timespec, 2> times = {timespec{now, 0}, timespec{now, 0}};
  if (::futimens(directory.fd(), times.data()) != 0) {
    return errno_error("cannot set the time of '" + home.name + "'");
  }
  return {};
}

/// The home that was used last, if there is one: the one that `last` names, or else, with a
/// warning, the one that has the latest time.
Result<std::optional<Home>> last_home(const Directory& state) {
  std::optional<Home> home = CFS_TRY(named_home(state));
  if (home) return home;
  const std::string what = "'" + std::string(sysroot::kEtc) + "/" + sysroot::kEtcLast +
                           "' is lost, or what it leads to: ";
  std::vector<UsedHome> homes = CFS_TRY(used_homes(state));
  auto latest =
      std::max_element(homes.begin(), homes.end(), [](const UsedHome& a, const UsedHome& b) {
        return std::tie(a.time, a.home.name) < std::tie(b.time, b.home.name);
      });
  if (latest != homes.end()) {
    home = latest->home;
    log_warning(what + "/etc is taken from '" + home->name + "', which has the latest time");
  } else if (state.exists(sysroot::kEtcLast).value_or(true)) {
    log_warning(what + "there is nothing left of what the device has kept of /etc");
  }
  return home;
}

/// What is done for one boot.
class Preparation {
 public:
  Preparation(const Directory& state, int image_fd, const RootPolicy& policy)
      : state_(state), image_fd_(image_fd), policy_(policy) {}

  /// A home that was not there, or whose content is not wanted any more.
  Result<> make(const Home& home, const std::optional<Home>& last) {
    WorkDirectory work = CFS_TRY(WorkDirectory::create(state_.fd(), ".", kWorkPrefix));
    Directory made = CFS_TRY(Directory::open(work.fd(), "."));
    CFS_TRY(made.make_directories(home.content(), kHomeMode));
    Directory content = CFS_TRY(made.open_directory(home.content()));
    bool takes_changes = last && last->kind == home.kind;
    switch (home.kind) {
      case HomeKind::kKept:
        CFS_TRY(set_attributes_of(image_fd_, content.fd()));
        break;
      case HomeKind::kOverlay:
        if (takes_changes) {
          Directory from = CFS_TRY(state_.open_directory(last->path()));
          CFS_TRY(copy_directory(from.fd(), content.fd(), CopyInto::kLayer));
        } else {
          CFS_TRY(set_attributes_of(image_fd_, content.fd()));
        }
        break;
      case HomeKind::kMerge: {
        CFS_TRY(made.make_directories("base", kHomeMode));
        Directory base = CFS_TRY(made.open_directory("base"));
        CFS_TRY(copy_directory(image_fd_, base.fd(), CopyInto::kTree));
        CFS_TRY(copy_directory(image_fd_, content.fd(), CopyInto::kTree));
        if (takes_changes) {
          Directory from = CFS_TRY(state_.open_directory(last->path()));
          std::optional<Directory> from_base = CFS_TRY(open_base(*last));
          CFS_TRY_WITH("while merging", merge_etc(from_base ? from_base->fd() : -1, from.fd(),
                                                  content.fd(), policy_.keep));
        }
        break;
      }
    }
    CFS_TRY(fill_with_kept(content, home, last));
    return work.publish(state_.fd(), home.name, kHomeMode, Existing::kReplace);
  }

  /// A home whose content stays; that of `kept` as far as it is kept.
  Result<> use(const Home& home, const std::optional<Home>& last) {
    Directory content = CFS_TRY(state_.open_directory(home.path()));
    if (home.kind == HomeKind::kKept) {
      CFS_TRY(remove_all_but_kept(content.fd(), image_fd_, policy_.keep));
    }
    if (last == home) {
      CFS_TRY(ensure_machine_id(content.fd(), image_fd_));
      return {};
    }
    CFS_TRY(fill_with_kept(content, home, last));
    return sync_filesystem(state_.fd());
  }

 private:
  [[nodiscard]] Result<std::optional<Directory>> open_base(const Home& home) const {
    const std::string path = home.name + "/base";
    Result<Directory> base = state_.open_directory(path);
    if (base) return std::optional(*std::move(base));
    if (!is_lost(base.error())) return Error(std::move(base).error());
    log_warning("'" + std::string(sysroot::kEtc) + "/" + path +
                "' is lost: all that the device has in /etc counts as changed by it");
    return std::optional<Directory>();
  }

  Result<> fill_with_kept(const Directory& content, const Home& home,
                          const std::optional<Home>& last) {
    if (last) {
      Directory from = CFS_TRY(state_.open_directory(last->path()));
      CFS_TRY(carry_kept({from.fd(), last->form()}, {content.fd(), home.form()}, image_fd_,
                         policy_.keep));
    }
    CFS_TRY(ensure_machine_id(content.fd(), image_fd_));
    return {};
  }

  const Directory& state_;
  int image_fd_;
  const RootPolicy& policy_;
};

}  // namespace

Result<Etc> prepare_etc(const Directory& cfs, int image_fd, const verity::Digest& digest,
                        const RootPolicy& policy) {
  CFS_TRY(cfs.make_directories(sysroot::kEtc, sysroot::mode_of(sysroot::kEtc, true)));
  Directory state = CFS_TRY(cfs.open_directory(sysroot::kEtc));
  const Home home = home_for(policy.etc, digest);
  const bool is_named = CFS_TRY(named_home(state)).has_value();
  const std::optional<Home> last = CFS_TRY(last_home(state));
  Preparation preparation(state, image_fd, policy);
  // Nothing in `kept` is newer than what was used last.
  bool is_new = !CFS_TRY(is_there(state, home)) || (home.kind == HomeKind::kKept && last != home);
  CFS_TRY(is_new ? preparation.make(home, last) : preparation.use(home, last));
  if (!is_named) CFS_TRY(state.remove_tree(sysroot::kEtcLast));  // whatever lies there
  if (!is_named || last != home) CFS_TRY(state.write_symlink(sysroot::kEtcLast, home.name));
  Etc etc;
  if (home.kind == HomeKind::kMerge) {
    etc.tree = home.path();
  } else {
    etc.upper = home.path();
    etc.work = home.name + "/work";
    CFS_TRY(state.remove_tree(etc.work));  // what was being changed at a power cut
    CFS_TRY(state.make_directories(etc.work, 0700));
  }
  CFS_TRY(note_use(state, home));
  return etc;
}

Result<std::string> prepare_etc_in_memory(const Directory& cfs, int upper_fd, int image_fd,
                                          const verity::Digest& digest, const RootPolicy& policy) {
  Result<Directory> state = cfs.open_directory(sysroot::kEtc);
  const Home home = home_for(policy.etc, digest);
  if (home.kind != HomeKind::kKept) {
    if (state && CFS_TRY(is_there(*state, home))) return home.path();
    return make_error(ErrorCode::kNotFound, "the release's /etc was not made yet");
  }
  auto fill = [&]() -> Result<> {
    CFS_TRY(set_attributes_of(image_fd, upper_fd));
    if (std::optional<Home> last = CFS_TRY(last_home(*state))) {
      Directory from = CFS_TRY(state->open_directory(last->path()));
      CFS_TRY(carry_kept({from.fd(), last->form()}, {upper_fd, EtcForm::kLayer}, image_fd,
                         policy.keep));
    }
    return {};
  };
  Result<> filled = state ? fill() : Result<>(Error(state.error()));
  if (!filled) log_warning(filled.error().describe());
  CFS_TRY(ensure_machine_id(upper_fd, image_fd));
  return std::string();
}

Result<> discard_etc(const Directory& cfs, int image_fd, const std::vector<std::string>& keep) {
  WorkDirectory work = CFS_TRY(WorkDirectory::create(cfs.fd(), sysroot::kTemporary, kWorkPrefix));
  Directory made = CFS_TRY(Directory::open(work.fd(), "."));
  Result<Directory> state = cfs.open_directory(sysroot::kEtc);
  if (state && !keep.empty()) {
    const Home home{HomeKind::kKept, sysroot::kEtcKept};
    if (std::optional<Home> last = CFS_TRY(last_home(*state))) {
      CFS_TRY(made.make_directories(home.path(), kHomeMode));
      Directory from = CFS_TRY(state->open_directory(last->path()));
      Directory content = CFS_TRY(made.open_directory(home.path()));
      CFS_TRY(set_attributes_of(image_fd, content.fd()));
      CFS_TRY(carry_kept({from.fd(), last->form()}, {content.fd(), home.form()}, image_fd, keep));
      CFS_TRY(made.write_symlink(sysroot::kEtcLast, home.name));
    }
  }
  return work.publish(cfs.fd(), sysroot::kEtc, kHomeMode, Existing::kReplace);
}

}  // namespace cfs::initramfs
