// SPDX-License-Identifier: Apache-2.0
// Images that other people's software made, or refused to make, from fixed dumps.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <sstream>

#include "lib/base/io.h"
#include "lib/base/subprocess.h"
#include "lib/erofs/reader.h"
#include "lib/erofs/writer.h"
#include "lib/tree/dump.h"

namespace cfs {
namespace {

constexpr size_t kLimitBytes = 64 << 20;

struct Row {
  std::string dump;
  erofs::VersionRange versions;
  std::string image_bytes;
  std::string digest;
};

std::vector<Row> read_rows(const std::string& directory) {
  std::istringstream table(read_file(AT_FDCWD, directory + "/digests.tsv", kLimitBytes).value());
  std::vector<Row> rows;
  std::string line;
  std::getline(table, line);
  while (std::getline(table, line)) {
    std::istringstream fields(line);
    Row row;
    fields >> row.dump >> row.versions.min >> row.versions.max >> row.image_bytes >> row.digest;
    rows.push_back(row);
  }
  return rows;
}

std::string written(const tree::Tree& tree, const erofs::VersionRange& versions,
                    erofs::ImageInfo* info = nullptr) {
  std::string image;
  erofs::ImageInfo result = erofs::write_image(tree, versions, [&](Bytes piece) -> Result<> {
                              image += as_text(piece);
                              return {};
                            }).value();
  if (info != nullptr) *info = result;
  return image;
}

std::string dumped(const erofs::Image& image) {
  std::string text;
  EXPECT_TRUE(
      tree::write_dump(image.tree, {.shared_xattrs = &image.shared_xattrs}, sink_to_string(text)));
  return text;
}

/// dump → image gives the digest; fsck.erofs accepts it; image → tree → image and image → dump →
/// image give the same bytes; image → dump → image → dump gives the same text.
void check_row(const std::string& directory, const Row& row) {
  SCOPED_TRACE(row.dump);
  std::string text = read_file(AT_FDCWD, directory + "/" + row.dump, kLimitBytes).value();
  Result<tree::Tree> tree = tree::parse_dump(text);
  if (row.digest == "refused") {
    EXPECT_TRUE(!tree || !erofs::write_image(*tree, row.versions, -1));
    return;
  }
  ASSERT_TRUE(tree) << tree.error().describe();
  erofs::ImageInfo info;
  std::string image = written(*tree, row.versions, &info);
  EXPECT_EQ(info.digest.hex(), row.digest);
  EXPECT_EQ(std::to_string(info.size_bytes), row.image_bytes);
  EXPECT_EQ(image.size(), info.size_bytes);

  Result<erofs::Image> back = erofs::read_image(as_bytes(image));
  ASSERT_TRUE(back) << back.error().describe();
  EXPECT_EQ(back->version, info.version);
  erofs::VersionRange same{.min = back->version, .max = back->version};
  EXPECT_TRUE(written(back->tree, same) == image);
  EXPECT_TRUE(erofs::check_image(as_bytes(image)));

  std::string dump = dumped(*back);
  Result<tree::Tree> again = tree::parse_dump(dump);
  ASSERT_TRUE(again) << again.error().describe();
  EXPECT_TRUE(written(*again, same) == image);
  Result<erofs::Image> third = erofs::read_image(as_bytes(written(*again, same)));
  ASSERT_TRUE(third);
  EXPECT_EQ(dumped(*third), dump);

  TemporaryDirectory scratch = TemporaryDirectory::create().value();
  std::string path = scratch.path() + "/image";
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path, as_bytes(image)));
  Result<std::string> checked = run_command({.arguments = {"fsck.erofs", path}});
  // The image whose chunk array had to leave its inode is one that no EROFS program can read.
  EXPECT_TRUE(checked || row.dump == "V11.dump") << row.dump;
}

TEST(Golden, SpecificationVectors) {
  std::string directory = "tests/golden/vectors";
  std::vector<Row> rows = read_rows(directory);
  ASSERT_EQ(rows.size(), 21U);
  for (const Row& row : rows) check_row(directory, row);
}

TEST(Golden, RandomDumps) {
  TemporaryDirectory scratch = TemporaryDirectory::create().value();
  ASSERT_TRUE(
      run_command({.arguments = {"tar", "--zstd", "-xf", "tests/golden/random-dumps.tar.zst", "-C",
                                 scratch.path()}}));
  std::vector<Row> rows = read_rows(scratch.path());
  ASSERT_EQ(rows.size(), 60U);
  for (const Row& row : rows) check_row(scratch.path(), row);
}

TEST(Golden, ShouldFail) {
  std::string directory = "tests/golden/should-fail";
  std::vector<std::string> names = list_directory(AT_FDCWD, directory).value();
  ASSERT_GT(names.size(), 50U);
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    std::string text = read_file(AT_FDCWD, directory + "/" + name, kLimitBytes).value();
    Result<tree::Tree> tree = tree::parse_dump(text);
    Error error;
    if (tree) {
      Result<erofs::ImageInfo> info = erofs::write_image(*tree, {}, -1);
      ASSERT_FALSE(info) << "was accepted";
      error = info.error();
    } else {
      error = tree.error();
    }
    EXPECT_TRUE(error.code == ErrorCode::kInvalidInput || error.code == ErrorCode::kExists)
        << error.describe();
  }
}

}  // namespace
}  // namespace cfs
