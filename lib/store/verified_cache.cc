// SPDX-License-Identifier: Apache-2.0
#include "lib/store/verified_cache.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "lib/base/file_lock.h"
#include "lib/base/io.h"
#include "lib/verity/merkle.h"

namespace cfs::store {
namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr uint64_t kFineSlackNs = 20'000'000;       // two ticks of the slowest kernel clock
constexpr uint64_t kCoarseSlackNs = 2 * kSecondNs;  // file systems that keep whole (even) seconds
constexpr uint64_t kMaxEntries = uint64_t{1} << 24;
constexpr mode_t kMode = 0600;

struct Header {
  char magic[8];               //  0
  le32 version;                //  8
  le32 entry_size_bytes;       // 12
  le64 entry_count;            // 16
  le64 reserved;               // 24
  std::byte entries_hash[32];  // 32: SHA-256 of all entries
};
static_assert(sizeof(Header) == 64 && alignof(Header) == 1);
constexpr char kMagic[8] = {'c', 'f', 's', 'v', 'e', 'r', 'i', 'f'};
constexpr uint32_t kVersion = 1;

/// Did this user write it, and could nobody else? In a directory that several may write to, others
/// can put a file under our name, or move one of ours there: an object of ours, say, with a content
/// of their choice. Objects can be read by all; this file cannot.
bool is_ours(int fd) {
  Result<struct stat> status = fstat_fd(fd);
  return status && S_ISREG(status->st_mode) && status->st_uid == ::geteuid() &&
         (status->st_mode & 07777) == kMode && status->st_nlink == 1;
}

/// This user's file, made when it is missing or not what it should be.
Result<UniqueFd> open_to_save(int directory_fd) {
  constexpr int kFlags = O_RDWR | O_NOFOLLOW | O_NONBLOCK;
  const std::string name = VerifiedCache::file_name();
  Result<UniqueFd> fd = open_at(directory_fd, name, kFlags);
  if (fd && is_ours(fd->get())) return fd;
  CFS_TRY(remove_file(directory_fd, name));
  return open_at(directory_fd, name, kFlags | O_CREAT | O_EXCL, kMode);
}

}  // namespace

std::string VerifiedCache::file_name() { return "verified-" + std::to_string(::geteuid()); }

bool is_recent(const StatIdentity& identity, uint64_t now_ns) {
  uint64_t slack = identity.ctime_ns % kSecondNs == 0 ? kCoarseSlackNs : kFineSlackNs;
  return identity.ctime_ns + slack >= now_ns;
}

uint64_t file_clock_ns() {
  timespec now = {};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return static_cast<uint64_t>(now.tv_sec) * kSecondNs + static_cast<uint64_t>(now.tv_nsec);
}

std::vector<VerifiedCache::Entry> VerifiedCache::read_entries(int fd) {
  Result<struct stat> status = fstat_fd(fd);
  Header header;
  if (!status || !is_ours(fd) ||
      pread_full(fd, std::as_writable_bytes(std::span(&header, 1)), 0).value_or(0) !=
          sizeof(header) ||
      std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0 || header.version != kVersion ||
      header.entry_size_bytes != sizeof(Entry) || header.entry_count > kMaxEntries ||
      static_cast<uint64_t>(status->st_size) !=
          sizeof(header) + header.entry_count * sizeof(Entry)) {
    return {};
  }
  std::vector<Entry> entries(static_cast<size_t>(header.entry_count));
  std::span<std::byte> raw = std::as_writable_bytes(std::span(entries));
  if (pread_full(fd, raw, sizeof(header)).value_or(0) != raw.size()) return {};
  verity::Sha256Digest hash = verity::sha256(raw);
  if (!std::equal(hash.bytes().begin(), hash.bytes().end(), header.entries_hash)) return {};
  return entries;
}

VerifiedCache VerifiedCache::load(int directory_fd) {
  VerifiedCache cache;
  Result<UniqueFd> fd = open_at(directory_fd, file_name(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!fd || !is_ours(fd->get())) return cache;
  Result<FileLock> lock = FileLock::take(std::move(*fd), LockMode::kShared);
  if (lock) cache.entries_ = read_entries(lock->fd());
  return cache;
}

bool VerifiedCache::matches(const verity::Digest& digest, const StatIdentity& identity) const {
  auto recent = recorded_.find(digest);
  if (recent != recorded_.end()) return recent->second == identity;
  auto is_less = [](const Entry& entry, Bytes wanted) {
    return std::lexicographical_compare(entry.digest.begin(), entry.digest.end(), wanted.begin(),
                                        wanted.end());
  };
  auto entry = std::lower_bound(entries_.begin(), entries_.end(), digest.bytes(), is_less);
  return entry != entries_.end() &&
         std::equal(entry->digest.begin(), entry->digest.end(), digest.bytes().begin()) &&
         identity ==
             StatIdentity{entry->inode, entry->size_bytes, entry->mtime_ns, entry->ctime_ns};
}

void VerifiedCache::record(const verity::Digest& digest, const StatIdentity& identity) {
  recorded_.insert_or_assign(digest, identity);
}

Result<> VerifiedCache::save(int directory_fd) {
  // Two processes that save at once keep each other's entries. Nobody else can hold this lock.
  FileLock file =
      CFS_TRY_WITH("while saving the store's cache",
                   FileLock::take(CFS_TRY(open_to_save(directory_fd)), LockMode::kExclusive));
  std::vector<Entry> merged = read_entries(file.fd());
  std::erase_if(merged, [this](const Entry& entry) {
    return recorded_.contains(*verity::Digest::from_bytes(entry.digest));
  });
  for (const auto& [digest, identity] : recorded_) {
    Entry entry{.digest = {},
                .inode = identity.inode,
                .size_bytes = identity.size_bytes,
                .mtime_ns = identity.mtime_ns,
                .ctime_ns = identity.ctime_ns};
    std::copy(digest.bytes().begin(), digest.bytes().end(), entry.digest.begin());
    merged.push_back(entry);
  }
  if (merged.size() > kMaxEntries) return {};
  std::sort(merged.begin(), merged.end(),
            [](const Entry& a, const Entry& b) { return a.digest < b.digest; });

  Bytes raw = std::as_bytes(std::span(merged));
  Header header = {};
  std::copy(std::begin(kMagic), std::end(kMagic), header.magic);
  header.version = kVersion;
  header.entry_size_bytes = sizeof(Entry);
  header.entry_count = merged.size();
  verity::Sha256Digest hash = verity::sha256(raw);
  std::copy(hash.bytes().begin(), hash.bytes().end(), header.entries_hash);

  CFS_TRY(pwrite_full(file.fd(), std::as_bytes(std::span(&header, 1)), 0));
  CFS_TRY(pwrite_full(file.fd(), raw, sizeof(header)));
  if (::ftruncate(file.fd(), static_cast<off_t>(sizeof(header) + raw.size())) != 0) {
    return errno_error("cannot truncate the store's cache");
  }
  entries_ = std::move(merged);
  recorded_.clear();
  return {};
}

}  // namespace cfs::store
