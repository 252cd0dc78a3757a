// SPDX-License-Identifier: Apache-2.0
// The TUF client of devices as the program that the tuf-conformance suite drives (README.md says
// how). Exit status 0 or 1, as the suite's protocol wants.
#include <string>
#include <vector>

#include "lib/base/atomic_file.h"
#include "lib/base/io.h"
#include "lib/command/command_line.h"
#include "lib/command/program.h"
#include "lib/net/http_client.h"
#include "lib/net/url.h"
#include "lib/trust/client.h"

namespace cfs {
namespace {

struct Arguments {
  std::string metadata_dir;
  std::string metadata_url;
  std::string target_url;
  std::string target_dir;
  std::string root;
  std::vector<std::string> target_names;
};

/// The suite takes every *.json in the directory for the metadata of a role, so the first root,
/// which is a copy, lies there under another name.
class ConformanceStore : public trust::MetadataStore {
 public:
  explicit ConformanceStore(trust::MetadataDirectory directory)
      : directory_(std::move(directory)) {}
  Result<std::optional<Unverified<std::string>>> load(std::string_view name,
                                                      size_t limit_bytes) override {
    return directory_.load(file_name(name), limit_bytes);
  }
  Result<> save(std::string_view name, std::string_view content) override {
    return directory_.save(file_name(name), content);
  }
  Result<> remove(std::string_view name) override { return directory_.remove(file_name(name)); }

 private:
  static std::string_view file_name(std::string_view name) {
    return name == "initial_root.json" ? "initial_root" : name;
  }
  trust::MetadataDirectory directory_;
};

Result<ConformanceStore> open_store(const Arguments& arguments) {
  return ConformanceStore(
      CFS_TRY(trust::MetadataDirectory::open(AT_FDCWD, arguments.metadata_dir)));
}

Result<> init(const Arguments& arguments) {
  ConformanceStore store = CFS_TRY(open_store(arguments));
  std::string root =
      CFS_TRY(read_file(AT_FDCWD, arguments.root, trust::max_size_bytes(trust::Role::kRoot)));
  return trust::trust_root(store, Unverified(std::move(root)));
}

/// A repository has one address; the suite gives one for metadata and one for targets.
trust::Fetch fetch_from(net::Client& client, const Arguments& arguments) {
  return [&](const std::string& path, size_t limit_bytes) -> Result<Unverified<std::string>> {
    const size_t slash = path.find('/') + 1;
    const std::string& base =
        path.starts_with("metadata/") ? arguments.metadata_url : arguments.target_url;
    net::Url url = CFS_TRY(net::Url::parse(base));
    net::Download download = CFS_TRY(client.get(url.join(path.substr(slash)), limit_bytes));
    return Unverified<std::string>(CFS_TRY(download.read_all()));
  };
}

std::string file_name_of(std::string name) {
  for (size_t at = 0; (at = name.find('/', at)) != std::string::npos;) name.replace(at, 1, "%2F");
  return name;
}

Result<> download_target(trust::MetadataStore& store,
                         const trust::Verified<trust::Targets>& targets, const std::string& name,
                         const trust::Fetch& fetch, const Arguments& arguments) {
  trust::Verified<trust::TargetEntry> entry =
      CFS_TRY(trust::search_target(store, fetch, targets, name, current_time()));
  const std::string path = arguments.target_dir + "/" + file_name_of(name);
  if (Result<std::string> present = read_file(AT_FDCWD, path, entry->size_bytes)) {
    if (trust::verify_target(entry, Unverified(std::move(*present)))) return {};
  }
  std::string content = CFS_TRY(trust::fetch_needed(fetch, entry->path(), entry->size_bytes));
  trust::Verified<std::string> verified =
      CFS_TRY(trust::verify_target(entry, Unverified(std::move(content))));
  return write_file_atomically(AT_FDCWD, path, as_bytes(*verified));
}

Result<> refresh_and_download(const Arguments& arguments) {
  ConformanceStore store = CFS_TRY(open_store(arguments));
  net::Client client = CFS_TRY(net::Client::create());
  trust::Fetch fetch = fetch_from(client, arguments);
  trust::Verified<trust::Targets> targets = CFS_TRY(trust::refresh(store, fetch, current_time()));
  for (const std::string& name : arguments.target_names) {
    CFS_TRY(download_target(store, targets, name, fetch, arguments));
  }
  return {};
}

Result<int> run(const std::vector<std::string>& words, const Io& io) {
  Arguments arguments;
  CLI::App app("The TUF client of cfs for the tuf-conformance suite.", "cfs-tuf-client");
  app.require_subcommand(1);
  app.add_option("--metadata-dir", arguments.metadata_dir)->required();
  app.add_option("--metadata-url", arguments.metadata_url);
  app.add_option("--target-name", arguments.target_names);
  app.add_option("--target-base-url", arguments.target_url);
  app.add_option("--target-dir", arguments.target_dir);
  CLI::App* init_command = app.add_subcommand("init");
  init_command->add_option("ROOT", arguments.root)->required();
  app.add_subcommand("refresh");
  app.add_subcommand("download");
  if (CFS_TRY(command::parse(app, words, io)) == command::Parsed::kHelpPrinted) return 0;
  CFS_TRY(init_command->parsed() ? init(arguments) : refresh_and_download(arguments));
  return 0;
}

}  // namespace
}  // namespace cfs

int main(int argc, char** argv) {
  return cfs::run_program("cfs-tuf-client", cfs::run, argc, argv) == 0 ? 0 : 1;
}
