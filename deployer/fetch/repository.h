// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>

#include "lib/base/byte_stream.h"
#include "lib/base/directory.h"
#include "lib/base/progress.h"
#include "lib/net/http_client.h"
#include "lib/release/description.h"
#include "lib/store/object_store.h"
#include "lib/transport/manifest.h"
#include "lib/trust/fetch.h"

namespace cfs::deployer {

/// What could not be fetched, and why.
using NotFetched = std::map<verity::Digest, Error>;

/// The far end: a release repository behind a URL. Everything it gives is unverified until it has
/// been compared with a digest that the signed metadata vouches for; that happens in here for
/// objects and files, before they get their names.
class Repository {
 public:
  [[nodiscard]] static Result<Repository> open(net::Url url, const net::ClientOptions& options);

  /// For lib/trust. Must not outlive the repository.
  [[nodiscard]] trust::Fetch metadata();

  /// Fetches objects into the store, several at once, and publishes them in groups, so that what is
  /// there survives an interruption. `progress` counts encoded bytes.
  /// Errors: kNetwork (also when the repository lacks an object), kCorrupt and kDigestMismatch (an
  /// object is not what its name says), kNoSpace, kInterrupted.
  [[nodiscard]] Result<> fetch_objects(std::span<const transport::Entry> objects,
                                       store::ObjectStore& store, Progress& progress);

  /// As fetch_objects(), for objects that somebody has found damaged: each one that arrives is put
  /// in the place of what the store has of that name, however right that seems. One that does not
  /// arrive is no reason to stop, unless the repository does not answer at all. Returns those, with
  /// why: kNotFound (the repository does not have it), kNetwork, kCorrupt, kDigestMismatch,
  /// kNoSpace. Errors: kInterrupted; those of storing.
  [[nodiscard]] Result<NotFetched> fetch_again(std::span<const transport::Entry> objects,
                                               store::ObjectStore& store, Progress& progress);

  /// Fetches a file of a release to `path` in a sysroot's directory: it appears whole and durable
  /// or not at all. Errors: as above.
  [[nodiscard]] Result<> fetch_file(const release::ReleaseFile& file, const Directory& directory,
                                    const std::string& path, Progress& progress);

 private:
  Repository(net::Url url, net::Client client) : url_(std::move(url)), client_(std::move(client)) {}
  Result<> fetch_group(std::span<const transport::Entry> objects, store::ObjectStore& store,
                       Progress& progress);
  /// Decodes one object while it arrives, into what `put` does with it.
  Result<> fetch_object(const transport::Entry& object, Progress& progress,
                        const std::function<Result<>(const ByteSource&)>& put);

  net::Url url_;
  net::Client client_;
};

/// Returns true if the file `path` is there with that size and SHA-256.
[[nodiscard]] Result<bool> file_is_there(const release::ReleaseFile& file,
                                         const Directory& directory, const std::string& path);

/// The SHA-256 of what can be read from `fd` on.
[[nodiscard]] Result<verity::Sha256Digest> sha256_of_file(int fd);

}  // namespace cfs::deployer
