// SPDX-License-Identifier: Apache-2.0
#include "deployer/fetch/repository.h"

#include <openssl/evp.h>

#include <algorithm>

#include "lib/base/hex.h"
#include "lib/base/io.h"
#include "lib/base/thread_pool.h"
#include "lib/release/layout.h"
#include "lib/transport/encoding.h"

namespace cfs::deployer {
namespace {

constexpr unsigned kParallelDownloads = 8;
// What an interruption may cost at most: objects get their names a group at a time.
constexpr uint64_t kGroupBytes = 64 << 20;
constexpr size_t kGroupObjects = 4096;

/// SHA-256 of a stream.
class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr);
  }
  void update(Bytes data) { EVP_DigestUpdate(context_.get(), data.data(), data.size()); }
  verity::Sha256Digest finish() {
    verity::Sha256Digest digest;
    EVP_DigestFinal_ex(context_.get(),
                       reinterpret_cast<unsigned char*>(digest.mutable_bytes().data()), nullptr);
    return digest;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

/// What signed metadata names must be there: a repository without it is broken or half-uploaded.
Error missing_is_a_network_error(Error error) {
  if (error.code != ErrorCode::kNotFound) return error;
  error.code = ErrorCode::kNetwork;
  return std::move(error).with_hint(
      "the repository lacks a file that its metadata names; try again later or tell its operator");
}

}  // namespace

Result<Repository> Repository::open(std::string url, const net::ClientOptions& options) {
  return Repository(std::move(url), CFS_TRY(net::Client::create(options)));
}

trust::Fetch Repository::metadata() {
  return [this](const std::string& path, size_t limit_bytes) -> Result<Unverified<std::string>> {
    net::Download download = CFS_TRY(client_.get(net::join_url(url_, path), limit_bytes));
    return Unverified<std::string>(CFS_TRY(download.read_all()));
  };
}

Result<> Repository::fetch_objects(std::span<const transport::Entry> objects,
                                   store::ObjectStore& store, Progress& progress) {
  while (!objects.empty()) {
    size_t count = 0;
    for (uint64_t bytes = 0;
         count < std::min(objects.size(), kGroupObjects) && (count == 0 || bytes < kGroupBytes);
         ++count) {
      bytes += objects[count].size_bytes;
    }
    CFS_TRY(fetch_group(objects.first(count), store, progress));
    objects = objects.subspan(count);
  }
  return {};
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
    pool.submit(
        [this, object, &batch, &progress] { return fetch_object(*object, batch, progress); });
  }
  Result<> fetched = pool.finish();
  if (fetched) return batch.commit();
  ErrorCode code = fetched.error().code;
  if (code == ErrorCode::kNetwork || code == ErrorCode::kInterrupted) {
    (void)batch.commit();  // what did arrive need not be fetched again; the first error counts
  }
  return fetched;
}

Result<> Repository::fetch_object(const transport::Entry& object, store::Batch& batch,
                                  Progress& progress) {
  auto fetch = [&]() -> Result<> {
    net::Download download =
        CFS_TRY(client_.get(net::join_url(url_, release::encoded_object_path(object.digest)),
                            object.encoded_size_bytes));
    transport::ObjectDecoder decoder(
        [&](std::span<std::byte> buffer) -> Result<size_t> {
          size_t count = CFS_TRY(download.read(buffer));
          progress.add(count);
          return count;
        },
        object.size_bytes);
    return batch.put_expected(object.digest,
                              [&](std::span<std::byte> buffer) { return decoder.read(buffer); });
  };
  Result<> result = fetch();
  if (result) return {};
  return missing_is_a_network_error(std::move(result).error())
      .with("while fetching object " + object.digest.hex());
}

Result<> Repository::fetch_file(const release::ReleaseFile& file, int dir_fd,
                                const std::string& path, Progress& progress) {
  const std::string temporary = "tmp/" + file.name;
  auto fetch = [&]() -> Result<> {
    const std::string source = release::target_path(file.sha256, file.name);
    net::Download download = CFS_TRY(client_.get(net::join_url(url_, source), file.size_bytes));
    UniqueFd out = CFS_TRY(open_at(dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    Sha256 sha256;
    std::vector<std::byte> buffer(256 << 10);
    while (size_t count = CFS_TRY(download.read(buffer))) {
      Bytes piece = Bytes(buffer).first(count);
      sha256.update(piece);
      CFS_TRY(write_full(out.get(), piece));
      progress.add(count);
    }
    if (sha256.finish() != file.sha256) {
      return make_error(ErrorCode::kDigestMismatch,
                        "the repository's '" + source + "' is not what the release describes");
    }
    CFS_TRY(fsync_fd(out.get()));
    CFS_TRY(rename_at(dir_fd, temporary, dir_fd, path));
    return fsync_directory(dir_fd, path.substr(0, path.rfind('/')));
  };
  Result<> result = fetch();
  if (result) return {};
  (void)remove_file(dir_fd, temporary);
  return missing_is_a_network_error(std::move(result).error())
      .with("while fetching '" + file.name + "'");
}

Result<bool> file_is_there(const release::ReleaseFile& file, int dir_fd, const std::string& path) {
  Result<UniqueFd> opened = open_regular_at(dir_fd, path);
  if (!opened && opened.error().code == ErrorCode::kNotFound) return false;
  if (!opened) return Error(std::move(opened).error());
  struct stat status = CFS_TRY(fstat_fd(opened->get()));
  if (static_cast<uint64_t>(status.st_size) != file.size_bytes) return false;
  Sha256 sha256;
  std::vector<std::byte> buffer(256 << 10);
  while (size_t count = CFS_TRY(read_full(opened->get(), buffer))) {
    sha256.update(Bytes(buffer).first(count));
  }
  return sha256.finish() == file.sha256;
}

}  // namespace cfs::deployer
