// SPDX-License-Identifier: Apache-2.0
// The only file that includes zlib, bzip2, liblzma, libzstd for reading, and lz4.
//
// libarchive reads all of these, too. But it does not compare gzip's checksums, takes whatever
// follows a stream of zstd or lz4 for its end, and does not know a skippable frame in front.
#include "builder/sources/decompress.h"

#include <bzlib.h>
#include <fmt/format.h>
#include <lz4.h>
#include <lz4frame.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "builder/sources/tar_header.h"
#include "lib/base/check.h"
#include "lib/base/little_endian.h"

namespace cfs::builder {
namespace {

constexpr size_t kInputBytes = 256 << 10;
constexpr uint64_t kMaxDecoderBytes = 512ULL << 20;  // xz -9 needs 65 MiB
constexpr uint32_t kSkippableMagic = 0x184d2a50;     // to 5f; RFC 8878, section 3.1.2
constexpr size_t kSkippableHeaderBytes = 8;

/// What one step of a decoder did. `ended`: the stream is whole and its checksums are right.
struct Step {
  size_t consumed = 0;
  size_t produced = 0;
  bool ended = false;
};

/// Decodes one compressed stream after the other.
class Decoder {
 public:
  Decoder() = default;
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  virtual ~Decoder() = default;

  /// Decodes from `in`, which may be empty, to `out`. Errors: kCorrupt, only the reason.
  [[nodiscard]] virtual Result<Step> run(Bytes in, std::span<std::byte> out) = 0;
  /// Makes ready for another stream.
  virtual void restart() = 0;
  /// Returns true if the stream may end where the data ends, having no end mark of its own.
  [[nodiscard]] virtual bool ends_with_input() const { return false; }
};

Error corrupt(const char* what) { return make_error(ErrorCode::kCorrupt, what); }

unsigned clamp(size_t size) {
  return static_cast<unsigned>(std::min<size_t>(size, std::numeric_limits<int>::max()));
}

class GzipDecoder : public Decoder {
 public:
  GzipDecoder() {
    constexpr int kGzipOnly = 16 + MAX_WBITS;                // zlib.h, inflateInit2
    CFS_CHECK(::inflateInit2(&stream_, kGzipOnly) == Z_OK);  // fails for want of memory only
  }
  ~GzipDecoder() override { ::inflateEnd(&stream_); }

  Result<Step> run(Bytes in, std::span<std::byte> out) override {
    // zlib's input pointer is not const, though nothing is written through it.
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data()));
    stream_.avail_in = clamp(in.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = clamp(out.size());
    uInt offered = stream_.avail_in;
    uInt room = stream_.avail_out;
    int status = ::inflate(&stream_, Z_NO_FLUSH);
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) {
      return corrupt(stream_.msg != nullptr ? stream_.msg : "unknown failure");
    }
    return Step{offered - stream_.avail_in, room - stream_.avail_out, status == Z_STREAM_END};
  }
  void restart() override { CFS_CHECK(::inflateReset(&stream_) == Z_OK); }

 private:
  z_stream stream_ = {};
};

class Bzip2Decoder : public Decoder {
 public:
  Bzip2Decoder() { begin(); }
  ~Bzip2Decoder() override { ::BZ2_bzDecompressEnd(&stream_); }

  Result<Step> run(Bytes in, std::span<std::byte> out) override {
    stream_.next_in = reinterpret_cast<char*>(const_cast<std::byte*>(in.data()));
    stream_.avail_in = clamp(in.size());
    stream_.next_out = reinterpret_cast<char*>(out.data());
    stream_.avail_out = clamp(out.size());
    unsigned offered = stream_.avail_in;
    unsigned room = stream_.avail_out;
    int status = ::BZ2_bzDecompress(&stream_);
    if (status != BZ_OK && status != BZ_STREAM_END) return corrupt("malformed or damaged data");
    return Step{offered - stream_.avail_in, room - stream_.avail_out, status == BZ_STREAM_END};
  }
  void restart() override {
    ::BZ2_bzDecompressEnd(&stream_);
    begin();
  }

