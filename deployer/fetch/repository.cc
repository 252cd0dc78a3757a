// SPDX-License-Identifier: Apache-2.0
#include "deployer/fetch/repository.h"

#include <algorithm>
#include <memory>
#include <mutex>

#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/thread_pool.h"
#include "lib/release/layout.h"
#include "lib/sysroot/layout.h"
#include "lib/transport/encoding.h"
#include "lib/verity/sha256.h"

namespace cfs::deployer {
namespace {

constexpr unsigned kParallelDownloads = 8;
// What an interruption may cost at most: objects get their names a group at a time.
constexpr uint64_t kGroupBytes = 64 << 20;
constexpr size_t kGroupObjects = 4096;
constexpr size_t kBufferBytes = 128 << 10;
// A repository that did not answer so often in a row is not asked for the rest.
constexpr unsigned kFailuresUntilUnreachable = 3;

/// How many of the objects, one at least, make up the next group.
size_t group_size(std::span<const transport::Entry> objects) {
  size_t count = 0;
  for (uint64_t bytes = 0;
       count < std::min(objects.size(), kGroupObjects) && (count == 0 || bytes < kGroupBytes);
       ++count) {
    bytes += objects[count].size_bytes;
  }
  return count;
}

/// What signed metadata names must be there: a repository without it is broken or half-uploaded.
Error missing_is_a_network_error(Error error) {
  if (error.code != ErrorCode::kNotFound) return error;
  error.code = ErrorCode::kNetwork;
  return std::move(error).with_hint(
      "the repository lacks a file that its metadata names; try again later or tell its operator");
}

}  // namespace

Result<Repository> Repository::open(net::Url url, const net::ClientOptions& options) {
  return Repository(std::move(url), CFS_TRY(net::Client::create(options)));
}

trust::Fetch Repository::metadata() {
  return [this](const std::string& path, size_t limit_bytes) -> Result<Unverified<std::string>> {
    net::Download download = CFS_TRY(client_.get(url_.join(path), limit_bytes));
    return Unverified<std::string>(CFS_TRY(download.read_all()));
  };
}

Result<> Repository::fetch_objects(std::span<const transport::Entry> objects,
                                   store::ObjectStore& store, Progress& progress) {
  while (!objects.empty()) {
    std::span<const transport::Entry> group = objects.first(group_size(objects));
    CFS_TRY(fetch_group(group, store, progress));
    objects = objects.subspan(group.size());
  }
  return {};
}

Result<NotFetched> Repository::fetch_again(std::span<const transport::Entry> objects,
                                           store::ObjectStore& store, Progress& progress) {
  NotFetched left;
  std::mutex mutex;       // protects it and what follows
  unsigned failures = 0;  // in a row, for which the network is to blame
  while (!objects.empty()) {
    std::span<const transport::Entry> group = objects.first(group_size(objects));
    objects = objects.subspan(group.size());
    store::Batch batch = CFS_TRY(store.begin());
    ThreadPool pool(kParallelDownloads);
    for (const transport::Entry& object : group) {
      pool.submit([&, object]() -> Result<> {
        {
          std::lock_guard lock(mutex);
          if (failures >= kFailuresUntilUnreachable) {
            left.insert_or_assign(
                object.digest, make_error(ErrorCode::kNetwork, "the repository does not answer"));
            return {};
          }
        }
        Result<> fetched = fetch_object(object, progress, [&](const ByteSource& source) {
          return batch.replace(object.digest, source);
        });
        CFS_TRY(check_interrupted());
        std::lock_guard lock(mutex);
        const bool is_unreachable = !fetched && fetched.error().code == ErrorCode::kNetwork;
        failures = is_unreachable ? failures + 1 : 0;
        if (!fetched) left.insert_or_assign(object.digest, std::move(fetched).error());
        return {};
      });
    }
    CFS_TRY(pool.finish());
    CFS_TRY(batch.commit());
  }
  return left;
}

Result<> Repository::fetch_group(std::span<const transport::Entry> objects,
                                 store::ObjectStore& store, Progress& progress) {
  store::Batch batch = CFS_TRY(store.begin());
  std::vector<const transport::Entry*> order;  // large ones first: an even finish
  for (const transport::Entry& object : objects) order.push_back(&object);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return a->encoded_size_bytes > b->encoded_size_bytes;
  });
  ThreadPool pool(kParallelDownloads);
  for (const transport::Entry* object : order) {
    pool.submit([this, object, &batch, &progress]() -> Result<> {
      Result<> fetched = fetch_object(*object, progress, [&](const ByteSource& source) {
        return batch.put_expected(object->digest, source);
      });
      if (!fetched) return missing_is_a_network_error(std::move(fetched).error());
      return {};
    });
  }
  Result<> fetched = pool.finish();
  if (fetched) return batch.commit();
  ErrorCode code = fetched.error().code;
  if (code == ErrorCode::kNetwork || code == ErrorCode::kInterrupted) {
    (void)batch.commit();  // what did arrive need not be fetched again; the first error counts
  }
  return fetched;
}

