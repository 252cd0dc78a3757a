// SPDX-License-Identifier: Apache-2.0
//
// Why not simply OpenSSL: it hashes one stream of data, in which each step waits for the one
// before. The blocks of an fs-verity file do not depend on each other, so several can be hashed at
// once, and hashing is the largest part of building an image. On Zen 5 one core does
//
//   1.8 GB/s  with OpenSSL, which uses the SHA instructions of x86;
//   2.6 GB/s  with the same instructions on two blocks, interleaved: the second one runs in the
//             time that the first one waits;
//   4.1 GB/s  on sixteen blocks with AVX-512: a register holds the same word of all sixteen. The
//             algorithm is written down once, in ordinary arithmetic.
//
// The price is this file. Other processors, and whatever is not a whole block, stay with OpenSSL.
// Spec: FIPS 180-4, section 6.2; the names a … h, w and K are those of it.
#include "lib/verity/sha256_blocks.h"

#include <algorithm>

#include "lib/base/check.h"
#include "lib/verity/merkle.h"

#if defined(__x86_64__)

#include <cpuid.h>

// GCC 12 takes the deliberately undefined operands in its own header for mistakes (GCC bug 105593).
#pragma GCC diagnostic push
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

namespace cfs::verity {
namespace {

constexpr size_t kChunkBytes = 64;
constexpr size_t kLanes = 16;
/// From how many blocks on sixteen lanes, some of them idle, take less time than pairs.
constexpr size_t kFewestForSixteen = 11;

constexpr uint32_t kInitialState[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

alignas(64) constexpr uint32_t kRoundConstants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/// What follows a block: a one bit, zeros, the length in bits (big-endian).
struct Padding {
  constexpr Padding() {
    bytes[0] = std::byte{0x80};
    for (unsigned i = 0; i < 8; ++i) {
      bytes[kChunkBytes - 1 - i] = static_cast<std::byte>((kBlockSize * 8) >> (8 * i));
    }
  }
  std::byte bytes[kChunkBytes] = {};
};
constexpr Padding kPadding;

// Two blocks, SHA instructions. They want the state as two registers, ABEF and CDGH; the message is
// four registers of four words, replaced one at a time by the next words of the message schedule.

#define CFS_SHA [[gnu::target("sha,sse4.1")]]
#define CFS_SHA_INLINE [[gnu::target("sha,sse4.1"), gnu::always_inline]]

struct PairState {
  __m128i abef;
  __m128i cdgh;
};

/// The bytes of each 32-bit word reversed.
CFS_SHA_INLINE inline __m128i swapped(__m128i words) {
  return _mm_shuffle_epi8(words, _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));
}

CFS_SHA_INLINE inline __m128i load_words(const std::byte* from) {
  return swapped(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

/// One 64-byte chunk into each of the two states.
CFS_SHA_INLINE inline void compress_pair(PairState (&states)[2], const std::byte* first,
                                         const std::byte* second) {
  const PairState before[2] = {states[0], states[1]};
  __m128i words[2][4];
  for (int i = 0; i < 4; ++i) {
    words[0][i] = load_words(first + 16 * i);
    words[1][i] = load_words(second + 16 * i);
  }
#pragma GCC unroll 16
  for (int step = 0; step < 16; ++step) {  // four rounds each
    const __m128i constants =
        _mm_load_si128(reinterpret_cast<const __m128i*>(kRoundConstants + 4 * step));
#pragma GCC unroll 2
    for (int lane = 0; lane < 2; ++lane) {
      PairState& state = states[lane];
      __m128i(&w)[4] = words[lane];
      __m128i sum = _mm_add_epi32(w[step % 4], constants);
      state.cdgh = _mm_sha256rnds2_epu32(state.cdgh, state.abef, sum);
      sum = _mm_shuffle_epi32(sum, 0x0e);
      state.abef = _mm_sha256rnds2_epu32(state.abef, state.cdgh, sum);
      if (step < 12) {
        const __m128i& last = w[(step + 3) % 4];
        __m128i next = _mm_sha256msg1_epu32(w[step % 4], w[(step + 1) % 4]);
        next = _mm_add_epi32(next, _mm_alignr_epi8(last, w[(step + 2) % 4], 4));
        w[step % 4] = _mm_sha256msg2_epu32(next, last);
      }
    }
  }
  for (int lane = 0; lane < 2; ++lane) {
    states[lane].abef = _mm_add_epi32(states[lane].abef, before[lane].abef);
    states[lane].cdgh = _mm_add_epi32(states[lane].cdgh, before[lane].cdgh);
  }
}

CFS_SHA void hash_pair(const std::byte* blocks, Sha256Digest* digests) {
  const auto* s = reinterpret_cast<const int*>(kInitialState);
  const PairState initial = {_mm_set_epi32(s[0], s[1], s[4], s[5]),
                             _mm_set_epi32(s[2], s[3], s[6], s[7])};
  PairState states[2] = {initial, initial};
  for (size_t offset = 0; offset < kBlockSize; offset += kChunkBytes) {
    compress_pair(states, blocks + offset, blocks + kBlockSize + offset);
  }
  compress_pair(states, kPadding.bytes, kPadding.bytes);
  for (int lane = 0; lane < 2; ++lane) {
    const __m128i feba = _mm_shuffle_epi32(states[lane].abef, 0x1b);
    const __m128i dchg = _mm_shuffle_epi32(states[lane].cdgh, 0xb1);
    auto* out = reinterpret_cast<__m128i*>(digests[lane].mutable_bytes().data());
    _mm_storeu_si128(out, swapped(_mm_blend_epi16(feba, dchg, 0xf0)));
    _mm_storeu_si128(out + 1, swapped(_mm_alignr_epi8(dchg, feba, 8)));
  }
}

// Sixteen blocks, AVX-512.

#define CFS_AVX512 [[gnu::target("avx512f,avx512bw")]]
#define CFS_AVX512_INLINE [[gnu::target("avx512f,avx512bw"), gnu::always_inline]]

template <int kFirst, int kSecond, int kThird>
CFS_AVX512_INLINE inline __m512i rotated_sum(__m512i x) {
  return _mm512_ternarylogic_epi32(_mm512_ror_epi32(x, kFirst), _mm512_ror_epi32(x, kSecond),
                                   _mm512_ror_epi32(x, kThird), 0x96);
}

template <int kFirst, int kSecond, int kShift>
CFS_AVX512_INLINE inline __m512i shifted_sum(__m512i x) {
  return _mm512_ternarylogic_epi32(_mm512_ror_epi32(x, kFirst), _mm512_ror_epi32(x, kSecond),
                                   _mm512_srli_epi32(x, kShift), 0x96);
}

/// Rows become columns: in, register i has 16 words of lane i; out, it has word i of 16 lanes.
CFS_AVX512_INLINE inline void transpose(__m512i (&r)[16]) {
  __m512i t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // r[4 × g + c] holds, in its four quarters q, word 4 × q + c of the lanes of group g.
#pragma GCC unroll 16
  for (int c = 0; c < 4; ++c) {
    t[c] = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88);
    t[4 + c] = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xdd);
    t[8 + c] = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88);
    t[12 + c] = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xdd);
  }
#pragma GCC unroll 16
  for (int c = 0; c < 4; ++c) {
    r[c] = _mm512_shuffle_i32x4(t[c], t[8 + c], 0x88);
    r[8 + c] = _mm512_shuffle_i32x4(t[c], t[8 + c], 0xdd);
    r[4 + c] = _mm512_shuffle_i32x4(t[4 + c], t[12 + c], 0x88);
    r[12 + c] = _mm512_shuffle_i32x4(t[4 + c], t[12 + c], 0xdd);
  }
}

