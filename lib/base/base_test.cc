// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>

#include "lib/base/hex.h"
#include "lib/base/io.h"
#include "lib/base/little_endian.h"
#include "lib/base/progress.h"
#include "lib/base/report.h"
#include "lib/base/result.h"
#include "lib/base/thread_pool.h"

namespace cfs {
namespace {

Result<int> half(int value) {
  if (value % 2 != 0) return make_error(ErrorCode::kInvalidInput, "odd");
  return value / 2;
}
Result<int> quarter(int value) { return CFS_TRY(half(CFS_TRY(half(value)))); }

TEST(Result, TryPassesValuesAndErrors) {
  EXPECT_EQ(quarter(12).value(), 3);
  EXPECT_EQ(quarter(6).error().message, "odd");
}

TEST(Error, DescribesErrnoAndContext) {
  Error error = errno_error("cannot open 'x'", ENOENT).with("while reading 'y'");
  EXPECT_EQ(error.code, ErrorCode::kNotFound);
  EXPECT_EQ(error.describe(), "cannot open 'x': No such file or directory (while reading 'y')");
}

TEST(Hex, RoundTripsAndRefuses) {
  std::byte out[2];
  ASSERT_TRUE(from_hex("aBcd", out));
  EXPECT_EQ(to_hex(out), "abcd");
  EXPECT_FALSE(from_hex("abc", out));
  EXPECT_FALSE(from_hex("abcg", out));
}

TEST(LittleEndian, StoresLowestByteFirst) {
  le32 value = 0x01020304;
  uint8_t raw[4];
  std::memcpy(raw, &value, 4);
  EXPECT_EQ(raw[0], 4);
  EXPECT_EQ(value, 0x01020304U);
}

TEST(Io, WriteFileAtomicallyReplacesAndKeepsOldOnFailure) {
  TemporaryDirectory dir = TemporaryDirectory::create().value();
  std::string path = dir.path() + "/f";
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path, as_bytes("one")));
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path, as_bytes("two")));
  EXPECT_EQ(read_file(AT_FDCWD, path, 10).value(), "two");
  EXPECT_EQ(list_directory(AT_FDCWD, dir.path()).value(), std::vector<std::string>{"f"});
  EXPECT_FALSE(write_file_atomically(AT_FDCWD, dir.path() + "/no/f", as_bytes("x")));
}

TEST(Io, ReadFileRefusesMoreThanTheLimit) {
  TemporaryDirectory dir = TemporaryDirectory::create().value();
  std::string path = dir.path() + "/f";
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path, as_bytes("12345")));
  EXPECT_EQ(read_file(AT_FDCWD, path, 5).value(), "12345");
  EXPECT_EQ(read_file(AT_FDCWD, path, 4).error().code, ErrorCode::kInvalidInput);
}

TEST(Io, OpenBeneathRefusesSymlinksAndDotDot) {
  TemporaryDirectory dir = TemporaryDirectory::create().value();
  UniqueFd fd = open_at(AT_FDCWD, dir.path(), O_RDONLY | O_DIRECTORY).value();
  ASSERT_EQ(::symlinkat("/etc", fd.get(), "link"), 0);
  EXPECT_FALSE(open_beneath(fd.get(), "link/passwd", O_RDONLY));
  EXPECT_FALSE(open_beneath(fd.get(), "../etc", O_RDONLY));
  EXPECT_TRUE(open_beneath(fd.get(), "new", O_WRONLY | O_CREAT, 0600));
}

TEST(ThreadPool, RunsEverythingAndReturnsTheFirstError) {
  std::atomic<int> count{0};
  ThreadPool pool(2);
  for (int i = 0; i < 1000; ++i) {
    pool.submit([&]() -> Result<> {
      ++count;
      return {};
    });
  }
  ASSERT_TRUE(pool.finish());
  EXPECT_EQ(count, 1000);
  for (int i = 0; i < 1000; ++i) {
    pool.submit([i]() -> Result<> {
      if (i == 5) return make_error(ErrorCode::kCorrupt, "five");
      return {};
    });
  }
  EXPECT_EQ(pool.finish().error().message, "five");
}

TEST(OpenRegular, RefusesAFifoWithoutWaitingForItsWriter) {
  TemporaryDirectory directory = std::move(TemporaryDirectory::create().value());
  std::string fifo = directory.path() + "/fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  UniqueFd parent = std::move(open_at(AT_FDCWD, directory.path(), O_RDONLY | O_DIRECTORY).value());
  EXPECT_EQ(open_regular_at(AT_FDCWD, fifo).error().code, ErrorCode::kInvalidInput);
  EXPECT_EQ(open_regular_beneath(parent.get(), "fifo").error().code, ErrorCode::kInvalidInput);
  EXPECT_EQ(open_regular_at(AT_FDCWD, directory.path()).error().code, ErrorCode::kInvalidInput);
}

TEST(FormatBytes, UsesSiUnits) {
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1500), "1.5 kB");
  EXPECT_EQ(format_bytes(12'300'000), "12.3 MB");
}

TEST(ProgressLine, SaysWhatIsKnown) {
  constexpr auto kBytes = Progress::Unit::kBytes;
  EXPECT_EQ(progress_line("fetching", "", 12'300'000, 30'000'000, kBytes, 3),
            "fetching  41%  12.3 MB/30.0 MB  4.1 MB/s  ETA 4 s");
  EXPECT_EQ(progress_line("reading", "", 2000, 0, kBytes, 2), "reading  2.0 kB  1.0 kB/s");
  EXPECT_EQ(progress_line("unpacking", "dpkg", 40, 100, Progress::Unit::kItems, 4),
            "unpacking  dpkg  40%  40/100  10/s  ETA 6 s");
  // Nothing counted yet says nothing about the rate.
  EXPECT_EQ(progress_line("installing", "extracting archives", 0, 0, kBytes, 40),
            "installing  extracting archives");
}

TEST(ReportTest, NamesCannotDriveTheTerminal) {
  testing::internal::CaptureStderr();
  int status = report_error(
      "cfs",
      make_error(ErrorCode::kCorrupt, "'a\x1b[2J\x07\x7f\xc2\x9b ' é€\tb").with_hint("line\nline"));
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "cfs: error: 'a?[2J???? ' é€\tb\ncfs: hint: line\n  line\n");
  EXPECT_EQ(status, 7);
}

}  // namespace
}  // namespace cfs
