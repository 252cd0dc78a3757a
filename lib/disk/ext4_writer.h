// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "lib/base/result.h"
#include "lib/disk/root_entry.h"

namespace cfs::disk {

/// Fills an ext4 file system that lies in a file, without mounting it, by libext2fs.
///
/// Data blocks go straight into the file; libext2fs keeps the metadata in memory until close().
/// One thread at a time. After an error the file system is useless and the object only to be
/// destroyed.
class Ext4Writer {
 public:
  /// Opens the file system at `offset_bytes` of the file `path`: 4 KiB blocks, 256-byte inodes,
  /// extents, fresh from mke2fs. All times that entries do not set become `now_seconds`.
  /// Errors: kCorrupt, kUnsupported (other dimensions), kIo.
  [[nodiscard]] static Result<Ext4Writer> open(const std::string& path, uint64_t offset_bytes,
                                               int64_t now_seconds);
  Ext4Writer(Ext4Writer&&) noexcept;
  Ext4Writer& operator=(Ext4Writer&&) = delete;
  Ext4Writer(const Ext4Writer&) = delete;
  Ext4Writer& operator=(const Ext4Writer&) = delete;
  ~Ext4Writer();

  /// Adds one entry. Missing parents are made (0755, owner 0:0). A directory that is there, the
  /// root (path "") too, gets the entry's attributes; anything else that is there is kExists.
  /// Errors: kInvalidInput (path, type, times, xattrs), kDigestMismatch (content is not what
  /// `entry.verity` says), kSourceChanged (host file shorter or longer than it was), kNoSpace.
  [[nodiscard]] Result<> add(const RootEntry& entry,
                             const std::function<void(uint64_t)>& on_progress);

  /// Keeps the last so many free bytes for root. At most half of the file system.
  void reserve_for_root(uint64_t bytes);

  /// Bytes that are free for files of root now.
  [[nodiscard]] uint64_t free_bytes() const;

  /// Writes the metadata. Call once, last. Syncing the file is the caller's.
  [[nodiscard]] Result<> close();

 private:
  struct State;
  explicit Ext4Writer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace cfs::disk