 private:
  void begin() {
    stream_ = {};
    CFS_CHECK(::BZ2_bzDecompressInit(&stream_, 0, 0) == BZ_OK);
  }
  bz_stream stream_ = {};
};

class LzmaDecoder : public Decoder {
 public:
  enum class Container { kXz, kAlone, kLzip };
  explicit LzmaDecoder(Container container) : container_(container) { begin(); }
  ~LzmaDecoder() override { ::lzma_end(&stream_); }

  Result<Step> run(Bytes in, std::span<std::byte> out) override {
    stream_.next_in = reinterpret_cast<const uint8_t*>(in.data());
    stream_.avail_in = in.size();
    stream_.next_out = reinterpret_cast<uint8_t*>(out.data());
    stream_.avail_out = out.size();
    lzma_ret status = ::lzma_code(&stream_, LZMA_RUN);
    switch (status) {
      case LZMA_OK:
      case LZMA_STREAM_END:
      case LZMA_BUF_ERROR:
        break;
      case LZMA_MEMLIMIT_ERROR:
        return corrupt("needs more than 512 MiB of memory");
      case LZMA_OPTIONS_ERROR:
      case LZMA_UNSUPPORTED_CHECK:
        return corrupt("uses a filter or a checksum that is not supported");
      default:
        return corrupt("malformed or damaged data");
    }
    return Step{in.size() - stream_.avail_in, out.size() - stream_.avail_out,
                status == LZMA_STREAM_END};
  }
  void restart() override { begin(); }

 private:
  void begin() {
    // LZMA_TELL_UNSUPPORTED_CHECK: data whose checksum cannot be compared is refused.
    lzma_ret status =
        container_ == Container::kXz
            ? ::lzma_stream_decoder(&stream_, kMaxDecoderBytes, LZMA_TELL_UNSUPPORTED_CHECK)
        : container_ == Container::kLzip ? ::lzma_lzip_decoder(&stream_, kMaxDecoderBytes, 0)
                                         : ::lzma_alone_decoder(&stream_, kMaxDecoderBytes);
    CFS_CHECK(status == LZMA_OK);
  }
  Container container_;
  lzma_stream stream_ = LZMA_STREAM_INIT;
};

class ZstdDecoder : public Decoder {
 public:
  ZstdDecoder() : context_(::ZSTD_createDCtx()) { CFS_CHECK(context_ != nullptr); }
  ~ZstdDecoder() override { ::ZSTD_freeDCtx(context_); }

  Result<Step> run(Bytes in, std::span<std::byte> out) override {
    ZSTD_inBuffer input = {in.data(), in.size(), 0};
    ZSTD_outBuffer output = {out.data(), out.size(), 0};
    size_t status = ::ZSTD_decompressStream(context_, &output, &input);
    if (::ZSTD_isError(status) != 0) return corrupt(::ZSTD_getErrorName(status));
    return Step{input.pos, output.pos, status == 0};
  }
  void restart() override {
    CFS_CHECK(::ZSTD_isError(::ZSTD_DCtx_reset(context_, ZSTD_reset_session_only)) == 0);
  }

 private:
  ZSTD_DCtx* context_;
};

class Lz4Decoder : public Decoder {
 public:
  Lz4Decoder() {
    CFS_CHECK(::LZ4F_isError(::LZ4F_createDecompressionContext(&context_, LZ4F_VERSION)) == 0);
  }
  ~Lz4Decoder() override { ::LZ4F_freeDecompressionContext(context_); }

  Result<Step> run(Bytes in, std::span<std::byte> out) override {
    size_t consumed = in.size();
    size_t produced = out.size();
    size_t status =
        ::LZ4F_decompress(context_, out.data(), &produced, in.data(), &consumed, nullptr);
    if (::LZ4F_isError(status) != 0) return corrupt(::LZ4F_getErrorName(status));
    return Step{consumed, produced, status == 0};
  }
  void restart() override { ::LZ4F_resetDecompressionContext(context_); }

 private:
  LZ4F_dctx* context_ = nullptr;
};

