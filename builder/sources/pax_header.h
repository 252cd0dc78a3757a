// SPDX-License-Identifier: Apache-2.0
// The extended headers of the pax format: records that say more about an entry than its header can.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "builder/sources/sparse_map.h"
#include "lib/base/result.h"

namespace cfs::builder {

struct PaxTime {
  int64_t seconds = 0;
  uint32_t nanoseconds = 0;  ///< 0..999,999,999, counted forwards before 1970 too
};

/// What the records of extended headers say about an entry. Texts have no NUL where it means
/// nothing; numbers are below 2^63.
struct PaxAttributes {
  std::optional<std::string> path;       ///< not empty, kMaxTarNameBytes at most
  std::optional<std::string> link_path;  ///< likewise
  std::optional<uint64_t> size;
  std::optional<int64_t> uid;
  std::optional<int64_t> gid;
  std::optional<PaxTime> mtime;
  std::optional<uint64_t> device_major;
  std::optional<uint64_t> device_minor;
  std::map<std::string, std::string, std::less<>> xattrs;  ///< of SCHILY
  std::map<std::string, std::string, std::less<>> libarchive_xattrs;
  std::optional<std::string> access_acl;
  std::optional<std::string> default_acl;
  std::optional<std::string> dump_directory;

  bool is_sparse = false;                  ///< has any record of GNU.sparse
  std::optional<std::string> sparse_name;  ///< as `path`
  std::optional<uint64_t> sparse_major;
  std::optional<uint64_t> sparse_minor;
  std::optional<uint64_t> sparse_real_size;
  std::optional<uint64_t> sparse_count;
  std::optional<uint64_t> sparse_offset;  ///< version 0.0: waits for its size
  std::vector<TarExtent> sparse_extents;  ///< versions 0.0 and 0.1
  bool has_sparse_pairs = false;
  bool has_sparse_map = false;
};

enum class PaxScope { kEntry, kGlobal };

/// Takes the records of an extended header of type 'x' (kEntry) or 'g' (kGlobal) into `attributes`,
/// over what is there. Errors: kCorrupt, which names the record and the reason.
/// Spec: POSIX.1-2017 pax, "pax Extended Header"; star(5); GNU tar manual, "Tar Internals";
/// libarchive tar(5).
[[nodiscard]] Result<> parse_pax(std::string_view body, PaxScope scope, PaxAttributes& attributes);

/// The extended attributes in both forms of records, each name once; those in `attributes` are
/// used up. Errors: kCorrupt, with the reason only, when they contradict each other.
[[nodiscard]] Result<std::vector<std::pair<std::string, std::string>>> take_xattrs(
    PaxAttributes& attributes);

}  // namespace cfs::builder
