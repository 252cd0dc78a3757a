// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/posix_acl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/bytes.h"
#include "lib/base/hex.h"

namespace cfs::builder {
namespace {

using Tag = AclEntry::Tag;

const std::vector<AclEntry> kList = {{Tag::kUserOwner, 6},
                                     {Tag::kUser, 4, 1000},
                                     {Tag::kGroupOwner, 4},
                                     {Tag::kMask, 4},
                                     {Tag::kOther, 0}};

TEST(PosixAcl, HasTheKernelsBytes) {
  // What `setfacl -m u:1000:r` on a 0640 file gives, as getfattr -e hex shows it.
  EXPECT_EQ(to_hex(as_bytes(encode_posix_acl({{Tag::kOther, 0},
                                              {Tag::kUser, 4, 1000},
                                              {Tag::kUserOwner, 6},
                                              {Tag::kMask, 4},
                                              {Tag::kGroupOwner, 4}}))),
            "02000000"
            "01000600ffffffff"
            "02000400e8030000"
            "04000400ffffffff"
            "10000400ffffffff"
            "20000000ffffffff");
}

TEST(PosixAcl, BinaryFormComesBack) {
  Result<std::vector<AclEntry>> decoded = decode_posix_acl(encode_posix_acl(kList));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(*decoded, kList);
  EXPECT_TRUE(decode_posix_acl(encode_posix_acl({}))->empty());
  std::string value = encode_posix_acl(kList);
  for (const std::string& bad :
       {std::string(), value.substr(1), value + "x", value.substr(0, value.size() - 8),
        "\1" + value.substr(1), encode_posix_acl({{Tag::kUserOwner, 8}}),
        encode_posix_acl({{static_cast<Tag>(3), 1}}), encode_posix_acl({{Tag::kUser, 1}})}) {
    EXPECT_EQ(decode_posix_acl(bad).error().code, ErrorCode::kCorrupt) << to_hex(as_bytes(bad));
  }
}

/// As `setfacl` and then `chmod` on Linux leave them.
TEST(PosixAcl, ChangesWithTheModeAndTheModeWithIt) {
  std::vector<AclEntry> list = {{Tag::kUserOwner, 6},
                                {Tag::kUser, 7, 1001},
                                {Tag::kGroupOwner, 6},
                                {Tag::kMask, 7},
                                {Tag::kOther, 6}};
  EXPECT_EQ(permissions_of(list), 0676U);
  apply_permissions(04754, list);
  EXPECT_EQ(list, (std::vector<AclEntry>{{Tag::kUserOwner, 7},
                                         {Tag::kUser, 7, 1001},
                                         {Tag::kGroupOwner, 6},
                                         {Tag::kMask, 5},
                                         {Tag::kOther, 4}}));
  EXPECT_EQ(permissions_of(list), 0754U);
  std::vector<AclEntry> small = {{Tag::kUserOwner, 6}, {Tag::kGroupOwner, 6}, {Tag::kOther, 6}};
  EXPECT_EQ(permissions_of(small), 0666U);
  apply_permissions(0640, small);
  EXPECT_EQ(permissions_of(small), 0640U);
}

TEST(PosixAcl, TextFormsOfAllWriters) {
  for (const char* text : {
           "user::rw-\nuser:1000:r--\ngroup::r--\nmask::r--\nother::---\n",
           "user::rw-,user:app:r--:1000,group::r--,mask::r--,other::---",
           "u::rw,g::r,o::-,m::r,u:1000:r",
           "user::rw-,user:1000:r--:1000,group::r--,mask:r--,other:---",
           "user::rw-\t#effective\n# a comment\n user:1000:r-- \ngroup::r--\nmask::r--\nother::---",
       }) {
    Result<AclText> parsed = parse_posix_acl(text);
    ASSERT_TRUE(parsed) << text << parsed.error().message;
    EXPECT_EQ(parsed->entries, kList) << text;
  }
  EXPECT_TRUE(parse_posix_acl("")->entries.empty());
}

TEST(PosixAcl, NamesNeedNumbers) {
  Result<AclText> parsed =
      parse_posix_acl("user::rw-,group::r--,group:adm:r--,mask::r--,other::---");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->name_without_number, "adm");
  EXPECT_TRUE(parsed->entries.empty());
}

TEST(PosixAcl, RefusesWhatLinuxDoes) {
  for (const char* text : {
           "user::rw-,group::r--",                                           // no others
           "user::rw-,user::rw-,group::r--,other::---",                      // twice
           "user::rw-,user:1:r--,group::r--,other::---",                     // no mask
           "user::rw-,user:1:r--,user:1:rw-,group::r--,mask::r--,other::-",  // one user twice
           "user::rw-,group::r--,mask::r,mask::r,other::---",
           "user::rwz,group::r--,other::---",
           "user::rr,group::r--,other::---",
           "user::,group::r--,other::---",
           "user,group::r--,other::---",
           "user::rw-,group::r--,other:5:---",
           "user::rw-,user:1:r--:2,group::r--,mask::r,other::---",
           "user::rw-,user:a:r--:x,group::r--,mask::r,other::---",
           "user::rw-,user:a:r--:4294967295,group::r--,mask::r,other::---",
           "user::rw-,user:a:r--:1:2,group::r--,mask::r,other::---",
           "default:user::rw-,group::r--,other::---",
       }) {
    Result<AclText> parsed = parse_posix_acl(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, ErrorCode::kCorrupt);
  }
}

}  // namespace
}  // namespace cfs::builder