/// The bytes of each 32-bit word reversed.
CFS_AVX512_INLINE inline __m512i swapped(__m512i words) {
  return _mm512_shuffle_epi8(words,
                             _mm512_set4_epi32(0x0c0d0e0f, 0x08090a0b, 0x04050607, 0x00010203));
}

/// One 64-byte chunk of each lane into the states.
CFS_AVX512_INLINE inline void compress_sixteen(__m512i (&state)[8],
                                               const std::byte* const (&chunks)[kLanes]) {
  __m512i w[16];
#pragma GCC unroll 16
  for (size_t lane = 0; lane < kLanes; ++lane) {
    w[lane] = swapped(_mm512_loadu_si512(chunks[lane]));
  }
  transpose(w);
  __m512i v[8];  // a … h, which move round the array instead of from name to name
#pragma GCC unroll 16
  for (int i = 0; i < 8; ++i) v[i] = state[i];
#pragma GCC unroll 64
  for (unsigned round = 0; round < 64; ++round) {
    if (round >= 16) {
      __m512i sum = _mm512_add_epi32(w[round % 16], w[(round + 9) % 16]);
      sum = _mm512_add_epi32(sum, shifted_sum<7, 18, 3>(w[(round + 1) % 16]));
      w[round % 16] = _mm512_add_epi32(sum, shifted_sum<17, 19, 10>(w[(round + 14) % 16]));
    }
    const __m512i a = v[(64 - round) % 8];
    const __m512i b = v[(65 - round) % 8];
    const __m512i c = v[(66 - round) % 8];
    __m512i& d = v[(67 - round) % 8];
    const __m512i e = v[(68 - round) % 8];
    const __m512i f = v[(69 - round) % 8];
    const __m512i g = v[(70 - round) % 8];
    __m512i& h = v[(71 - round) % 8];
    const __m512i constant = _mm512_set1_epi32(static_cast<int>(kRoundConstants[round]));
    __m512i sum = _mm512_add_epi32(_mm512_add_epi32(h, constant), w[round % 16]);
    sum = _mm512_add_epi32(sum, _mm512_ternarylogic_epi32(e, f, g, 0xca));  // e ? f : g
    sum = _mm512_add_epi32(sum, rotated_sum<6, 11, 25>(e));
    d = _mm512_add_epi32(d, sum);
    sum = _mm512_add_epi32(sum, _mm512_ternarylogic_epi32(a, b, c, 0xe8));  // majority
    h = _mm512_add_epi32(sum, rotated_sum<2, 13, 22>(a));
  }
#pragma GCC unroll 16
  for (int i = 0; i < 8; ++i) state[i] = _mm512_add_epi32(state[i], v[i]);
}