/// `lz4 -l`: a magic number, then blocks of 8 MiB of plain data, each after its compressed size.
/// The end of the data is the end. Spec: lz4 frame format, "Legacy frame".
class Lz4LegacyDecoder : public Decoder {
 public:
  Result<Step> run(Bytes in, std::span<std::byte> out) override {
    Step step;
    for (;;) {
      size_t count = std::min(plain_.size() - plain_used_, out.size() - step.produced);
      std::copy_n(plain_.data() + plain_used_, count, out.data() + step.produced);
      plain_used_ += count;
      step.produced += count;
      if (plain_used_ < plain_.size() || step.consumed == in.size()) return step;
      size_t wanted = has_magic_ && size_ != 0 ? size_ : sizeof(le32);
      size_t take = std::min(wanted - packed_.size(), in.size() - step.consumed);
      Bytes taken = in.subspan(step.consumed, take);
      packed_.insert(packed_.end(), taken.begin(), taken.end());
      step.consumed += take;
      if (packed_.size() < wanted) return step;
      CFS_TRY(use());
    }
  }
  void restart() override {}
  [[nodiscard]] bool ends_with_input() const override { return packed_.empty() && size_ == 0; }

 private:
  static constexpr size_t kBlockBytes = 8 << 20;

  /// `packed_` holds a magic number, a size or a block.
  Result<> use() {
    if (size_ == 0) {
      le32 number;
      std::memcpy(&number, packed_.data(), sizeof(number));
      packed_.clear();
      if (!std::exchange(has_magic_, true) || number == kMagic) return {};  // also between frames
      if (number == 0 || number > static_cast<uint32_t>(LZ4_COMPRESSBOUND(kBlockBytes))) {
        return corrupt("a block of an impossible size");
      }
      size_ = number;
      return {};
    }
    plain_.resize(kBlockBytes);
    plain_used_ = 0;
    int size = ::LZ4_decompress_safe(reinterpret_cast<const char*>(packed_.data()),
                                     reinterpret_cast<char*>(plain_.data()),
                                     static_cast<int>(packed_.size()), kBlockBytes);
    if (size < 0) return corrupt("malformed or damaged data");
    plain_.resize(static_cast<size_t>(size));
    packed_.clear();
    size_ = 0;
    return {};
  }

 public:
  static constexpr uint32_t kMagic = 0x184c2102;

 private:
  bool has_magic_ = false;
  uint32_t size_ = 0;  ///< of the block that comes, if known
  std::vector<std::byte> packed_;
  std::vector<std::byte> plain_;
  size_t plain_used_ = 0;
};

/// compress(1): LZW with codes of 9 bits that grow up to 10 to 16, least significant bit first,
/// eight codes a group; at each change of their width the rest of the group is left out. There is
/// no checksum.
class LzwDecoder : public Decoder {
 public:
  Result<Step> run(Bytes in, std::span<std::byte> out) override {
    Step step;
    for (;;) {
      while (!pending_.empty() && step.produced < out.size()) {  // last byte first
        out[step.produced++] = pending_.back();
        pending_.pop_back();
      }
      if (!pending_.empty() || step.consumed == in.size()) return step;
      std::byte next = in[step.consumed++];
      if (header_bytes_ < kHeaderBytes) {
        CFS_TRY(take_header(next));
        continue;
      }
      if (skip_bytes_ > 0) {
        --skip_bytes_;
        continue;
      }
      bits_ |= std::to_integer<uint32_t>(next) << bit_count_;
      bit_count_ += 8;
      ++group_bytes_;
      if (bit_count_ < width_) continue;
      uint32_t code = bits_ & ((1U << width_) - 1);
      bits_ >>= width_;
      bit_count_ -= width_;
      if (group_bytes_ == width_) group_bytes_ = 0;  // and no bits are left
      CFS_TRY(take_code(code));
    }
  }
  void restart() override {}
  [[nodiscard]] bool ends_with_input() const override { return header_bytes_ == kHeaderBytes; }

 private:
  static constexpr size_t kHeaderBytes = 3;
  static constexpr uint32_t kClear = 256;
  static constexpr unsigned kMinWidth = 9;
  static constexpr unsigned kMaxWidth = 16;
  static constexpr uint32_t kNoCode = ~0U;

