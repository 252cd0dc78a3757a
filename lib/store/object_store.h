// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/base/unique_fd.h"
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
};

class Batch;

/// A directory of files named by their fs-verity digest: `ab/cdef…` (composefs-format.md §1).
///
/// Thread-safe; several processes may use one store at once.
/// Trust: whatever lies in the directory is untrusted until its digest has been checked.
class ObjectStore {
 public:
  /// Opens the store in `path`, creating the directory when it is missing.
  [[nodiscard]] static Result<ObjectStore> open(int dir_fd, const std::string& path,
                                                const StoreOptions& options);
  ObjectStore(ObjectStore&&) noexcept;
  ObjectStore& operator=(ObjectStore&&) noexcept;
  ~ObjectStore();

  /// Is there a file of that name whose content is known to be right? Known: the kernel's fs-verity
  /// measurement agrees or, where there is none, hashing it now says so. Cheap with fs-verity.
  [[nodiscard]] Result<bool> contains(const verity::Digest& digest) const;

  /// Opens an object read-only and proves its content first, as contains().
  /// Errors: kNotFound, kDigestMismatch, kNoVerity (policy kRequired).
  [[nodiscard]] Result<UniqueFd> open_object(const verity::Digest& digest) const;

  /// Digests of all files with an object's name, sorted. Contents are not looked at.
  [[nodiscard]] Result<std::vector<verity::Digest>> list() const;

  /// Starts a batch of additions.
  [[nodiscard]] Result<Batch> begin();

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
class Batch {
 public:
  Batch(Batch&&) noexcept;
  Batch& operator=(Batch&&) noexcept;
  ~Batch();

  struct Object {
    verity::Digest digest;
    uint64_t size_bytes = 0;
  };

  /// Fills the buffer; 0 = end.
  using Source = std::function<Result<size_t>(std::span<std::byte>)>;

  /// Adds what `source` yields; the digest is of the bytes that were stored.
  [[nodiscard]] Result<Object> put_stream(const Source& source);

  /// Adds the regular file `fd` (read from offset 0), by reflink or copy_file_range where possible.
  /// Errors: kSourceChanged when size, mtime or ctime moved while it was read.
  [[nodiscard]] Result<Object> put_file(int fd);

  /// Adds an object that must have the digest `expected` (fetched data). kDigestMismatch otherwise.
  [[nodiscard]] Result<> put_expected(const verity::Digest& expected, const Source& source);

  /// Makes all objects durable and gives them their names. Call once; nothing may be put later.
  [[nodiscard]] Result<> commit();

 private:
  friend class ObjectStore;
  struct State;
  explicit Batch(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace cfs::store