/// 1 to 16 blocks.
CFS_AVX512 void hash_up_to_sixteen(const std::byte* blocks, std::span<Sha256Digest> digests) {
  const std::byte* chunks[kLanes];
  for (size_t lane = 0; lane < kLanes; ++lane) {  // idle lanes hash the last block again
    chunks[lane] = blocks + kBlockSize * std::min(lane, digests.size() - 1);
  }
  __m512i state[8];
  for (int i = 0; i < 8; ++i) state[i] = _mm512_set1_epi32(static_cast<int>(kInitialState[i]));
  for (size_t offset = 0; offset < kBlockSize; offset += kChunkBytes) {
    compress_sixteen(state, chunks);
    for (const std::byte*& chunk : chunks) chunk += kChunkBytes;
  }
  std::fill(std::begin(chunks), std::end(chunks), kPadding.bytes);
  compress_sixteen(state, chunks);
  __m512i rows[16] = {};
  for (int i = 0; i < 8; ++i) rows[i] = swapped(state[i]);
  transpose(rows);
  for (size_t lane = 0; lane < digests.size(); ++lane) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(digests[lane].mutable_bytes().data()),
                        _mm512_castsi512_si256(rows[lane]));
  }
}

bool has_sha_instructions() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.1") &&
         __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0;
}

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
}

}  // namespace

bool is_supported(Sha256Method method) {
  static const bool pairs = has_sha_instructions();
  static const bool sixteen = has_avx512();
  switch (method) {
    case Sha256Method::kOneByOne:
      return true;
    case Sha256Method::kPairs:
      return pairs;
    case Sha256Method::kSixteen:
      return sixteen;
  }
  return false;
}

void sha256_blocks(Bytes data, std::span<Sha256Digest> digests, Sha256Method method) {
  CFS_CHECK(data.size() == digests.size() * kBlockSize && is_supported(method));
  size_t done = 0;
  if (method == Sha256Method::kSixteen) {
    for (; done < digests.size(); done += std::min(kLanes, digests.size() - done)) {
      hash_up_to_sixteen(data.data() + done * kBlockSize,
                         digests.subspan(done, std::min(kLanes, digests.size() - done)));
    }
  }
  if (method == Sha256Method::kPairs) {
    for (; done + 2 <= digests.size(); done += 2) {
      hash_pair(data.data() + done * kBlockSize, digests.data() + done);
    }
  }
  for (; done < digests.size(); ++done) {
    digests[done] = sha256(data.subspan(done * kBlockSize, kBlockSize));
  }
}

void sha256_blocks(Bytes data, std::span<Sha256Digest> digests) {
  if (is_supported(Sha256Method::kSixteen)) {
    size_t count = digests.size() - digests.size() % kLanes;
    if (digests.size() - count >= kFewestForSixteen) count = digests.size();
    if (count > 0) {
      sha256_blocks(data.first(count * kBlockSize), digests.first(count), Sha256Method::kSixteen);
      data = data.subspan(count * kBlockSize);
      digests = digests.subspan(count);
    }
  }
  bool pairs = is_supported(Sha256Method::kPairs);
  sha256_blocks(data, digests, pairs ? Sha256Method::kPairs : Sha256Method::kOneByOne);
}

}  // namespace cfs::verity

#else

namespace cfs::verity {

bool is_supported(Sha256Method method) { return method == Sha256Method::kOneByOne; }

void sha256_blocks(Bytes data, std::span<Sha256Digest> digests, Sha256Method method) {
  CFS_CHECK(data.size() == digests.size() * kBlockSize && is_supported(method));
  for (size_t i = 0; i < digests.size(); ++i) {
    digests[i] = sha256(data.subspan(i * kBlockSize, kBlockSize));
  }
}

void sha256_blocks(Bytes data, std::span<Sha256Digest> digests) {
  sha256_blocks(data, digests, Sha256Method::kOneByOne);
}

}  // namespace cfs::verity

#endif