  Result<> take_header(std::byte next) {
    if (++header_bytes_ < kHeaderBytes) return {};
    auto flags = std::to_integer<unsigned>(next);
    max_width_ = flags & 0x1f;
    has_clear_ = (flags & 0x80) != 0;
    if ((flags & 0x60) != 0 || max_width_ < kMinWidth || max_width_ > kMaxWidth) {
      return corrupt("unknown parameters");
    }
    // `compress -b 9` writes what neither it nor gzip reads back.
    if (max_width_ == kMinWidth) return corrupt("codes of 9 bits at most, which no program reads");
    first_free_ = has_clear_ ? kClear + 1 : kClear;
    next_free_ = first_free_;
    return {};
  }

  /// The next code has `width` bits and starts a group.
  void set_width(unsigned width) {
    skip_bytes_ = group_bytes_ == 0 ? 0 : width_ - group_bytes_;
    group_bytes_ = 0;
    bits_ = 0;
    bit_count_ = 0;
    width_ = width;
  }

  Result<> take_code(uint32_t code) {
    if (code == kClear && has_clear_) {
      next_free_ = first_free_;
      previous_ = kNoCode;
      set_width(kMinWidth);
      return {};
    }
    if (code > next_free_ || (code == next_free_ && previous_ == kNoCode) ||
        (previous_ == kNoCode && code >= kClear)) {
      return corrupt("malformed or damaged data");
    }
    uint32_t from = code;
    if (code == next_free_ && next_free_ < (1U << max_width_)) {  // the string that is made now
      pending_.push_back(first_byte_);
      from = previous_;
    }
    while (from >= kClear) {
      pending_.push_back(table_[from].last);
      from = table_[from].prefix;
    }
    first_byte_ = static_cast<std::byte>(from);
    pending_.push_back(first_byte_);
    if (previous_ != kNoCode && next_free_ < (1U << max_width_)) {
      table_[next_free_] = {static_cast<uint16_t>(previous_), first_byte_};
      ++next_free_;
    }
    previous_ = code;
    if (next_free_ == (1U << width_) && width_ < max_width_) set_width(width_ + 1);
    return {};
  }

  struct Code {
    uint16_t prefix;
    std::byte last;
  };
  std::vector<Code> table_ = std::vector<Code>(size_t{1} << kMaxWidth);
  std::vector<std::byte> pending_;  ///< decoded, in reverse
  size_t header_bytes_ = 0;
  bool has_clear_ = false;
  unsigned max_width_ = kMaxWidth;
  unsigned width_ = kMinWidth;
  uint32_t first_free_ = 0;
  uint32_t next_free_ = 0;
  uint32_t previous_ = kNoCode;
  std::byte first_byte_ = {};
  uint32_t bits_ = 0;  ///< the low `bit_count_` are read and not used
  unsigned bit_count_ = 0;
  unsigned group_bytes_ = 0;  ///< read of this group, which has `width_`
  unsigned skip_bytes_ = 0;
};

struct Kind {
  const char* name;
  std::unique_ptr<Decoder> (*make)();
};

template <typename T, auto... kArguments>
std::unique_ptr<Decoder> make() {
  return std::make_unique<T>(kArguments...);
}

constexpr Kind kGzip = {"gzip", make<GzipDecoder>};
constexpr Kind kBzip2 = {"bzip2", make<Bzip2Decoder>};
constexpr Kind kXz = {"xz", make<LzmaDecoder, LzmaDecoder::Container::kXz>};
constexpr Kind kLzma = {"lzma", make<LzmaDecoder, LzmaDecoder::Container::kAlone>};
constexpr Kind kLzip = {"lzip", make<LzmaDecoder, LzmaDecoder::Container::kLzip>};
constexpr Kind kZstd = {"zstd", make<ZstdDecoder>};
constexpr Kind kLz4 = {"lz4", make<Lz4Decoder>};
constexpr Kind kLz4Legacy = {"lz4", make<Lz4LegacyDecoder>};
constexpr Kind kCompress = {"compress", make<LzwDecoder>};

