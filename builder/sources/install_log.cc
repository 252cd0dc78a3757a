// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/install_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "lib/base/progress.h"

namespace cfs::builder {
namespace {

constexpr std::string_view kDownloading = "downloading packages";
constexpr std::string_view kUnpacking = "unpacking packages";
constexpr std::string_view kConfiguring = "configuring packages";

/// "22.2 MB" or "5616 B", as apt prints sizes; 0 for anything else.
uint64_t parse_size(std::string_view text) {
  double value = 0;
  auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc()) return 0;
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  double factor = unit.starts_with(" B")    ? 1
                  : unit.starts_with(" kB") ? 1e3
                  : unit.starts_with(" MB") ? 1e6
                  : unit.starts_with(" GB") ? 1e9
                                            : 0;
  return static_cast<uint64_t>(value * factor);
}

/// What follows the last `before` in `line`; empty when that is not there.
std::string_view after_last(std::string_view line, std::string_view before) {
  size_t found = line.rfind(before);
  return found == std::string_view::npos ? "" : line.substr(found + before.size());
}

}  // namespace

void InstallLog::read(std::string_view line) {
  if (line.starts_with("I: ")) {
    downloads_packages_ = false;
    std::string_view said = line.substr(3);
    if (said.ends_with("...")) step_ = said.substr(0, said.size() - 3);
  } else if (line.find(" newly installed, ") != std::string_view::npos) {
    // "0 upgraded, 60 newly installed, 0 to remove and 1 not upgraded."
    std::string_view count = after_last(line.substr(0, line.find(" newly installed, ")), " ");
    uint64_t packages = 0;
    std::from_chars(count.data(), count.data() + count.size(), packages);
    packages_.total += packages;
  } else if (line.starts_with("Need to get ")) {
    bytes_.total += parse_size(line.substr(12));
    downloads_packages_ = true;
    step_ = kDownloading;
  } else if (line.starts_with("Get:") && downloads_packages_) {
    ++packages_.done;
    bytes_.done += parse_size(after_last(line, "["));
    step_ = kDownloading;
  } else if (line.starts_with("Fetched ")) {
    downloads_packages_ = false;
  } else if (line.starts_with("Unpacking ") && packages_.total > 0) {
    ++unpacked_;
    step_ = kUnpacking;
  } else if (line.starts_with("Setting up ") && packages_.total > 0) {
    ++configured_;
    step_ = kConfiguring;
  }
}

std::string InstallLog::describe() const {
  // One package may be installed twice: usr-is-merged is there from the start.
  auto count = [&](uint64_t done) {
    return fmt::format("{}: {} of {}", step_, done, std::max(done, packages_.total));
  };
  if (step_ == kDownloading) {
    return fmt::format("{}, {} of {}", count(packages_.done), format_bytes(bytes_.done),
                       format_bytes(std::max(bytes_.done, bytes_.total)));
  }
  if (step_ == kUnpacking) return count(unpacked_);
  if (step_ == kConfiguring) return count(configured_);
  return step_;
}

}  // namespace cfs::builder
