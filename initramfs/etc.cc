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
#include "initramfs/etc.h"

#include <optional>

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

Result<bool> is_there(const Directory& state, const Home& home) {
  Result<struct stat> status = state.stat(home.path());
  if (status) return S_ISDIR(status->st_mode);
  if (status.error().code == ErrorCode::kNotFound) return false;
  return Error(std::move(status).error());
}

/// The home that was used last, if there is one.
Result<std::optional<Home>> last_home(const Directory& state) {
  Result<std::string> name = state.read_link(sysroot::kEtcLast);
  if (!name && name.error().code == ErrorCode::kNotFound) return std::optional<Home>();
  std::optional<Home> home = home_of_name(CFS_TRY(std::move(name)));
  if (home && !CFS_TRY(is_there(state, *home))) home.reset();
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
          Directory from_base = CFS_TRY(state_.open_directory(last->name + "/base"));
          CFS_TRY_WITH("while merging",
                       merge_etc(from_base.fd(), from.fd(), content.fd(), policy_.keep));
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
  const std::optional<Home> last = CFS_TRY(last_home(state));
  Preparation preparation(state, image_fd, policy);
  // Nothing in `kept` is newer than what was used last.
  bool is_new = !CFS_TRY(is_there(state, home)) || (home.kind == HomeKind::kKept && last != home);
  CFS_TRY(is_new ? preparation.make(home, last) : preparation.use(home, last));
  if (last != home) CFS_TRY(state.write_symlink(sysroot::kEtcLast, home.name));
  if (home.kind == HomeKind::kMerge) return Etc{.tree = home.path(), .upper = {}, .work = {}};
  Etc etc{.tree = {}, .upper = home.path(), .work = home.name + "/work"};
  CFS_TRY(state.remove_tree(etc.work));  // what was being changed at a power cut
  CFS_TRY(state.make_directories(etc.work, 0700));
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
