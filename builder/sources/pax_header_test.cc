// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/pax_header.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "builder/sources/raw_tar.h"

namespace cfs::builder {
namespace {

using raw_tar::record;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

/// What these records ("key=value") say.
Result<PaxAttributes> parse(const std::vector<std::string>& records,
                            PaxScope scope = PaxScope::kEntry) {
  std::string body;
  for (const std::string& text : records) body += record(text);
  PaxAttributes attributes;
  CFS_TRY(parse_pax(body, scope, attributes));
  return attributes;
}

TEST(PaxHeader, SaysWhatAnEntryIs) {
  PaxAttributes all =
      parse({"path=p\xff", "linkpath=l", "size=5", "uid=-6", "gid=4294967294",
             "SCHILY.devmajor=259", "SCHILY.devminor=300000", "SCHILY.acl.access=user::rwx",
             "SCHILY.acl.default=", "GNU.dumpdir=Ya"})
          .value();
  EXPECT_EQ(all.path, "p\xff");
  EXPECT_EQ(all.link_path, "l");
  EXPECT_EQ(all.size, 5U);
  EXPECT_EQ(all.uid, -6);
  EXPECT_EQ(all.gid, 4294967294);
  EXPECT_EQ(all.device_major, 259U);
  EXPECT_EQ(all.device_minor, 300000U);
  EXPECT_EQ(all.access_acl, "user::rwx");
  EXPECT_EQ(all.default_acl, "");
  EXPECT_EQ(all.dump_directory, "Ya");
  EXPECT_FALSE(all.is_sparse);
}

TEST(PaxHeader, TheLastOfARepeatedKeywordCounts) {
  EXPECT_EQ(parse({"path=a", "uid=1", "path=b"}).value().path, "b");
  PaxAttributes attributes = parse({"uid=1", "gid=2"}, PaxScope::kGlobal).value();
  ASSERT_TRUE(parse_pax(record("uid=3"), PaxScope::kEntry, attributes));
  EXPECT_EQ(attributes.uid, 3);
  EXPECT_EQ(attributes.gid, 2);
}

TEST(PaxHeader, TimesCountForwardsBefore1970) {
  struct Case {
    const char* text;
    int64_t seconds;
    uint32_t nanoseconds;
  };
  for (const Case& test : std::vector<Case>{
           {"0", 0, 0},
           {"1.5", 1, 500'000'000},
           {"1.000000001", 1, 1},
           {"1.0000000019", 1, 1},
           {"7.", 7, 0},
           {"-1", -1, 0},
           {"-0.5", -1, 500'000'000},
           {"-1.25", -2, 750'000'000},
           {"-1.9999999999", -2, 0},
           {"-1.0000000001", -2, 999'999'999},
           {"-2147483648.000000001", -2147483649, 999'999'999},
           {"4294967296.999999999", 4294967296, 999'999'999},
           {"9223372036854775807", std::numeric_limits<int64_t>::max(), 0},
       }) {
    PaxTime time = parse({std::string("mtime=") + test.text}).value().mtime.value();
    EXPECT_EQ(time.seconds, test.seconds) << test.text;
    EXPECT_EQ(time.nanoseconds, test.nanoseconds) << test.text;
  }
  for (const char* text :
       {"", "-", ".5", "+1", " 1", "1e3", "1.5x", "1.-5", "9223372036854775808"}) {
    EXPECT_THAT(parse({std::string("mtime=") + text}).error().message, HasSubstr("malformed"))
        << text;
  }
}

TEST(PaxHeader, IgnoresWhatSaysNothingAboutTheTree) {
  for (PaxScope scope : {PaxScope::kEntry, PaxScope::kGlobal}) {
    EXPECT_TRUE(parse(
        {"atime=1.5", "ctime=x", "comment=", "uname=u", "gname=g", "LIBARCHIVE.creationtime=1",
         "SCHILY.dev=5", "SCHILY.fflags=nodump", "SCHILY.volhdr.x=1", "APK-TOOLS.checksum.SHA1=00",
         "MSWINDOWS.rawsd=x", "hdrcharset=BINARY", "hdrcharset=ISO-IR 10646 2000 UTF-8"},
        scope));
  }
  EXPECT_TRUE(parse({"SCHILY.acl.type=posix.1e"}));
}

TEST(PaxHeader, ZerosBehindTheRecordsArePadding) {
  PaxAttributes attributes;
  ASSERT_TRUE(parse_pax("9 path=g\n" + std::string(20, '\0'), PaxScope::kEntry, attributes));
  EXPECT_EQ(attributes.path, "g");
}

TEST(PaxHeader, MalformedRecordsAreRefused) {
  for (const char* body :
       {"path=a\n", "99 path=a\n", "8 path=a\n", "2 \n", "9 path=ab", " 9 path=g\n", "-9 path=g\n",
        "9path=gg\n", "99999999999999999999999 path=a\n"}) {
    PaxAttributes attributes;
    EXPECT_EQ(parse_pax(body, PaxScope::kEntry, attributes).error().message,
              "a pax header is malformed")
        << body;
  }
  for (const std::string& text :
       {std::string("=a"), std::string("path"), std::string("pa\0th=a", 7)}) {
    EXPECT_EQ(parse({text}).error().message, "a pax header has a record without a keyword");
  }
}

struct Refusal {
  const char* name;
  std::string record;
  const char* message;
  PaxScope scope = PaxScope::kEntry;
};
class RefusedRecord : public testing::TestWithParam<Refusal> {};
TEST_P(RefusedRecord, SaysWhy) {
  Result<PaxAttributes> parsed = parse({GetParam().record}, GetParam().scope);
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(parsed.error().message, HasSubstr(GetParam().message));
}
INSTANTIATE_TEST_SUITE_P(
    Table, RefusedRecord,
    testing::Values(
        Refusal{"EmptyPath", "path=", "the pax record 'path=' is malformed"},
        Refusal{"NulInPath", std::string("path=a\0b", 8), "malformed"},
        Refusal{
            "HugePath", "path=" + std::string(70000, 'n'),
            "'path=nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn…' is longer than "
            "65536 bytes"},
        Refusal{"NulInAcl", std::string("SCHILY.acl.access=a\0b", 21), "malformed"},
        Refusal{"HexOwner", "gid=0x10", "'gid=0x10' is malformed"},
        Refusal{"NegativeSize", "size=-1", "malformed"},
        Refusal{"Charset", "hdrcharset=ISO-IR 8859 1 1998", "unknown character set"},
        Refusal{"FirstVolume", "GNU.volume.size=9", "several volumes", PaxScope::kGlobal},
        Refusal{"NextVolume", "GNU.volume.offset=9", "several volumes"},
        Refusal{"GlobalPath", "path=a", "stands in a global header", PaxScope::kGlobal},
        Refusal{"GlobalXattr", "SCHILY.xattr.user.a=b", "stands in a global header",
                PaxScope::kGlobal},
        Refusal{"UnknownPosix", "encoding=x", "unknown and may change"},
        Refusal{"UnknownReserved", "realtime.x=y", "unknown and may change"},
        Refusal{"UnknownGnu", "GNU.new=y", "unknown and may change"},
        Refusal{"UnknownSparse", "GNU.sparse.new=y", "unknown and may change"},
        Refusal{"UnknownInGlobal", "encoding=x", "unknown and may change", PaxScope::kGlobal},
        Refusal{"SunHoles", "SUN.holesdata= 0 1", "unknown and may change"},
        Refusal{"StarSize", "SCHILY.realsize=1", "unknown and may change"},
        Refusal{"Nfs4", "SCHILY.acl.ace=owner@:r::allow", "NFSv4"},
        Refusal{"XattrWithoutName", "SCHILY.xattr.=a", "has no name"},
        Refusal{"BadBase64", "LIBARCHIVE.xattr.user.a=?", "malformed"},
        Refusal{"ShortBase64", "LIBARCHIVE.xattr.user.a=YWJjY", "malformed"},
        Refusal{"BadEscape", "LIBARCHIVE.xattr.user.%4=YQ", "malformed"},
        Refusal{"NulInXattr", "LIBARCHIVE.xattr.user.%00=YQ", "malformed"},
        Refusal{"OddMap", "GNU.sparse.map=0,4,5", "malformed"},
        Refusal{"EmptyMap", "GNU.sparse.map=", "malformed"},
        Refusal{"SizeOnly", "GNU.sparse.numbytes=1", "malformed"},
        Refusal{"OffsetOnly", "GNU.sparse.offset=1", "an extent without a size"}),
    [](const testing::TestParamInfo<Refusal>& test) { return std::string(test.param.name); });

TEST(PaxHeader, SparseMapsComeInTwoWays) {
  PaxAttributes pairs =
      parse({"GNU.sparse.size=2000", "GNU.sparse.numblocks=2", "GNU.sparse.offset=0",
             "GNU.sparse.numbytes=2", "GNU.sparse.offset=512", "GNU.sparse.numbytes=3"})
          .value();
  EXPECT_TRUE(pairs.is_sparse && pairs.has_sparse_pairs && !pairs.has_sparse_map);
  EXPECT_EQ(pairs.sparse_real_size, 2000U);
  EXPECT_EQ(pairs.sparse_count, 2U);
  EXPECT_THAT(pairs.sparse_extents, ElementsAre(TarExtent{0, 2}, TarExtent{512, 3}));
  PaxAttributes list = parse({"GNU.sparse.map=9,9", "GNU.sparse.map=0,2,512,3", "GNU.sparse.name=f",
                              "GNU.sparse.realsize=7"})
                           .value();
  EXPECT_TRUE(list.is_sparse && !list.has_sparse_pairs && list.has_sparse_map);
  EXPECT_EQ(list.sparse_name, "f");
  EXPECT_EQ(list.sparse_real_size, 7U);
  EXPECT_EQ(list.sparse_extents, pairs.sparse_extents) << "the last map counts";
  PaxAttributes in_data = parse({"GNU.sparse.major=1", "GNU.sparse.minor=0"}).value();
  EXPECT_TRUE(in_data.is_sparse);
  EXPECT_EQ(in_data.sparse_major, 1U);
  EXPECT_EQ(in_data.sparse_minor, 0U);
  EXPECT_THAT(parse({"GNU.sparse.offset=1", "GNU.sparse.offset=1"}).error().message,
              HasSubstr("follows another offset"));
}

/// The attributes that these records make.
Result<std::vector<std::pair<std::string, std::string>>> xattrs(
    const std::vector<std::string>& records) {
  PaxAttributes attributes = CFS_TRY(parse(records));
  return take_xattrs(attributes);
}

TEST(PaxXattrs, NamesAreDecodedAsTheirWritersEncodeThem) {
  EXPECT_THAT(
      xattrs({"SCHILY.xattr.user.100%25%3D%3d%41=1", std::string("SCHILY.xattr.user.b=\0=\n", 23),
              "SCHILY.xattr.user.empty=", "SCHILY.xattr.user.twice=1", "SCHILY.xattr.user.twice=2"})
          .value(),
      ElementsAre(Pair("user.100%=%3d%41", "1"), Pair("user.b", std::string("\0=\n", 3)),
                  Pair("user.empty", ""), Pair("user.twice", "2")));
  EXPECT_THAT(
      xattrs({"LIBARCHIVE.xattr.user.%C3%A9%3D=YWI",
              "LIBARCHIVE.xattr.user.p=YQ==", "LIBARCHIVE.xattr.user.none="})
          .value(),
      ElementsAre(Pair("user.none", ""), Pair("user.p", "a"), Pair("user.\xc3\xa9=", "ab")));
  // As bsdtar writes them.
  EXPECT_THAT(
      xattrs({"LIBARCHIVE.xattr.user.%3D%25=AAE", std::string("SCHILY.xattr.user.%3D%25=\0\1", 27)})
          .value(),
      ElementsAre(Pair("user.=%", std::string("\0\1", 2))));
  EXPECT_TRUE(xattrs({"RHT.security.selinux=u:r:t:s0"}).value().empty()) << "no source keeps it";
}

TEST(PaxXattrs, FormsThatContradictEachOtherAreRefused) {
  Error error = xattrs({"LIBARCHIVE.xattr.user.a=YQ", "SCHILY.xattr.user.a=b"}).error();
  EXPECT_THAT(error.message, HasSubstr("'user.a' is written in two ways"));
  EXPECT_THAT(error.hint, HasSubstr("xattrheader=LIBARCHIVE"));
  EXPECT_THAT(xattrs({"LIBARCHIVE.xattr.user.%20=YQ", "SCHILY.xattr.user.%20=a"}).error().message,
              HasSubstr("'user. ' is written in two ways"));
}

}  // namespace
}  // namespace cfs::builder
