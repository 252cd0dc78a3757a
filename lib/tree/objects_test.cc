// SPDX-License-Identifier: Apache-2.0
#include "lib/tree/objects.h"

#include <gmock/gmock.h>

#include "lib/tree/content_placement.h"
#include "lib/tree/dump.h"
#include "lib/verity/merkle.h"

namespace cfs::tree {
namespace {

using testing::HasSubstr;

static_assert(placement_of(0) == Placement::kInline && placement_of(64) == Placement::kInline &&
              placement_of(65) == Placement::kObject);

const verity::Digest kOne = verity::digest_of(as_bytes("one"));
const verity::Digest kTwo = verity::digest_of(as_bytes("two"));

std::string line(const std::string& path, uint64_t size_bytes, const verity::Digest& digest) {
  return path + " " + std::to_string(size_bytes) + " 100644 1 0 0 0 0.0 " + digest.object_path() +
         " - " + digest.hex() + "\n";
}

Result<std::vector<ObjectReference>> objects(const std::string& lines) {
  Tree tree = parse_dump("/ 0 40755 2 0 0 0 0.0 - - -\n" + lines).value();
  return objects_of(tree);
}

TEST(ObjectsOf, NamesEachObjectOnceSortedByDigest) {
  std::vector<ObjectReference> expected{{kOne, 100}, {kTwo, 200}};
  if (kTwo < kOne) std::swap(expected[0], expected[1]);
  EXPECT_EQ(objects(line("/a", 200, kTwo) + line("/b", 100, kOne) + line("/c", 200, kTwo) +
                    "/d 0 @100644 1 0 0 0 0.0 /a - -\n" + "/e 5 100644 1 0 0 0 0.0 - hello -\n" +
                    "/f 0 100644 1 0 0 0 0.0 - - -\n" + "/g 1 120777 1 0 0 0 0.0 a - -\n")
                .value(),
            expected);
  EXPECT_TRUE(objects("").value().empty());
}

TEST(ObjectsOf, ADigestHasOneSize) {
  Error error = objects(line("/a", 200, kOne) + line("/b", 201, kOne)).error();
  EXPECT_EQ(error.code, ErrorCode::kInvalidInput);
  EXPECT_THAT(error.message, HasSubstr("'/b' has 201 bytes"));
}

TEST(ObjectsOf, AContentWithoutADigestIsAnError) {
  for (const std::string& file : {std::string("/a 100 100644 1 0 0 0 0.0 ab/cd - -\n"),
                                  std::string("/a 100 100644 1 0 0 0 0.0 - - -\n"),
                                  "/a 100 100644 1 0 0 0 0.0 ab/cd - " + kOne.hex() + "\n"}) {
    Error error = objects(file).error();
    EXPECT_EQ(error.code, ErrorCode::kInvalidInput);
    EXPECT_THAT(error.message, HasSubstr("'/a'"));
  }
}

}  // namespace
}  // namespace cfs::tree