Result<> Repository::fetch_object(const transport::Entry& object, Progress& progress,
                                  const std::function<Result<>(const ByteSource&)>& put) {
  auto fetch = [&]() -> Result<> {
    net::Download download = CFS_TRY(client_.get(
        url_.join(release::encoded_object_path(object.digest)), object.encoded_size_bytes));
    transport::ObjectDecoder decoder(
        [&](std::span<std::byte> buffer) -> Result<size_t> {
          size_t count = CFS_TRY(download.read(buffer));
          progress.add(count);
          return count;
        },
        object.size_bytes);
    return put([&](std::span<std::byte> buffer) { return decoder.read(buffer); });
  };
  CFS_TRY_WITH("while fetching object " + object.digest.hex(), fetch());
  return {};
}

Result<> Repository::fetch_file(const release::ReleaseFile& file, const Directory& directory,
                                const std::string& path, Progress& progress) {
  auto fetch = [&]() -> Result<> {
    const std::string source = release::target_path(file.sha256.hex(), file.name);
    net::Download download = CFS_TRY(client_.get(url_.join(source), file.size_bytes));
    AtomicFile out = CFS_TRY(directory.create_file(path, sysroot::mode_of(path, false)));
    verity::Sha256Hasher sha256;
    std::vector<std::byte> buffer(kBufferBytes);
    while (size_t count = CFS_TRY(download.read(buffer))) {
      Bytes piece = Bytes(buffer).first(count);
      sha256.update(piece);
      CFS_TRY(write_full(out.fd(), piece));
      progress.add(count);
    }
    if (sha256.finish() != file.sha256) {
      return make_error(ErrorCode::kDigestMismatch,
                        "the repository's '" + source + "' is not what the release describes");
    }
    return out.publish();
  };
  Result<> result = fetch();
  if (result) return {};
  return missing_is_a_network_error(std::move(result).error())
      .with("while fetching '" + file.name + "'");
}

Result<bool> file_is_there(const release::ReleaseFile& file, const Directory& directory,
                           const std::string& path) {
  Result<UniqueFd> opened = directory.open_file(path);
  bool is_no_file = !opened && (opened.error().code == ErrorCode::kNotFound ||
                                opened.error().code == ErrorCode::kInvalidInput);
  if (is_no_file) return false;
  if (!opened) return Error(std::move(opened).error());
  struct stat status = CFS_TRY(fstat_fd(opened->get()));
  if (static_cast<uint64_t>(status.st_size) != file.size_bytes) return false;
  return CFS_TRY(sha256_of_file(opened->get())) == file.sha256;
}

Result<verity::Sha256Digest> sha256_of_file(int fd) {
  verity::Sha256Hasher sha256;
  std::vector<std::byte> buffer(kBufferBytes);
  while (size_t count = CFS_TRY(read_full(fd, buffer))) {
    CFS_TRY(check_interrupted());
    sha256.update(Bytes(buffer).first(count));
  }
  return sha256.finish();
}

}  // namespace cfs::deployer
