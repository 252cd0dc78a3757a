// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/tar_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "builder/sources/raw_tar.h"
#include "builder/sources/tar_header.h"

namespace cfs::builder {
namespace {

using namespace raw_tar;  // NOLINT(google-build-using-namespace)
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using Type = TarEntry::Type;

struct Archive {
  std::vector<TarEntry> entries;
  std::vector<std::string> contents;
  std::string error;  ///< empty: none
};

/// Reads an archive in pieces of `step` bytes.
Archive read_all(const std::string& bytes, size_t step = 10240) {
  ByteSource source = source_of_bytes(as_bytes(bytes));
  TarReader reader(
      [&](std::span<std::byte> buffer) {
        return source(buffer.first(std::min(step, buffer.size())));
      },
      "'t.tar'");
  Archive archive;
  for (;;) {
    Result<const TarEntry*> entry = reader.next();
    if (!entry) {
      archive.error = entry.error().message;
      EXPECT_EQ(entry.error().code, ErrorCode::kCorrupt);
      return archive;
    }
    if (*entry == nullptr) return archive;
    archive.entries.push_back(**entry);
    std::string content;
    char buffer[1000];
    for (;;) {
      Result<size_t> count = reader.read(std::as_writable_bytes(std::span(buffer)));
      if (!count) {
        archive.error = count.error().message;
        return archive;
      }
      if (*count == 0) break;
      content.append(buffer, *count);
    }
    archive.contents.push_back(content);
  }
}

/// The only entry of an archive.
TarEntry one(const std::string& bytes) {
  Archive archive = read_all(bytes + kEnd);
  EXPECT_EQ(archive.error, "");
  EXPECT_EQ(archive.entries.size(), 1U);
  return archive.entries.empty() ? TarEntry() : archive.entries[0];
}

std::string error_of(const std::string& bytes) { return read_all(bytes + kEnd).error; }

TEST(TarNumbers, ThatAreNoneAreRefused) {
  EXPECT_THAT(error_of(block({.mtime = "12a"})), HasSubstr("entry 'f': has no valid time"));
  EXPECT_THAT(error_of(block({.size = base256("\xff", 12, true)})), HasSubstr("no valid size"));
  EXPECT_THAT(error_of(block({.mode = "        "})), HasSubstr("no valid mode"));
  EXPECT_EQ(one(block({.mode = "0104755"})).permissions, 04755U);
  EXPECT_EQ(one(block({.mtime = base256("\xfe", 12, true)})).mtime_seconds, -2);
}

TEST(TarNumbers, OwnersReachTheLastButOne) {
  EXPECT_EQ(one(block({.uid = base256("\xff\xff\xff\xfe", 8)})).uid, 4294967294U);
  EXPECT_EQ(one(pax({"uid=4294967294", "gid=7"}) + block({})).uid, 4294967294U);
  EXPECT_EQ(one(pax({"uid=4294967294", "gid=7"}) + block({.gid = "1"})).gid, 7U);
  EXPECT_THAT(error_of(block({.uid = base256("\xff\xff\xff\xff", 8)})), HasSubstr("out of range"));
  EXPECT_THAT(error_of(block({.gid = base256("\xff", 8, true)})), HasSubstr("out of range"));
  EXPECT_THAT(error_of(pax({"uid=-1"}) + block({})), HasSubstr("owner -1:0 is out of range"));
  EXPECT_THAT(error_of(pax({"gid=0x10"}) + block({})), HasSubstr("'gid=0x10' is malformed"));
  EXPECT_THAT(error_of(block({.uid = "        "})), HasSubstr("no valid owner"));
}

TEST(TarTimes, OfTheRecordWin) {
  TarEntry entry = one(pax({"mtime=-1.25"}) + block({.mtime = "5"}));
  EXPECT_EQ(entry.mtime_seconds, -2);
  EXPECT_EQ(entry.mtime_nanoseconds, 750'000'000U);
}

TEST(TarHeader, ThatIsNoneIsRefused) {
  std::string wrong = block({});
  wrong[0] = 'd';
  EXPECT_EQ(error_of(wrong), "'t.tar': is not a tar archive");
  EXPECT_EQ(error_of(block({}) + wrong), "'t.tar': there is no valid header at byte 512");
}

TEST(TarNames, TheMoreCapableFormWins) {
  const std::string prefix(155, 'p');
  Header with_prefix{.name = "name", .raw = {{345, prefix}}};
  EXPECT_EQ(one(block(with_prefix)).path, prefix + "/name");

  const std::string long_name = member({.name = "././@LongLink", .type = 'L', .magic = kGnuMagic},
                                       std::string("long/name\0", 10)) +
                                member({.name = "././@LongLink", .type = 'K', .magic = kGnuMagic},
                                       std::string("long/target\0", 12));
  TarEntry entry = one(long_name + block({.type = '2', .link = "short", .magic = kGnuMagic}));
  EXPECT_EQ(entry.path, "long/name");
  EXPECT_EQ(entry.link_target, "long/target");
  entry = one(pax({"path=pax name", "linkpath=pax target", "path=twice"}) + long_name +
              block({.type = '1', .link = "short"}));
  EXPECT_EQ(entry.path, "twice");
  EXPECT_EQ(entry.link_target, "pax target");
}

TEST(TarTypes, AreThoseOfUnix) {
  struct Case {
    char type;
    const char* name;
    Type expected;
  };
  for (const Case& test : std::vector<Case>{
           {'0', "f", Type::kRegular},
           {'\0', "f", Type::kRegular},
           {'7', "f", Type::kRegular},
           {'0', "f/", Type::kDirectory},
           {'\0', "f/", Type::kDirectory},
           {'1', "f", Type::kHardLink},
           {'2', "f/", Type::kSymlink},
           {'3', "f", Type::kCharacterDevice},
           {'4', "f", Type::kBlockDevice},
           {'5', "f", Type::kDirectory},
           {'6', "f", Type::kFifo},
           {'D', "f", Type::kDirectory},
       }) {
    TarEntry entry = one(block({.name = test.name, .type = test.type, .link = "l"}));
    EXPECT_EQ(entry.type, test.expected) << test.type;
  }
  EXPECT_EQ(one(pax({"path=f/"}) + block({})).type, Type::kDirectory);
}

TEST(TarTypes, OnlyFilesHaveContent) {
  // Old archives have the size of the file in its links.
  for (char type : {'1', '2', '3', '4', '5', '6'}) {
    Archive archive =
        read_all(block({.type = type, .size = "1000", .link = "l"}) + member({}, "next") + kEnd);
    EXPECT_EQ(archive.error, "") << type;
    EXPECT_THAT(archive.contents, ElementsAre("", "next"));
    EXPECT_THAT(error_of(pax({"size=5"}) + block({.type = type, .link = "l"})),
                HasSubstr("has content that this type of entry lacks"));
  }
  EXPECT_THAT(error_of(block({.name = "d/", .size = "1"})), HasSubstr("has content that this"));
}

TEST(TarTypes, TheFieldOfTheSizeHasANumberWhateverTheType) {
  for (char type : {'0', '1', '2', '3', '4', '5', '6', '7', 'D'}) {
    for (const std::string& field :
         {std::string(12, ' '), std::string("xyz"), base256("\xff", 12, true)}) {
      EXPECT_THAT(error_of(block({.type = type, .size = field, .link = "l"})),
                  HasSubstr("entry 'f' has no valid size, at byte 0"))
          << type << field;
    }
    EXPECT_THAT(error_of(pax({"size=0"}) + block({.type = type, .size = "x", .link = "l"})),
                HasSubstr("entry 'f' has no valid size"));
  }
}

TEST(TarTypes, DevicesHaveNumbers) {
  TarEntry entry = one(block({.type = '3', .raw = {{329, "7777"}, {337, octal((1 << 20) - 1)}}}));
  EXPECT_EQ(entry.device_major, 07777U);
  EXPECT_EQ(entry.device_minor, (1U << 20) - 1);
  entry = one(pax({"SCHILY.devmajor=259", "SCHILY.devminor=300000"}) + block({.type = '4'}));
  EXPECT_EQ(entry.device_major, 259U);
  EXPECT_EQ(entry.device_minor, 300000U);
  EXPECT_THAT(error_of(block({.type = '3', .raw = {{329, "10000"}}})),
              HasSubstr("device 4096:0 is out of range"));
  EXPECT_THAT(error_of(block({.type = '3', .raw = {{337, "x"}}})), HasSubstr("out of range"));
  EXPECT_THAT(error_of(block({.type = '3', .magic = ""})), HasSubstr("a format that has none"));
}

TEST(TarTypes, LabelsAreSkipped) {
  Archive archive =
      read_all(block({.name = "a label", .type = 'V', .magic = kGnuMagic}) +
               pax({"GNU.volume.label=another", "comment=c"}, 'g') + member({}, "x") + kEnd);
  EXPECT_EQ(archive.error, "");
  EXPECT_THAT(archive.contents, ElementsAre("x"));
}

struct Refusal {
  const char* name;
  std::string archive;
  const char* message;
};
class RefusedTar : public testing::TestWithParam<Refusal> {};
TEST_P(RefusedTar, SaysWhy) {
  EXPECT_THAT(error_of(GetParam().archive), HasSubstr(GetParam().message));
}
INSTANTIATE_TEST_SUITE_P(
    Table, RefusedTar,
    testing::Values(
        Refusal{"NextVolume", block({.type = 'M'}), "several volumes"},
        Refusal{"OldLongNames", block({.type = 'N'}), "list of long names"},
        Refusal{"SolarisAcl", block({.type = 'A'}), "Solaris access control list"},
        Refusal{"SolarisAttribute", block({.type = 'E'}), "Solaris extended attribute"},
        Refusal{"UnknownType", block({.type = 'Z'}), "unknown type 'Z'"},
        Refusal{"PartOfAnIncrementalDump",
                member({.type = 'D', .magic = kGnuMagic}, std::string("Ya\0Nb\0\0", 7)),
                "incremental dump that leaves 'b' out"},
        Refusal{"PartOfAPaxDump",
                pax({std::string("GNU.dumpdir=Nb\0\0", 16)}) + block({.type = '5'}),
                "incremental dump that leaves 'b' out"},
        Refusal{"NoName", block({.name = ""}), "an entry without a name"},
        Refusal{"NoTarget", block({.type = '2'}), "link without a target"},
        Refusal{"TwoPaxHeaders", pax({"path=a"}) + pax({"path=b"}) + block({}), "two pax headers"},
        Refusal{"GlobalInside", pax({"path=a"}) + pax({"uid=1"}, 'g') + block({}),
                "global pax header behind"},
        Refusal{"PaxAtTheEnd", pax({"path=a"}), "the last header has no entry"},
        Refusal{"BadRecord", block({}) + pax({"path="}) + block({}),
                "the pax record 'path=' is malformed, at byte 512"},
        Refusal{"NulInLongName", member({.type = 'L'}, std::string("a\0b", 3)) + block({}),
                "a long name is malformed"},
        Refusal{"HugeLongName", member({.type = 'L'}, std::string(70000, 'n')) + block({}),
                "a long name of 70000 bytes"},
        Refusal{"HugePaxHeader", block({.type = 'x', .size = "777777777777"}),
                "67108864 are supported"},
        Refusal{"GlobalForgets", pax({"uid=1", "mtime=2"}, 'g') + pax({"uid=1"}, 'g') + block({}),
                "leaves out 'mtime'"}),
    [](const testing::TestParamInfo<Refusal>& test) { return std::string(test.param.name); });

TEST(TarPax, HeadersOfSolarisAreReadToo) {
  EXPECT_EQ(one(member({.type = 'X'}, "9 path=g\n") + block({})).path, "g");
}

TEST(TarPax, GlobalHeadersHoldUntilTheNext) {
  Archive archive = read_all(pax({"mtime=-1.5", "uid=7"}, 'g') + block({.name = "a"}) +
                             pax({"mtime=3"}) + block({.name = "b"}) + block({.name = "c"}) +
                             pax({"mtime=9", "uid=8"}, 'g') + block({.name = "d"}) + kEnd);
  ASSERT_EQ(archive.error, "");
  std::vector<std::pair<int64_t, uint32_t>> found;
  for (const TarEntry& entry : archive.entries) found.emplace_back(entry.mtime_seconds, entry.uid);
  EXPECT_THAT(found, ElementsAre(Pair(-2, 7), Pair(3, 7), Pair(-2, 7), Pair(9, 8)));
}

TEST(TarXattrs, OfAllFormsComeTogether) {
  TarEntry entry = one(pax({"SCHILY.xattr.user.a=1", "LIBARCHIVE.xattr.user.a=MQ",
                            "SCHILY.acl.access=user::rwx", "SCHILY.acl.default=user::r-x"}) +
                       block({}));
  EXPECT_THAT(entry.xattrs, ElementsAre(Pair("user.a", "1")));
  EXPECT_EQ(entry.access_acl, "user::rwx");
  EXPECT_EQ(entry.default_acl, "user::r-x");
}

/// 512 bytes at 0, "EEE" at 1024, a hole up to 2000, in each format.
const std::string kSparseData = std::string(512, 'D') + "EEE";
const std::string kSparseContent =
    std::string(512, 'D') + std::string(512, '\0') + "EEE" + std::string(2000 - 1027, '\0');

TEST(TarSparse, EveryFormatGivesTheSameContent) {
  const std::vector<std::string> archives = {
      block(gnu_sparse("1003", octal(2000), {{"0", "1000"}, {"2000", "3"}, {octal(2000), "0"}})) +
          padded(kSparseData),
      pax({"GNU.sparse.size=2000", "GNU.sparse.numblocks=3", "GNU.sparse.offset=0",
           "GNU.sparse.numbytes=512", "GNU.sparse.offset=1024", "GNU.sparse.numbytes=3",
           "GNU.sparse.offset=2000", "GNU.sparse.numbytes=0"}) +
          member({}, kSparseData),
      pax({"GNU.sparse.size=2000", "GNU.sparse.numblocks=3", "GNU.sparse.name=f",
           "GNU.sparse.map=0,512,1024,3,2000,0"}) +
          member({.name = "GNUSparseFile.1/f"}, kSparseData),
      pax({"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=f", "path=other",
           "GNU.sparse.realsize=2000"}) +
          member({.name = "GNUSparseFile.1/f"},
                 padded("3\n0\n512\n1024\n3\n2000\n0\n") + kSparseData),
  };
  for (const std::string& bytes : archives) {
    for (size_t step : {1U, 7U, 512U, 10240U}) {
      Archive archive = read_all(bytes + member({.name = "next"}, "n") + kEnd, step);
      ASSERT_EQ(archive.error, "");
      ASSERT_EQ(archive.entries.size(), 2U);
      EXPECT_EQ(archive.entries[0].path, "f");
      EXPECT_EQ(archive.entries[0].size_bytes, 2000U);
      EXPECT_EQ(archive.contents[0], kSparseContent);
      EXPECT_EQ(archive.contents[1], "n");
    }
  }
}

TEST(TarSparse, ManyExtentsGoOnInMoreBlocks) {
  for (size_t count : {4U, 5U, 25U, 26U, 100U}) {
    std::vector<std::pair<std::string, std::string>> first;
    std::string more;
    std::string data;
    std::string expected;
    for (size_t i = 0; i < count; ++i) {
      std::string at = octal(i * 1024);
      std::string extent = at + std::string(12 - at.size(), '\0') + "1000" + std::string(8, '\0');
      if (i < 4) {
        first.emplace_back(at, "1000");
      } else {
        more += extent;
        if ((i - 3) % 21 == 0)
          more += std::string(i + 1 < count ? "\1" : "\0", 1) + std::string(7, '\0');
      }
      data += std::string(512, static_cast<char>('a' + i % 26));
      expected += data.substr(i * 512) + std::string(512, '\0');
    }
    expected.resize(expected.size() - 512);
    Header header = gnu_sparse(octal(data.size()), octal(expected.size()), first);
    if (count > 4) header.raw[482] = "\1";
    Archive archive = read_all(block(header) + padded(more) + padded(data) + kEnd);
    ASSERT_EQ(archive.error, "") << count;
    EXPECT_EQ(archive.contents[0], expected) << count;
  }
}

TEST(TarSparse, LongHolesCanBeSkipped) {
  std::string bytes =
      pax({"GNU.sparse.size=60000000000", "GNU.sparse.numblocks=5",
           "GNU.sparse.map=1000000,0,2000000,512,2000612,512,2132196,1,60000000000,0"}) +
      member({}, std::string(512, 'D') + std::string(512, 'a') + "b") +
      member({.name = "g"}, "next") + kEnd;
  TarReader reader(source_of_bytes(as_bytes(bytes)), "t");
  ASSERT_TRUE(reader.next());
  EXPECT_EQ(reader.skip_hole(), 1000000U);
  std::byte buffer[1200];
  EXPECT_EQ(*reader.read(buffer), 1200U) << "a hole that is not skipped is read";
  EXPECT_EQ(reader.skip_hole(), 998800U);
  EXPECT_EQ(reader.skip_hole(), 0U);
  EXPECT_EQ(*reader.read(buffer), 1124U) << "up to the next long hole, over a short one";
  EXPECT_EQ(buffer[511], std::byte{'D'});
  EXPECT_EQ(buffer[512], std::byte{0});
  EXPECT_EQ(buffer[612], std::byte{'a'});
  EXPECT_EQ(reader.skip_hole(), 131072U);
  EXPECT_EQ(*reader.read(buffer), 1U);
  EXPECT_EQ(reader.skip_hole(), 60000000000U - 2132197);
  EXPECT_EQ(reader.skip_hole(), 0U);
  EXPECT_EQ(*reader.read(buffer), 0U);
  EXPECT_EQ((*reader.next())->path, "g");
}

INSTANTIATE_TEST_SUITE_P(
    Sparse, RefusedTar,
    testing::Values(
        Refusal{"WrongSum",
                pax({"GNU.sparse.size=3", "GNU.sparse.numblocks=1", "GNU.sparse.map=0,3"}) +
                    member({}, "1234"),
                "entry 'f': has a sparse map of 3 bytes and 4 bytes in the archive"},
        Refusal{"ReadersDisagree",
                pax({"GNU.sparse.size=513", "GNU.sparse.numblocks=2", "GNU.sparse.map=0,3,512,1"}) +
                    member({}, "1234"),
                "entry 'f': has a sparse map with an extent in the middle that does not fill"},
        Refusal{"ReadersDisagreeAboutGnus",
                block(gnu_sparse("4", "1001", {{"0", "3"}, {"1000", "1"}})) + padded("1234"),
                "does not fill its last block"},
        Refusal{"ReadersDisagreeAboutAMapInData",
                pax({"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.realsize=513"}) +
                    member({}, padded("2\n0\n3\n512\n1\n") + "1234"),
                "does not fill its last block"},
        Refusal{"WrongCount",
                pax({"GNU.sparse.size=9", "GNU.sparse.numblocks=2", "GNU.sparse.map=0,4"}) +
                    member({}, "1234"),
                "another length"},
        Refusal{"NoMap", pax({"GNU.sparse.size=1"}) + block({}), "without one valid map"},
        Refusal{"NoSize", pax({"GNU.sparse.numblocks=1", "GNU.sparse.map=0,0"}) + block({}),
                "without a size"},
        Refusal{
            "UnknownVersion",
            pax({"GNU.sparse.major=1", "GNU.sparse.minor=1", "GNU.sparse.realsize=1"}) + block({}),
            "unknown format 1.1"},
        Refusal{"NotAFile", pax({"GNU.sparse.size=1"}) + block({.type = '5'}),
                "does not belong to it"},
        Refusal{"NotPax", pax({"GNU.sparse.size=1"}) + block({.magic = kGnuMagic}),
                "does not belong to it"},
        Refusal{"Star", block({.type = 'S'}), "not GNU's"},
        Refusal{"NoMapInData",
                pax({"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.realsize=1"}) +
                    member({}, "1\n0\n1\n"),
                "a sparse map that does not end"},
        Refusal{"BadMapInData",
                pax({"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.realsize=1"}) +
                    member({}, padded("1\n0\nx\n")),
                "entry 'f': has a malformed sparse map"},
        Refusal{"GnuNoSize", block(gnu_sparse("1", "x", {{"0", "1"}})) + padded("D"),
                "without a valid size"},
        Refusal{"GnuBadExtent", block(gnu_sparse("1", "1", {{"x", "1"}})) + padded("D"),
                "entry 'f': has a malformed extent"},
        Refusal{"GnuMoreBehindTheLast",
                block([] {
                  Header header = gnu_sparse("1", "1", {{"0", "1"}});
                  header.raw[482] = "\1";
                  return header;
                }()) +
                    padded("D"),
                "extents behind the last one"}),
    [](const testing::TestParamInfo<Refusal>& test) { return std::string(test.param.name); });

TEST(TarReader, SkipsContentThatIsNotRead) {
  std::string bytes =
      member({.name = "a"}, std::string(5000, 'x')) + member({.name = "b"}, "y") + kEnd;
  TarReader reader(source_of_bytes(as_bytes(bytes)), "t");
  EXPECT_EQ((*reader.next())->path, "a");
  std::byte buffer[100];
  EXPECT_EQ(*reader.read(buffer), 100U);
  EXPECT_EQ((*reader.next())->path, "b");
  EXPECT_EQ(*reader.next(), nullptr);
  EXPECT_EQ(*reader.next(), nullptr);
}

TEST(TarReader, EveryPieceSizeGivesTheSame) {
  std::string bytes =
      pax({"SCHILY.xattr.user.a=b"}) + member({.name = "a"}, std::string(3000, 'x')) +
      member({.type = 'L', .magic = kGnuMagic}, std::string(300, 'n')) + member({}, "y") + kEnd;
  Archive whole = read_all(bytes);
  ASSERT_EQ(whole.error, "");
  for (size_t step : {1U, 2U, 3U, 511U, 513U, 1000U}) {
    Archive pieces = read_all(bytes, step);
    EXPECT_EQ(pieces.error, "");
    EXPECT_EQ(pieces.contents, whole.contents);
    EXPECT_EQ(pieces.entries[1].path, std::string(300, 'n'));
  }
}

TEST(TarReader, CutAnywhereIsAnError) {
  std::string bytes = pax({"SCHILY.xattr.user.a=b"}) +
                      member({.name = "a"}, std::string(700, 'x')) +
                      block(gnu_sparse("1", "1", {{"0", "1"}})) + padded("D") + kEnd;
  for (size_t size = 0; size < bytes.size() - 512; ++size) {
    std::string error = read_all(bytes.substr(0, size)).error;
    EXPECT_THAT(error, HasSubstr("cut off")) << size;
  }
  EXPECT_EQ(read_all(bytes.substr(0, bytes.size() - 512)).error, "");
}

TEST(TarReader, EmptyArchiveHasNoEntries) {
  Archive archive = read_all(std::string(10240, '\0'));
  EXPECT_EQ(archive.error, "");
  EXPECT_TRUE(archive.entries.empty());
}

}  // namespace
}  // namespace cfs::builder
