// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/pe.h"

#include <gtest/gtest.h>

#include <random>

#include "lib/base/io.h"
#include "lib/base/little_endian.h"
#include "lib/boot/test_programs.h"

namespace cfs::boot {
namespace {

uint32_t le32_at(Bytes file, size_t offset) {
  le32 value;
  std::memcpy(&value, file.data() + offset, sizeof(value));
  return value;
}

void put_le32(std::vector<std::byte>& file, size_t offset, uint32_t value) {
  le32 raw = value;
  std::memcpy(file.data() + offset, &raw, sizeof(raw));
}

class Stub : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string text = read_efi_program(kSystemdStubPath).value();
    Bytes bytes = as_bytes(text);
    stub_.assign(bytes.begin(), bytes.end());
    coff_ = le32_at(stub_, 0x3c);
  }
  std::vector<std::byte> stub_;
  size_t coff_ = 0;
};

TEST_F(Stub, ChecksumAgreesWithTheOneItsLinkerWrote) {
  EXPECT_EQ(pe_checksum(stub_, coff_ + 24 + 64), le32_at(stub_, coff_ + 24 + 64));
}

TEST_F(Stub, AppendedSectionsAreAlignedDisjointAndFoundAgain) {
  const std::string a(5000, 'a');
  const std::string b = "b";
  const NewSection sections[] = {{".aaa", as_bytes(a)}, {".bbbbbbb", as_bytes(b)}};
  std::vector<std::byte> program = append_sections(stub_, sections).value();
  PeHeaders before = parse_pe(stub_, stub_.size()).value();
  PeHeaders after = parse_pe(program, program.size()).value();
  ASSERT_EQ(after.sections.size(), before.sections.size() + 2);
  const PeSection& last_of_stub = after.sections[before.sections.size() - 1];
  const PeSection* first = after.find(".aaa");
  const PeSection* second = after.find(".bbbbbbb");
  ASSERT_NE(first, nullptr);
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(first->virtual_address % 4096, 0U);
  EXPECT_EQ(second->virtual_address % 4096, 0U);
  EXPECT_GE(first->virtual_address, last_of_stub.virtual_address + last_of_stub.virtual_size);
  EXPECT_GE(second->virtual_address, first->virtual_address + first->virtual_size);
  EXPECT_EQ(first->file_size, a.size());
  EXPECT_EQ(as_text(Bytes(program).subspan(first->file_offset, a.size())), a);
  EXPECT_EQ(as_text(Bytes(program).subspan(second->file_offset, 1)), b);
  EXPECT_EQ(program.size() % after.file_alignment, 0U);

  size_t optional = coff_ + 24;
  EXPECT_GE(le32_at(program, optional + 56), second->virtual_address + 1);  // SizeOfImage
  EXPECT_EQ(le32_at(program, optional + 56) % after.section_alignment, 0U);
  EXPECT_EQ(le32_at(program, optional + 64), pe_checksum(program, optional + 64));
}

TEST_F(Stub, RefusesWhatCannotBeAppended) {
  auto append = [&](std::string_view name, std::string_view content) {
    const NewSection section[] = {{name, as_bytes(content)}};
    Result<std::vector<std::byte>> result = append_sections(stub_, section);
    return result ? ErrorCode::kNothingToDo : result.error().code;
  };
  EXPECT_EQ(append(".fine", "x"), ErrorCode::kNothingToDo);
  EXPECT_EQ(append(".text", "x"), ErrorCode::kInvalidInput);
  EXPECT_EQ(append(".ninechar", "x"), ErrorCode::kInvalidInput);
  EXPECT_EQ(append("", "x"), ErrorCode::kInvalidInput);
  EXPECT_EQ(append(".empty", ""), ErrorCode::kInvalidInput);
  const NewSection twice[] = {{".a", as_bytes("x")}, {".a", as_bytes("x")}};
  EXPECT_EQ(append_sections(stub_, twice).error().code, ErrorCode::kInvalidInput);

  std::vector<std::string> names;
  std::vector<NewSection> many;
  for (int i = 0; i < 8; ++i) names.push_back(".s" + std::to_string(i));
  for (const std::string& name : names) many.push_back({name, as_bytes("x")});
  EXPECT_EQ(append_sections(stub_, many).error().code, ErrorCode::kInvalidInput);  // no room

  put_le32(stub_, coff_ + 24 + 148, 8);  // a certificate table
  EXPECT_EQ(append(".fine", "x"), ErrorCode::kInvalidInput);
}

TEST_F(Stub, ImpossibleHeadersAreCorrupt) {
  struct Case {
    const char* what;
    size_t offset;
    uint32_t value;
  };
  const size_t table = coff_ + 24 + 240;
  for (const Case& c :
       {Case{"DOS magic", 0, 0}, Case{"PE offset far", 0x3c, 0xfffffff0},
        Case{"PE offset odd", 0x3c, 0x81}, Case{"PE magic", coff_, 0},
        Case{"too many sections", coff_ + 4, 0xffff'8664},
        Case{"optional header huge", coff_ + 20, 0x0206'ffff},
        Case{"optional header small", coff_ + 20, 0x0206'0010}, Case{"PE32", coff_ + 24, 0x10b},
        Case{"alignment 0", coff_ + 24 + 36, 0}, Case{"alignment 3", coff_ + 24 + 36, 3},
        Case{"alignment huge", coff_ + 24 + 36, 1U << 31},
        Case{"section beyond the end", table + 20, 0xffff'0000},
        Case{"section without a name", table, 0}}) {
    std::vector<std::byte> broken = stub_;
    put_le32(broken, c.offset, c.value);
    Result<PeHeaders> parsed = parse_pe(broken, broken.size());
    ASSERT_FALSE(parsed) << c.what;
    EXPECT_EQ(parsed.error().code, ErrorCode::kCorrupt) << c.what;
  }
}

TEST_F(Stub, EveryTruncationIsAnError) {
  PeHeaders headers = parse_pe(stub_, stub_.size()).value();
  uint64_t needed = 0;
  for (const PeSection& section : headers.sections) {
    needed = std::max<uint64_t>(needed, section.file_offset + section.file_size);
  }
  for (size_t size = 0; size < needed; size += size < 2048 ? 1 : 997) {
    EXPECT_FALSE(parse_pe(Bytes(stub_).first(size), size)) << size;
  }
  EXPECT_TRUE(parse_pe(Bytes(stub_).first(needed), needed));
}

TEST_F(Stub, FlippedHeaderBytesNeverGiveASectionOutsideTheFile) {
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::byte> broken(stub_.begin(), stub_.begin() + 1024);
    for (int i = 0; i < 3; ++i) broken[random() % 1024] = static_cast<std::byte>(random());
    Result<PeHeaders> parsed = parse_pe(broken, stub_.size());
    if (!parsed) continue;
    for (const PeSection& section : parsed->sections) {
      ASSERT_LE(uint64_t{section.file_offset} + section.file_size, stub_.size());
    }
  }
}

}  // namespace
}  // namespace cfs::boot