bool starts_with(Bytes head, std::string_view magic) { return as_text(head).starts_with(magic); }

std::optional<uint32_t> leading_number(Bytes head) {
  le32 number;
  if (head.size() < sizeof(number)) return std::nullopt;
  std::memcpy(&number, head.data(), sizeof(number));
  return number;
}

bool is_skippable(Bytes head) {
  return leading_number(head).value_or(0) >> 4 == kSkippableMagic >> 4;
}

/// The format has no magic number: properties, a dictionary's size and the content's size that
/// writers use.
bool is_lzma(Bytes head) {
  constexpr size_t kHeaderBytes = 13;
  if (head.size() < kHeaderBytes || std::to_integer<unsigned>(head[0]) >= 9 * 5 * 5) return false;
  le32 dictionary;
  std::memcpy(&dictionary, head.data() + 1, sizeof(dictionary));
  uint32_t size = dictionary;
  // 2^n or 2^n + 2^(n-1), as liblzma wants it.
  uint32_t low = size & (~size + 1);
  if (size < 4096 || (size != low && size != low * 3)) return size == 0xffffffff;
  le64 content;
  std::memcpy(&content, head.data() + 5, sizeof(content));
  return content == ~uint64_t{0} || content < uint64_t{1} << 38;
}

/// Null: not compressed in a way that is known.
const Kind* kind_of(Bytes head) {
  if (head.size() >= kTarBlockBytes && is_tar_header(head)) return nullptr;
  if (starts_with(head, "\x1f\x8b")) return &kGzip;
  if (starts_with(head, "\x1f\x9d")) return &kCompress;
  if (starts_with(head, "BZh") && head.size() > 3 && head[3] >= std::byte{'1'} &&
      head[3] <= std::byte{'9'}) {
    return &kBzip2;
  }
  if (starts_with(head, std::string_view("\xfd"
                                         "7zXZ\0",
                                         6))) {
    return &kXz;
  }
  if (starts_with(head, "LZIP")) return &kLzip;
  if (starts_with(head, "\x28\xb5\x2f\xfd")) return &kZstd;
  if (starts_with(head, "\x04\x22\x4d\x18")) return &kLz4;
  if (leading_number(head) == Lz4LegacyDecoder::kMagic) return &kLz4Legacy;
  if (is_lzma(head)) return &kLzma;
  return nullptr;
}

}  // namespace

struct Decompressor::State {
  ByteSource source;
  std::string name;
  std::vector<std::byte> input = std::vector<std::byte>(kInputBytes);
  Bytes piece;  ///< of `input`, not yet used
  const Kind* kind = nullptr;
  std::unique_ptr<Decoder> decoder;
  bool output_was_full = false;  ///< so that the decoder may hold more without any input
  enum { kUnknown, kPlain, kInStream, kBetween, kEnded } position = kUnknown;

  [[nodiscard]] Error failure(const std::string& what) const {
    return make_error(ErrorCode::kCorrupt, fmt::format("{}: {}: {}", name, kind->name, what));
  }

  /// False at the end of the input.
  Result<bool> fetch() {
    if (piece.empty()) piece = Bytes(input).first(CFS_TRY(source(input)));
    return !piece.empty();
  }

  /// Makes `piece` as long as a tar header, if the input goes so far.
  Result<> fill_head() {
    if (piece.size() >= kTarBlockBytes) return {};
    if (!piece.empty()) std::memmove(input.data(), piece.data(), piece.size());
    size_t size = piece.size();
    while (size < kTarBlockBytes) {
      size_t count = CFS_TRY(source(std::span(input).subspan(size)));
      if (count == 0) break;
      size += count;
    }
    piece = Bytes(input).first(size);
    return {};
  }

  Result<> begin() {
    CFS_TRY(fill_head());
    bool skipped = false;
    while (is_skippable(piece) && !(piece.size() >= kTarBlockBytes && is_tar_header(piece))) {
      CFS_TRY(skip_frame());
      skipped = true;
    }
    kind = kind_of(piece);
    if (skipped && kind != &kZstd && kind != &kLz4 && kind != &kLz4Legacy) {
      kind = &kZstd;
      if (!piece.empty()) return failure("there is no frame behind the skippable ones");
      position = kEnded;
      return {};
    }
    position = kind == nullptr ? kPlain : kInStream;
    if (kind == nullptr) return {};
    decoder = kind->make();
    return {};
  }

