// SPDX-License-Identifier: Apache-2.0
// The one interface of sources. A new kind is one file beside this one and one row in source.cc.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "builder/manifest/manifest.h"
#include "builder/rootfs.h"
#include "lib/base/result.h"

namespace cfs::builder {

/// Whether what child programs print is shown as it is.
enum class Verbosity { kProgress, kEverything };

/// What a source needs to know of the build besides its own part of the manifest.
struct SourceContext {
  std::string arch;
  int64_t source_date_epoch = 0;
  std::string output;  ///< the directory that the build makes: absolute, without symlinks
  std::string store;   ///< likewise the object store; empty: it is in the output
  Verbosity verbosity = Verbosity::kProgress;
};

/// One item of the manifest's `sources`. The steps are called once each, in this order; the first
/// two for all sources before the last for any.
class Source {
 public:
  Source() = default;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  virtual ~Source() = default;

  /// Has packages installed besides those of the manifest. Only for kinds that can
  /// (SourceKind::installs_packages).
  virtual void add_package(const WantedPackage& package);

  /// Finds what is wrong at once: paths that do not exist, programs that are not installed. Changes
  /// nothing, asks no network.
  [[nodiscard]] virtual Result<> check(const SourceContext& context) const = 0;

  /// Finds what takes seconds to find out, such as packages that do not exist.
  [[nodiscard]] virtual Result<> prepare(const SourceContext& context);

  /// Puts what the source holds over what `rootfs` holds.
  [[nodiscard]] virtual Result<> import(const SourceContext& context, Rootfs& rootfs) = 0;
};

/// Every kind of source there is.
[[nodiscard]] std::span<const SourceKind> source_kinds();

}  // namespace cfs::builder
