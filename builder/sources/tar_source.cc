// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/tar_source.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>

#include "builder/sources/host_path.h"
#include "builder/sources/source.h"
#include "builder/sources/tar.h"
#include "lib/base/io.h"

namespace cfs::builder {
namespace {

constexpr int64_t kMaxStrip = 100;

class TarSource : public Source {
 public:
  TarSource(const yaml::Map& map, const std::string& folder) {
    if (map.require("path", path_.path, HostPathReader{folder})) {
      path_.place = map.find("path")->place();
    }
    placement_.into = "/";
    map.read("into", placement_.into, ImagePathReader{ImagePathReader::Root::kAllowed});
    int64_t strip = 0;
    map.read("strip", strip, yaml::IntegerReader{0, kMaxStrip});
    placement_.strip = static_cast<unsigned>(strip);
  }

  Result<> check(const SourceContext&) const override {
    CFS_TRY(check_is_file(CFS_TRY(path_.status(0))));
    return path_.check_access(R_OK);
  }

  Result<> import(const SourceContext&, Rootfs& rootfs) override {
    UniqueFd fd = CFS_TRY(open_at(AT_FDCWD, path_.path, O_RDONLY));
    struct stat status = CFS_TRY(fstat_fd(fd.get()));
    CFS_TRY(check_is_file(status));
    Progress progress("reading " + std::filesystem::path(path_.path).filename().string(),
                      static_cast<uint64_t>(status.st_size));
    return import_tar_stream(fd.get(), "'" + path_.path + "'", placement_, rootfs, progress);
  }

 private:
  [[nodiscard]] Result<> check_is_file(const struct stat& status) const {
    if (S_ISDIR(status.st_mode)) {
      return path_.error(ErrorCode::kInvalidInput, "is a directory, not a tar archive")
          .with_hint("use 'dir' for a directory");
    }
    if (S_ISREG(status.st_mode) || S_ISFIFO(status.st_mode)) return {};
    return path_.error(ErrorCode::kInvalidInput, "is neither a regular file nor a pipe");
  }

  HostPath path_;
  TarPlacement placement_;
};

}  // namespace

SourceKind tar_kind() {
  return {.key = "tar",
          .keys = {"path", "into", "strip"},
          .read = [](const yaml::Map& map, const std::string& folder) -> std::shared_ptr<Source> {
            return std::make_shared<TarSource>(map, folder);
          }};
}

}  // namespace cfs::builder
