// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/base/byte_stream.h"
#include "lib/base/result.h"
#include "lib/base/unique_fd.h"
#include "lib/store/file_digest.h"
#include "lib/store/sweep.h"
#include "lib/verity/digest.h"

namespace cfs::store {

/// What the store asks of fs-verity.
enum class VerityPolicy {
  kIfSupported,  ///< build hosts: enable where the file system can, go on where it cannot
  kRequired,     ///< devices: an object without fs-verity is never published and never opened
  kOffline,      ///< disk images made offline: verity comes later, through lib/disk
};

struct StoreOptions {
  VerityPolicy verity = VerityPolicy::kIfSupported;
  mode_t object_mode = 0644;  ///< 0444 on devices
  /// Of directories that are made, whatever the umask. None: who shares the store is for the umask
  /// (or a default ACL) to say.
  std::optional<mode_t> directory_mode;
  /// How messages call the store. Empty: by the path that it was opened with.
  std::string shown_path;
};

class Batch;

/// A directory of files named by their fs-verity digest: `ab/cdef…` (COMPOSEFS-FORMAT.md §1).
/// Besides the objects it holds `.cfs/` (docs/FORMATS.md): temporary files and, where there is no
/// fs-verity, a hint which objects have been hashed already.
///
/// Thread-safe; several processes may use one store at once. As long as one has it open, nobody
/// removes objects (lock.h).
/// Trust: whatever lies in the directory is untrusted until its digest has been checked.
class ObjectStore {
 public:
  /// Opens the store in `path`, creating the directory when it is missing.
  [[nodiscard]] static Result<ObjectStore> open(int dir_fd, const std::string& path,
                                                const StoreOptions& options);
  ObjectStore(ObjectStore&&) noexcept;
  ObjectStore& operator=(ObjectStore&&) noexcept;
  ~ObjectStore();

  /// Returns true if the object exists and its content is known to be right: the kernel's fs-verity
  /// measurement agrees or, where there is none, the file is the very one (inode, size, mtime,
  /// ctime) that was hashed or written earlier, or hashing it now says so. Constant time except for
  /// the last. Policy kRequired: only fs-verity counts.
  [[nodiscard]] Result<bool> contains(const verity::Digest& digest) const;

  /// Opens an object read-only and proves its content first, as contains().
  /// Errors: kNotFound, kDigestMismatch, kNoVerity (policy kRequired).
  [[nodiscard]] Result<UniqueFd> open_object(const verity::Digest& digest) const;

  /// Digests of all files with an object's name, sorted. Contents are not looked at.
  [[nodiscard]] Result<std::vector<verity::Digest>> list() const;

  /// Starts a batch of additions. Removes what batches of dead processes have left behind.
  [[nodiscard]] Result<Batch> begin();

  /// Removes every object that is not in `keep`, which is sorted, or only counts them: sweep().
  /// Removing takes what batches of dead processes have left too. No batch of this store may be
  /// alive, and nobody else may have the store open. Not synced: after a power cut objects may be
  /// there again, whole. Errors: kBusy (kRemove: another process has the store open); kInterrupted.
  [[nodiscard]] Result<Removed> remove_all_but(std::span<const verity::Digest> keep,
                                               Removal removal);

  /// The directory, for mount options and file-level copies.
  [[nodiscard]] int directory_fd() const;

 private:
  friend class Batch;
  struct State;
  explicit ObjectStore(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Objects on their way into a store. They lie under temporary names until commit() has synced all
/// of them with one syncfs; only then each gets fs-verity and its final name. A batch that is
/// destroyed, interrupted or cut off by a power failure leaves nothing under a final name that is
/// not whole. put_* may be called from several threads at once. An existing object is checked
/// (fs-verity or content) and replaced when it is not what its name says.
///
/// All put_* return kInterrupted after SIGINT (lib/base/interrupt.h) and kNoSpace when the file
/// system is full; the batch can be used on after any error. Memory: 1 MiB a thread, about 150
/// bytes an object that was not in the store. Must not outlive its store.
class Batch {
 public:
  Batch(Batch&&) noexcept;
  Batch& operator=(Batch&&) noexcept;
  ~Batch();

  /// Asked before each call of the source: how many zeros come next, which the source then leaves
  /// out; 0 = none, or too few to be worth it.
  using HoleSource = std::function<uint64_t()>;

  /// Adds what `source` yields; the digest is of the bytes that were stored. The zeros of `holes`
  /// are neither written nor hashed one by one.
  [[nodiscard]] Result<FileDigest> put_stream(const ByteSource& source,
                                              const HoleSource& holes = {});

  /// Adds `content`.
  [[nodiscard]] Result<FileDigest> put_bytes(Bytes content);

  /// Adds the regular file `fd`, whatever its position; larger ones by reflink or copy_file_range
  /// where possible. `status` is what fstat said when the caller looked at the file: metadata taken
  /// from it and the content stored belong together. The digest is of the bytes that were stored.
  /// Errors: kSourceChanged when size, mtime or ctime moved since then.
  [[nodiscard]] Result<FileDigest> put_file(int fd, const struct stat& status);

  /// Adds an object that must have the digest `expected` (fetched data). kDigestMismatch otherwise.
  /// `source` is not read when the object is there already.
  [[nodiscard]] Result<> put_expected(const verity::Digest& expected, const ByteSource& source);

  /// As put_expected(), also when the object is there and seems right: fs-verity measures what a
  /// file should hold, and whether its blocks still do shows only when they are read.
  [[nodiscard]] Result<> replace(const verity::Digest& expected, const ByteSource& source);

  /// Makes all objects durable and gives them their names. Call once; nothing may be put later.
  /// Errors: kUnsupported (policy kRequired and the file system has no fs-verity).
  [[nodiscard]] Result<> commit();

 private:
  friend class ObjectStore;
  struct State;
  explicit Batch(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace cfs::store
