// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/decompress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "builder/test_support.h"
#include "lib/base/subprocess.h"

namespace cfs::builder {
namespace {

using testing::HasSubstr;

constexpr size_t kLimit = 64 << 20;

/// Everything that compresses, and whether its format has checksums and an end.
struct Tool {
  const char* name;
  std::vector<std::string> command;
  bool has_checksum = true;
  bool has_end = true;
};
const std::vector<Tool> kTools = {
    {"gzip", {"gzip", "-c"}},
    {"bzip2", {"bzip2", "-c"}},
    {"xz", {"xz", "-c", "-T1"}},
    {"xz blocks", {"xz", "-c", "-T1", "--block-size=65536"}},
    {"lzma", {"xz", "-c", "--format=lzma"}, false},
    {"lzip", {"lzip", "-c"}},
    {"zstd", {"zstd", "-c", "-q"}},
    {"lz4", {"lz4", "-c", "-q"}},
    {"lz4 with everything", {"lz4", "-c", "-q", "-BX", "-B4", "--content-size"}},
    {"lz4 legacy", {"lz4", "-c", "-q", "-l"}, false, false},
    {"compress", {"compress", "-c", "-f"}, false, false},
    {"compress 12 bits", {"compress", "-c", "-f", "-b", "12"}, false, false},
};

std::string packed(const Workbench& bench, const Tool& tool, const std::string& data) {
  bench.write("plain", data);
  std::vector<std::string> arguments = tool.command;
  arguments.push_back(bench.path("plain"));
  return must(run_command({.arguments = arguments}));
}

/// Text with runs and noise: in every format some of it is compressed and some is not.
std::string sample(size_t size) {
  std::string text;
  uint32_t state = 1;
  while (text.size() < size) {
    state = state * 1664525 + 1013904223;  // Numerical Recipes' linear congruential generator
    if (state >> 28 == 0) {
      text.append(state >> 20 & 0xff, static_cast<char>(state >> 12));
    } else {
      text += static_cast<char>((text.size() / 4096) % 2 == 0 ? 'a' + (state >> 28) : state >> 24);
    }
  }
  text.resize(size);
  return text;
}

std::string zeros(size_t count) { return std::string(count, '\0'); }

/// `data` and what becomes of it, both in pieces of `step` bytes.
Result<std::string> read_in_pieces(const std::string& data, size_t step) {
  auto in_pieces = [step](ByteSource source) {
    return [step, whole = std::move(source)](std::span<std::byte> buffer) {
      return whole(buffer.first(std::min(step, buffer.size())));
    };
  };
  Decompressor input(in_pieces(source_of_bytes(as_bytes(data))), "t");
  return read_all(in_pieces([&](std::span<std::byte> buffer) { return input.read(buffer); }),
                  kLimit);
}

TEST(Decompressor, KnowsEveryFormatInPiecesOfAnySize) {
  Workbench bench;
  for (size_t size : {1U, 1000U, 262144U, 3'000'000U}) {
    std::string data = sample(size);
    for (const Tool& tool : kTools) {
      std::string file = packed(bench, tool, data);
      for (size_t step : {size > 100000 ? 997U : 1U, 65536U, 1U << 30}) {
        Result<std::string> plain = read_in_pieces(file, step);
        ASSERT_TRUE(plain) << tool.name << " " << size << " " << plain.error().describe();
        EXPECT_TRUE(*plain == data) << tool.name << " " << size << " in pieces of " << step;
      }
    }
  }
}

TEST(Decompressor, StreamsInARowAreOne) {
  Workbench bench;
  for (const Tool& tool : kTools) {
    if (std::string_view(tool.name).starts_with("compress")) continue;  // has no end
    std::string file = packed(bench, tool, sample(5000));
    EXPECT_TRUE(must(decompress(file + file, "t", kLimit)) == sample(5000) + sample(5000))
        << tool.name;
  }
}

TEST(Decompressor, ZerosBehindItArePadding) {
  Workbench bench;
  for (const Tool& tool : kTools) {
    if (!tool.has_end) continue;
    std::string file = packed(bench, tool, sample(5000));
    for (size_t count : {1U, 512U, 100'000U}) {
      Result<std::string> plain = read_in_pieces(file + zeros(count), 4096);
      ASSERT_TRUE(plain) << tool.name << plain.error().describe();
      EXPECT_TRUE(*plain == sample(5000)) << tool.name;
    }
    for (const std::string& tail : {std::string("x"), zeros(8) + "x"}) {
      Result<std::string> plain = decompress(file + tail, "t", kLimit);
      ASSERT_FALSE(plain) << tool.name;
      EXPECT_EQ(plain.error().code, ErrorCode::kCorrupt);
    }
  }
}

TEST(Decompressor, CutOffIsCorrupt) {
  Workbench bench;
  for (const Tool& tool : kTools) {
    if (!tool.has_end) continue;
    std::string file = packed(bench, tool, sample(20000));
    for (size_t size = 1; size < file.size(); size += size + 40 < file.size() ? 61U : 1U) {
      Result<std::string> plain = decompress(file.substr(0, size), "t", kLimit);
      if (size < 14 && plain && *plain == file.substr(0, size)) continue;  // no magic number yet
      ASSERT_FALSE(plain) << tool.name << " " << size;
      EXPECT_EQ(plain.error().code, ErrorCode::kCorrupt);
    }
  }
}

TEST(Decompressor, FlippedBitNeverGivesOtherData) {
  Workbench bench;
  std::string data = sample(30000);
  for (const Tool& tool : kTools) {
    if (!tool.has_checksum) continue;
    std::string file = packed(bench, tool, data);
    int refused = 0;
    for (size_t offset = 12; offset < file.size(); offset += 37) {
      std::string flipped = file;
      flipped[offset] = static_cast<char>(flipped[offset] ^ 0x10);
      Result<std::string> plain = decompress(flipped, "t", kLimit);
      if (plain) {
        EXPECT_TRUE(*plain == data) << tool.name << " " << offset;
      } else {
        ++refused;
      }
    }
    EXPECT_GT(refused, 50) << tool.name;
  }
}

/// `compress -b 9` writes them, and neither it nor gzip reads them back.
TEST(Decompressor, CodesOfNineBitsAtMostAreRefused) {
  Workbench bench;
  for (const char* bits : {"9", "10", "11", "15"}) {
    std::string file =
        packed(bench, {"compress", {"compress", "-c", "-f", "-b", bits}}, sample(5000));
    Result<std::string> plain = decompress(file, "t", kLimit);
    if (std::string_view(bits) == "9") {
      EXPECT_THAT(plain.error().message, HasSubstr("compress: codes of 9 bits at most"));
    } else {
      EXPECT_TRUE(must(std::move(plain)) == sample(5000)) << bits;
    }
  }
}

std::string skippable(const std::string& content, char number = '\x50') {
  std::string frame{number, '\x2a', '\x4d', '\x18'};
  for (int shift = 0; shift < 32; shift += 8) {
    frame += static_cast<char>(content.size() >> shift & 0xff);
  }
  return frame + content;
}

TEST(Decompressor, SkippableFramesAreSkipped) {
  Workbench bench;
  for (const Tool& tool : kTools) {
    std::string_view name = tool.name;
    if (name != "zstd" && !name.starts_with("lz4")) continue;
    std::string file = packed(bench, tool, sample(5000));
    std::string frames = skippable("index") + skippable(std::string(600'000, 'x'), '\x5f');
    for (size_t step : {1000U, 1U << 30}) {
      Result<std::string> plain = read_in_pieces(frames + file, step);
      ASSERT_TRUE(plain) << name << plain.error().describe();
      EXPECT_TRUE(*plain == sample(5000));
      if (!tool.has_end) continue;
      EXPECT_TRUE(must(read_in_pieces(frames + file + frames + file + zeros(512), step)) ==
                  sample(5000) + sample(5000));
    }
  }
  EXPECT_EQ(must(decompress(skippable("x"), "t", kLimit)), "");
  EXPECT_FALSE(decompress(skippable("x") + "plain", "t", kLimit));
  EXPECT_FALSE(decompress(skippable("xyz").substr(0, 10), "t", kLimit));
  EXPECT_FALSE(decompress(skippable("xyz").substr(0, 6), "t", kLimit));
}

TEST(Decompressor, AnArchiveIsPlainWhateverItsFirstName) {
  for (const char* name : {"BZh91", "LZIP", "\x1f\x8b\x08", "\x28\xb5\x2f\xfd", "\x50\x2a\x4d\x18",
                           "\x04\x22\x4d\x18", "\x1f\x9d\x90"}) {
    TarMaker tar;
    tar.add(name, {}, "data");
    std::string archive = tar.finish();
    EXPECT_EQ(must(decompress(archive, "t", kLimit)), archive);
  }
}

TEST(Decompressor, MemoryIsLimited) {
  // A window of 1 GiB, as its header says.
  std::string frame("\x28\xb5\x2f\xfd\x00\xa0\x01\x00\x00", 9);
  EXPECT_THAT(decompress(frame, "t", kLimit).error().message, HasSubstr("zstd"));
  std::string lzma("\x5d\xff\xff\xff\xff", 5);
  lzma += std::string(8, '\xff') + std::string(100, '\0');
  EXPECT_THAT(decompress(lzma, "t", kLimit).error().message, HasSubstr("512 MiB"));
}

TEST(Decompress, KnowsWhatLinuxModulesComeIn) {
  Workbench bench;
  const std::string data = sample(100000);
  for (const Tool& tool : kTools) {
    std::string file = packed(bench, tool, data);
    EXPECT_TRUE(must(decompress(file, "m", 1 << 20)) == data) << tool.name;
    EXPECT_EQ(decompress(file, "m", 1000).error().code, ErrorCode::kInvalidInput) << tool.name;
  }
  EXPECT_EQ(must(decompress("\177ELF", "m", 100)), "\177ELF");
  EXPECT_EQ(must(decompress("", "m", 100)), "");
}

}  // namespace
}  // namespace cfs::builder
