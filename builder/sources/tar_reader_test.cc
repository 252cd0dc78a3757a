// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/tar_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>

namespace cfs::builder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using Type = TarEntry::Type;

const std::string kPosixMagic(
    "ustar\0"
    "00",
    8);
const std::string kGnuMagic("ustar  \0", 8);

/// A header field by field. What is set in `raw` (offset → bytes) goes over everything else.
struct Header {
  std::string name = "f";
  char type = '0';
  std::string size = "0";
  std::string mode = "644";
  std::string uid = "0";
  std::string gid = "0";
  std::string mtime = "0";
  std::string link;
  std::string magic = kPosixMagic;
  std::map<size_t, std::string> raw;
  bool signed_checksum = false;
};

std::string padded(std::string text) {
  text.resize(align_up(text.size(), 512));
  return text;
}

std::string block(const Header& header) {
  std::string bytes(512, '\0');
  auto put = [&](size_t offset, const std::string& text) {
    bytes.replace(offset, text.size(), text);
  };
  put(0, header.name);
  put(100, header.mode);
  put(108, header.uid);
  put(116, header.gid);
  put(124, header.size);
  put(136, header.mtime);
  put(148, "        ");
  bytes[156] = header.type;
  put(157, header.link);
  put(257, header.magic);
  for (const auto& [offset, text] : header.raw) put(offset, text);
  int sum = 0;
  for (char c : bytes) {
    sum += header.signed_checksum ? int{static_cast<signed char>(c)}
                                  : int{static_cast<unsigned char>(c)};
  }
  char text[8];
  (void)std::snprintf(text, sizeof(text), "%06o", static_cast<unsigned>(sum));
  put(148, text);
  return bytes;
}

std::string octal(uint64_t value) {
  char text[32];
  (void)std::snprintf(text, sizeof(text), "%llo", static_cast<unsigned long long>(value));
  return text;
}

std::string member(Header header, const std::string& data) {
  if (header.size == "0") header.size = octal(data.size());
  return block(header) + padded(data);
}

std::string record(const std::string& text) {
  size_t length = text.size() + 2;
  while (std::to_string(length).size() + text.size() + 2 != length) ++length;
  return std::to_string(length) + " " + text + "\n";
}

/// An extended header with these records ("key=value").
std::string pax(const std::vector<std::string>& records, char type = 'x') {
  std::string body;
  for (const std::string& text : records) body += record(text);
  return member({.name = "PaxHeaders/f", .type = type}, body);
}

const std::string kEnd(1024, '\0');

struct Archive {
  std::vector<TarEntry> entries;
  std::vector<std::string> contents;
  std::string error;  ///< empty: none
};

