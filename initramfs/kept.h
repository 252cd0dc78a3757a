// SPDX-License-Identifier: Apache-2.0
// What a device keeps of its /etc whatever the release says: the keep-list (lib/kernel_cmdline,
// root_policy.h).
#pragma once

#include <string>
#include <vector>

#include "initramfs/file_tree.h"
#include "lib/base/result.h"

namespace cfs::initramfs {

using KeepList = std::vector<std::string>;

enum class EtcForm {
  kTree,   ///< all of an /etc
  kLayer,  ///< the upper layer of an overlay, whose lower one is the image's /etc
};

struct EtcDirectory {
  int fd = -1;
  EtcForm form = EtcForm::kTree;
};

/// Replaces what is kept in the /etc `to` by what is kept in the /etc `from`, so that it looks the
/// same whatever the two are on the disk. Where `from` says nothing of it, what is kept begins as
/// it is in `image_fd`, the image's /etc: a layer of all that the device did not change, a tree if
/// it has nothing that matches an entry of the keep-list. Directories above are made as in the
/// image. Done again after it was cut off, it ends the same.
[[nodiscard]] Result<> carry_kept(EtcDirectory from, EtcDirectory to, int image_fd,
                                  const KeepList& keep);

/// Removes from the upper layer `upper_fd` all that is not kept, and gives the directories above
/// what is kept their attributes of the image.
[[nodiscard]] Result<> remove_all_but_kept(int upper_fd, int image_fd, const KeepList& keep);

/// Gives the /etc `etc_fd` a machine-id if it has none that is well-formed, unless the image's own
/// is a symlink. Returns true if it made one. Spec: machine-id(5).
[[nodiscard]] Result<bool> ensure_machine_id(int etc_fd, int image_fd);

}  // namespace cfs::initramfs