  /// `piece` begins with one.
  Result<> skip_frame() {
    kind = &kZstd;  // or lz4: for messages
    std::optional<uint32_t> size;
    if (piece.size() >= kSkippableHeaderBytes) size = leading_number(piece.subspan(4));
    if (!size) return failure("the data is cut off");
    uint64_t left = uint64_t{kSkippableHeaderBytes} + *size;
    while (left > 0) {
      auto count = static_cast<size_t>(std::min<uint64_t>(left, piece.size()));
      piece = piece.subspan(count);
      left -= count;
      CFS_TRY(fill_head());
      if (left > 0 && piece.empty()) return failure("the data is cut off");
    }
    return {};
  }

  /// After a stream: another one, zeros, or the end.
  Result<> next_stream() {
    bool padding = false;
    while (CFS_TRY(fetch())) {
      auto first =
          std::find_if(piece.begin(), piece.end(), [](std::byte b) { return b != std::byte{}; });
      padding = padding || first != piece.begin();
      piece = piece.subspan(static_cast<size_t>(first - piece.begin()));
      if (piece.empty()) continue;
      // Only xz allows padding between streams.
      if (padding && kind != &kXz) return failure("there is something behind the compressed data");
      decoder->restart();
      position = kInStream;
      return {};
    }
    position = kEnded;
    return {};
  }

  /// Writes the next plain bytes to `buffer` and returns how many; 0: none yet, or the end.
  Result<size_t> decode(std::span<std::byte> buffer) {
    if (!output_was_full && !CFS_TRY(fetch())) {
      if (!decoder->ends_with_input()) return failure("the data is cut off");
      position = kEnded;
      return size_t{0};
    }
    Result<Step> ran = decoder->run(piece, buffer);
    if (!ran) return failure(ran.error().message);
    bool stuck = ran->consumed == 0 && ran->produced == 0 && !ran->ended;
    // Without input there is nothing to do, unless the decoder had more to give.
    if (stuck && !piece.empty()) return failure("malformed or damaged data");
    piece = piece.subspan(ran->consumed);
    output_was_full = ran->produced == buffer.size() && !ran->ended;
    if (ran->ended) position = kBetween;
    return ran->produced;
  }
};

Decompressor::Decompressor(ByteSource source, std::string name)
    : state_(std::make_unique<State>()) {
  state_->source = std::move(source);
  state_->name = std::move(name);
}
Decompressor::Decompressor(Decompressor&&) noexcept = default;
Decompressor::~Decompressor() = default;

Result<size_t> Decompressor::read(std::span<std::byte> buffer) {
  State& state = *state_;
  if (state.position == State::kUnknown) CFS_TRY(state.begin());
  for (;;) {
    if (state.position == State::kPlain) {
      if (state.piece.empty()) return state.source(buffer);
      size_t count = std::min(state.piece.size(), buffer.size());
      std::memcpy(buffer.data(), state.piece.data(), count);
      state.piece = state.piece.subspan(count);
      return count;
    }
    if (state.position == State::kBetween) CFS_TRY(state.next_stream());
    if (state.position == State::kEnded) return size_t{0};
    size_t count = CFS_TRY(state.decode(buffer));
    if (count > 0) return count;
  }
}

Result<std::string> decompress(const std::string& data, const std::string& name,
                               size_t limit_bytes) {
  Decompressor input(source_of_bytes(as_bytes(data)), name);
  Result<std::string> plain =
      read_all([&](std::span<std::byte> buffer) { return input.read(buffer); }, limit_bytes);
  if (!plain && plain.error().code == ErrorCode::kInvalidInput) {
    return make_error(ErrorCode::kInvalidInput,
                      fmt::format("{} is larger than {} bytes", name, limit_bytes));
  }
  return plain;
}

}  // namespace cfs::builder