/// Reads an archive in pieces of `step` bytes.
Archive read_all(const std::string& bytes, size_t step = 10240) {
  Bytes rest = as_bytes(bytes);
  TarReader reader(
      [&]() -> Result<Bytes> {
        Bytes piece = rest.first(std::min(step, rest.size()));
        rest = rest.subspan(piece.size());
        return piece;
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

std::string base256(const std::string& bytes, size_t width, bool negative = false) {
  std::string text(width - bytes.size(), negative ? '\xff' : '\0');
  if (!negative) text[0] = '\x80';
  return text + bytes;
}

TEST(TarNumbers, AreOctalOrBase256) {
  struct Case {
    std::string field;
    int64_t value;
  };
  for (const Case& test : std::vector<Case>{
           {"00000000012", 10},
           {"       12 ", 10},
           {"12\0garbage", 10},
           {std::string("\0 12", 4), 10},  // a leading NUL, as GNU tar
           {std::string(12, '\0'), 0},
           {"777777777777", 0777777777777},
           {base256("\x01\x02", 12), 0x102},
           {base256(std::string("\x80\0\0\0", 4), 12), 0x80000000},
           {base256("\x7f\xff\xff\xff\xff\xff\xff\xff", 12), std::numeric_limits<int64_t>::max()},
           {base256("\xfe", 12, true), -2},
           {base256(std::string("\x80\0\0\0\0\0\0\0", 8), 12, true),
            std::numeric_limits<int64_t>::min()},
       }) {
    EXPECT_EQ(one(block({.mtime = test.field})).mtime_seconds, test.value) << test.field;
  }
  for (const std::string& field :
       {std::string("            "), std::string("12a"), std::string("-12"), std::string("+12"),
        std::string("0x12"), std::string("8"), base256(std::string("\x80\0\0\0\0\0\0\0", 8), 12),
        base256(std::string("\x7f\0\0\0\0\0\0\0", 8), 12, true),
        std::string("\x81\0\0\0\0\0\0\0\0\0\0\0", 12)}) {
    EXPECT_THAT(error_of(block({.mtime = field})), HasSubstr("entry 'f': has no valid time"))
        << field;
  }
  EXPECT_THAT(error_of(block({.size = base256("\xff", 12, true)})), HasSubstr("no valid size"));
  EXPECT_THAT(error_of(block({.mode = "        "})), HasSubstr("no valid mode"));
  EXPECT_EQ(one(block({.mode = "0104755"})).permissions, 04755U);
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

TEST(TarTimes, CountForwardsBefore1970) {
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
    TarEntry entry = one(pax({std::string("mtime=") + test.text}) + block({.mtime = "5"}));
    EXPECT_EQ(entry.mtime_seconds, test.seconds) << test.text;
    EXPECT_EQ(entry.mtime_nanoseconds, test.nanoseconds) << test.text;
  }
  for (const char* text :
       {"", "-", ".5", "+1", " 1", "1e3", "1.5x", "1.-5", "9223372036854775808"}) {
    EXPECT_THAT(error_of(pax({std::string("mtime=") + text}) + block({})), HasSubstr("malformed"))
        << text;
  }
}

TEST(TarHeader, ChecksumMayBeOfSignedBytes) {
  Header header{.name = "caf\xe9"};
  EXPECT_EQ(one(block(header)).path, "caf\xe9");
  header.signed_checksum = true;
  EXPECT_EQ(one(block(header)).path, "caf\xe9");
  std::string wrong = block(header);
  wrong[0] = 'd';
  EXPECT_EQ(error_of(wrong), "'t.tar': is not a tar archive");
  EXPECT_EQ(error_of(block({}) + wrong), "'t.tar': there is no valid header at byte 512");
}

TEST(TarNames, TheMoreCapableFormWins) {
  const std::string prefix(155, 'p');
  Header with_prefix{.name = "name", .raw = {{345, prefix}}};
  EXPECT_EQ(one(block(with_prefix)).path, prefix + "/name");
  with_prefix.magic = kGnuMagic;
  EXPECT_EQ(one(block(with_prefix)).path, "name");
  with_prefix.magic = "";
  EXPECT_EQ(one(block(with_prefix)).path, "name");
  EXPECT_EQ(one(block({.name = std::string(100, 'n')})).path, std::string(100, 'n'));

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

TEST(TarNames, AreBytes) {
  for (const char* charset : {"hdrcharset=BINARY", "hdrcharset=ISO-IR 10646 2000 UTF-8"}) {
    EXPECT_EQ(one(pax({charset, "path=a\xff\xfe"}) + block({})).path, "a\xff\xfe");
  }
  EXPECT_EQ(one(pax({"path=e\xcc\x81"}) + block({})).path, "e\xcc\x81");
  EXPECT_THAT(error_of(pax({"hdrcharset=ISO-IR 8859 1 1998"}) + block({})),
              HasSubstr("unknown character set"));
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
        Refusal{"FirstVolume", pax({"GNU.volume.size=9"}, 'g') + block({}), "several volumes"},
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
        Refusal{"EmptyPath", pax({"path="}) + block({}), "'path=' is malformed"},
        Refusal{"NulInPath", pax({std::string("path=a\0b", 8)}) + block({}), "malformed"},
        Refusal{"NulInLongName", member({.type = 'L'}, std::string("a\0b", 3)) + block({}),
                "a long name is malformed"},
        Refusal{"HugeLongName", member({.type = 'L'}, std::string(70000, 'n')) + block({}),
                "a long name of 70000 bytes"},
        Refusal{"HugePath", pax({"path=" + std::string(70000, 'n')}) + block({}),
                "is longer than 65536 bytes"},
        Refusal{"HugePaxHeader", block({.type = 'x', .size = "777777777777"}),
                "67108864 are supported"},
        Refusal{"GlobalPath", pax({"path=a"}, 'g') + block({}), "stands in a global header"},
        Refusal{"GlobalXattr", pax({"SCHILY.xattr.user.a=b"}, 'g') + block({}),
                "stands in a global header"},
        Refusal{"GlobalForgets", pax({"uid=1", "mtime=2"}, 'g') + pax({"uid=1"}, 'g') + block({}),
                "leaves out 'mtime'"},
        Refusal{"UnknownPosix", pax({"encoding=x"}) + block({}), "unknown and may change"},
        Refusal{"UnknownReserved", pax({"realtime.x=y"}) + block({}), "unknown and may change"},
        Refusal{"UnknownGnu", pax({"GNU.new=y"}) + block({}), "unknown and may change"},
        Refusal{"UnknownSparse", pax({"GNU.sparse.new=y"}) + block({}), "unknown and may change"},
        Refusal{"SunHoles", pax({"SUN.holesdata= 0 1"}) + block({}), "unknown and may change"},
        Refusal{"StarSize", pax({"SCHILY.realsize=1"}) + block({}), "unknown and may change"},
        Refusal{"Nfs4", pax({"SCHILY.acl.ace=owner@:r::allow"}) + block({}), "NFSv4"},
        Refusal{"RecordWithoutLength", member({.type = 'x'}, "path=a\n") + block({}), "malformed"},
        Refusal{"RecordTooLong", member({.type = 'x'}, "99 path=a\n") + block({}), "malformed"},
        Refusal{"RecordTooShort", member({.type = 'x'}, "8 path=a\n") + block({}), "malformed"},
        Refusal{"RecordTiny", member({.type = 'x'}, "2 \n") + block({}), "malformed"},
        Refusal{"RecordWithoutNewline", member({.type = 'x'}, "9 path=ab") + block({}),
                "malformed"},
        Refusal{"RecordWithoutKey", pax({"=a"}) + block({}), "without a keyword"},
        Refusal{"RecordWithoutEquals", pax({"path"}) + block({}), "without a keyword"},
        Refusal{"BadBase64", pax({"LIBARCHIVE.xattr.user.a=?"}) + block({}), "malformed"},
        Refusal{"BadEscape", pax({"LIBARCHIVE.xattr.user.%4=YQ"}) + block({}), "malformed"},
        Refusal{"TwoValues",
                pax({"LIBARCHIVE.xattr.user.a=YQ", "SCHILY.xattr.user.a=b"}) + block({}),
                "'user.a' is written in two ways"},
        Refusal{"TwoNames",
                pax({"LIBARCHIVE.xattr.user.%20=YQ", "SCHILY.xattr.user.%20=a"}) + block({}),
                "'user. ' is written in two ways"},
        Refusal{"TwoLabels",
                pax({"RHT.security.selinux=a", "SCHILY.xattr.security.selinux=b"}) + block({}),
                "two different SELinux labels"}),
    [](const testing::TestParamInfo<Refusal>& test) { return std::string(test.param.name); });

TEST(TarPax, IgnoresWhatSaysNothingAboutTheTree) {
  TarEntry entry = one(pax({"atime=1.5", "ctime=x", "comment=", "uname=u", "gname=g",
                            "LIBARCHIVE.creationtime=1", "SCHILY.dev=5", "SCHILY.fflags=nodump",
                            "APK-TOOLS.checksum.SHA1=00", "MSWINDOWS.rawsd=x"}) +
                       block({}));
  EXPECT_EQ(entry.path, "f");
  // Some writers count padding.
  EXPECT_EQ(one(member({.type = 'x'}, "9 path=g\n" + std::string(20, '\0')) + block({})).path, "g");
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

TEST(TarXattrs, NamesAreDecodedAsTheirWritersEncodeThem) {
  TarEntry entry = one(
      pax({"SCHILY.xattr.user.100%25%3D%3d%41=1", std::string("SCHILY.xattr.user.b=\0=\n", 23),
           "SCHILY.xattr.user.empty=", "SCHILY.xattr.user.twice=1", "SCHILY.xattr.user.twice=2"}) +
      block({}));
  EXPECT_THAT(entry.xattrs,
              ElementsAre(Pair("user.100%=%3d%41", "1"), Pair("user.b", std::string("\0=\n", 3)),
                          Pair("user.empty", ""), Pair("user.twice", "2")));
  entry = one(pax({"LIBARCHIVE.xattr.user.%C3%A9%3D=YWI",
                   "LIBARCHIVE.xattr.user.p=YQ==", "LIBARCHIVE.xattr.user.none="}) +
              block({}));
  EXPECT_THAT(entry.xattrs, ElementsAre(Pair("user.none", ""), Pair("user.p", "a"),
                                        Pair("user.\xc3\xa9=", "ab")));
  // As bsdtar writes them.
  entry = one(
      pax({"LIBARCHIVE.xattr.user.%3D%25=AAE", std::string("SCHILY.xattr.user.%3D%25=\0\1", 27)}) +
      block({}));
  EXPECT_THAT(entry.xattrs, ElementsAre(Pair("user.=%", std::string("\0\1", 2))));
  entry = one(pax({"RHT.security.selinux=u:r:t:s0"}) + block({}));
  EXPECT_THAT(entry.xattrs, ElementsAre(Pair("security.selinux", std::string("u:r:t:s0\0", 9))));
}

/// "DD" at 0, "EEE" at 512, a hole up to 2000, in each format.
const std::string kSparseContent =
    "DD" + std::string(510, '\0') + "EEE" + std::string(2000 - 515, '\0');

Header gnu_sparse(const std::string& size, const std::string& real_size,
                  const std::vector<std::pair<std::string, std::string>>& extents) {
  Header header{.type = 'S', .size = size, .magic = kGnuMagic, .raw = {{483, real_size}}};
  size_t offset = 386;
  for (const auto& [at, length] : extents) {
    header.raw[offset] = at;
    header.raw[offset + 12] = length;
    offset += 24;
  }
  return header;
}

TEST(TarSparse, EveryFormatGivesTheSameContent) {
  const std::vector<std::string> archives = {
      block(gnu_sparse("5", octal(2000), {{"0", "2"}, {"1000", "3"}, {octal(2000), "0"}})) +
          padded("DDEEE"),
      pax({"GNU.sparse.size=2000", "GNU.sparse.numblocks=3", "GNU.sparse.offset=0",
           "GNU.sparse.numbytes=2", "GNU.sparse.offset=512", "GNU.sparse.numbytes=3",
           "GNU.sparse.offset=2000", "GNU.sparse.numbytes=0"}) +
          member({}, "DDEEE"),
      pax({"GNU.sparse.size=2000", "GNU.sparse.numblocks=3", "GNU.sparse.name=f",
           "GNU.sparse.map=0,2,512,3,2000,0"}) +
          member({.name = "GNUSparseFile.1/f"}, "DDEEE"),
      pax({"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=f", "path=other",
           "GNU.sparse.realsize=2000"}) +
          member({.name = "GNUSparseFile.1/f"}, padded("3\n0\n2\n512\n3\n2000\n0\n") + "DDEEE"),
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
      std::string extent = at + std::string(12 - at.size(), '\0') + "1" + std::string(11, '\0');
      if (i < 4) {
        first.emplace_back(at, "1");
      } else {
        more += extent;
        if ((i - 3) % 21 == 0)
          more += std::string(i + 1 < count ? "\1" : "\0", 1) + std::string(7, '\0');
      }
      data += static_cast<char>('a' + i % 26);
      expected += data.back() + std::string(1023, '\0');
    }
    expected.resize(expected.size() - 1023);
    Header header = gnu_sparse(octal(count), octal(expected.size()), first);
    if (count > 4) header.raw[482] = "\1";
    Archive archive = read_all(block(header) + padded(more) + padded(data) + kEnd);
    ASSERT_EQ(archive.error, "") << count;
    EXPECT_EQ(archive.contents[0], expected) << count;
  }
}

TEST(TarSparse, LongHolesCanBeSkipped) {
  std::string bytes =
      pax({"GNU.sparse.size=60000000000", "GNU.sparse.numblocks=5",
           "GNU.sparse.map=1000000,0,2000000,2,2000100,1,2131173,1,60000000000,0"}) +
      member({}, "DDab") + member({.name = "g"}, "next") + kEnd;
  Bytes rest = as_bytes(bytes);
  TarReader reader([&]() -> Result<Bytes> { return std::exchange(rest, Bytes()); }, "t");
  ASSERT_TRUE(reader.next());
  EXPECT_EQ(reader.skip_hole(), 1000000U);
  std::byte buffer[200];
  EXPECT_EQ(*reader.read(buffer), 200U) << "a hole that is not skipped is read";
  EXPECT_EQ(reader.skip_hole(), 999800U);
  EXPECT_EQ(reader.skip_hole(), 0U);
  EXPECT_EQ(*reader.read(buffer), 101U) << "up to the next long hole, over a short one";
  EXPECT_EQ(buffer[1], std::byte{'D'});
  EXPECT_EQ(buffer[2], std::byte{0});
  EXPECT_EQ(buffer[100], std::byte{'a'});
  EXPECT_EQ(reader.skip_hole(), 131072U);
  EXPECT_EQ(*reader.read(buffer), 1U);
  EXPECT_EQ(reader.skip_hole(), 60000000000U - 2131174);
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
                "a sparse map of 3 bytes and 4 bytes in the archive"},
        Refusal{"HoleAtTheEndNotNamed",
                pax({"GNU.sparse.size=9", "GNU.sparse.numblocks=1", "GNU.sparse.map=0,4"}) +
                    member({}, "1234"),
                "ends before the file"},
        Refusal{"HugeHole",
                pax({"GNU.sparse.size=1099511627776", "GNU.sparse.numblocks=1",
                     "GNU.sparse.map=1099511627776,0"}) +
                    block({}),
                "has holes of 1099511627776 bytes"},
        Refusal{"Overlap",
                pax({"GNU.sparse.size=9", "GNU.sparse.numblocks=2", "GNU.sparse.map=0,3,2,1"}) +
                    member({}, "1234"),
                "not in order"},
        Refusal{"PastTheEnd",
                pax({"GNU.sparse.size=3", "GNU.sparse.numblocks=1", "GNU.sparse.map=0,4"}) +
                    member({}, "1234"),
                "leads out of the file"},
        Refusal{"Overflow",
                pax({"GNU.sparse.size=3", "GNU.sparse.numblocks=1",
                     "GNU.sparse.map=9223372036854775807,9223372036854775807"}) +
                    member({}, "1234"),
                "leads out of the file"},
        Refusal{"WrongCount",
                pax({"GNU.sparse.size=9", "GNU.sparse.numblocks=2", "GNU.sparse.map=0,4"}) +
                    member({}, "1234"),
                "another length"},
        Refusal{"OddMap", pax({"GNU.sparse.map=0,4,5"}) + block({}), "malformed"},
        Refusal{"EmptyMap", pax({"GNU.sparse.map="}) + block({}), "malformed"},
        Refusal{"OffsetTwice", pax({"GNU.sparse.offset=1", "GNU.sparse.offset=1"}) + block({}),
                "follows another offset"},
        Refusal{"OffsetOnly", pax({"GNU.sparse.offset=1"}) + block({}), "an extent without a size"},
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
                "a malformed sparse map"},
        Refusal{"HugeMapInData",
                pax({"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.realsize=1"}) +
                    member({}, padded("1000001\n")),
                "1000001 extents"},
        Refusal{"GnuNoSize", block(gnu_sparse("1", "x", {{"0", "1"}})) + padded("D"),
                "without a valid size"},
        Refusal{"GnuBadExtent", block(gnu_sparse("1", "1", {{"x", "1"}})) + padded("D"),
                "a malformed extent"},
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
  Bytes rest = as_bytes(bytes);
  TarReader reader([&]() -> Result<Bytes> { return std::exchange(rest, Bytes()); }, "t");
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
