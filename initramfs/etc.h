// SPDX-License-Identifier: Apache-2.0
// The root's /etc: made ready before it is mounted.
// docs/decisions/033-what-of-etc-survives.md says why it is done at boot, and like this.
#pragma once

#include <string>
#include <vector>

#include "lib/base/directory.h"
#include "lib/base/result.h"
#include "lib/kernel_cmdline/root_policy.h"
#include "lib/verity/digest.h"

namespace cfs::initramfs {

/// What is mounted at /etc. Paths are below cfs/state/etc.
struct Etc {
  std::string tree;   ///< this directory itself; empty: an overlay
  std::string upper;  ///< the overlay's upper layer
  std::string work;   ///< the work directory that goes with it

  bool operator==(const Etc&) const = default;
};

/// Makes /etc ready for a boot of the image `digest`, whose own /etc is `image_fd`. `cfs`: the
/// device's directory. What is kept is taken from the /etc that was used last, whichever release's
/// that was. With the modes overlay and merge a release that boots for the first time takes over
/// its other changes too. A cut at any instant leaves the /etc that was used last as it was, and
/// the next call begins anew. Errors: those of the file system.
[[nodiscard]] Result<Etc> prepare_etc(const Directory& cfs, int image_fd,
                                      const verity::Digest& digest,
                                      const kernel_cmdline::RootPolicy& policy);

/// What there is for this boot when the disk cannot be changed: a directory below cfs/state/etc to
/// lie below an upper layer in memory. It is empty when there is none, as with the modes transient
/// and ro; what is kept is then copied to `upper_fd`, that upper layer, as far as it can be read.
/// Errors: kNotFound (overlay and merge: the release has never booted).
[[nodiscard]] Result<std::string> prepare_etc_in_memory(const Directory& cfs, int upper_fd,
                                                        int image_fd, const verity::Digest& digest,
                                                        const kernel_cmdline::RootPolicy& policy);

/// Puts in the place of cfs/state/etc a directory that has nothing but what `keep` keeps, whole and
/// durable or not at all.
[[nodiscard]] Result<> discard_etc(const Directory& cfs, int image_fd,
                                   const std::vector<std::string>& keep);

}  // namespace cfs::initramfs
