// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/base/little_endian.h"
#include "lib/base/result.h"
#include "lib/verity/digest.h"

namespace cfs::store {

/// What tells one state of a file from every other, as far as stat can: any change of the content
/// or a replacement of the file changes it. Times are nanoseconds since 1970, modulo 2^64.
struct StatIdentity {
  uint64_t inode = 0;
  uint64_t size_bytes = 0;
  uint64_t mtime_ns = 0;
  uint64_t ctime_ns = 0;
  bool operator==(const StatIdentity&) const = default;
};

/// Returns true if the file could be written to at `now_ns` or later and still show the same ctime,
/// so that its identity proves nothing. Kernels stamp files with a clock of 1 to 10 ms, some file
/// systems keep whole seconds only.
[[nodiscard]] bool is_recent(const StatIdentity& identity, uint64_t now_ns);

/// The time of is_recent: what the kernel stamps files with.
[[nodiscard]] uint64_t file_clock_ns();

/// Which objects of a store without fs-verity have been hashed already: digest → StatIdentity.
///
/// A hint and nothing more: an object whose identity is not exactly the recorded one is hashed
/// again, and a file that is missing, damaged or of another version is an empty cache. Each user
/// has a file of his own, and one that anybody else can have written is an empty cache too. Not
/// thread-safe.
/// Spec: docs/FORMATS.md, "Hint of verified objects".
class VerifiedCache {
 public:
  /// The name of this user's file.
  [[nodiscard]] static std::string file_name();

  /// Reads the cache in `directory_fd`; empty when there is none that can be used.
  [[nodiscard]] static VerifiedCache load(int directory_fd);

  [[nodiscard]] bool matches(const verity::Digest& digest, const StatIdentity& identity) const;
  void record(const verity::Digest& digest, const StatIdentity& identity);

  /// Returns true if there is something to save.
  [[nodiscard]] bool changed() const { return !recorded_.empty(); }

  /// Adds what was recorded to the file, which another process may have changed since load(). Not
  /// synced: a torn file fails its SHA-256, and load() takes it for an empty cache.
  [[nodiscard]] Result<> save(int directory_fd);

 private:
  /// On-disk entry.
  struct Entry {
    std::array<std::byte, 32> digest;  //  0
    le64 inode;                        // 32
    le64 size_bytes;                   // 40
    le64 mtime_ns;                     // 48
    le64 ctime_ns;                     // 56
  };
  static_assert(sizeof(Entry) == 64 && alignof(Entry) == 1);

  [[nodiscard]] static std::vector<Entry> read_entries(int fd);

  std::vector<Entry> entries_;  ///< as in the file: sorted by digest
  std::unordered_map<verity::Digest, StatIdentity> recorded_;
};

}  // namespace cfs::store
