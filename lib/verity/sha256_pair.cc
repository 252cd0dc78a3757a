// SPDX-License-Identifier: Apache-2.0
//
// Why not simply OpenSSL: the SHA instructions of x86 have a long latency and each depends on the
// one before, so that a single stream of data leaves half of the unit idle. The blocks of an
// fs-verity file are hashed independently of each other. Two of them interleaved, instruction by
// instruction, take hardly longer than one: 1.8 → 2.6 GB/s a core on Zen 4, and hashing is the
// largest part of building an image. The price is this file; everything else, other processors
// too, stays with OpenSSL.
//
// A compression step works on the state as two registers, ABEF and CDGH, in the order that the
// instructions want, and on the message as four registers of four words, replaced one at a time by
// the next words of the message schedule.
#include "lib/verity/sha256_pair.h"

#include "lib/base/check.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

namespace cfs::verity {
namespace {

constexpr size_t kChunkBytes = 64;

alignas(16) constexpr uint32_t kRoundConstants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

struct State {
  __m128i abef;
  __m128i cdgh;
};

[[gnu::target("sha,sse4.1"), gnu::always_inline]] inline __m128i load(const std::byte* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}

/// The bytes of each 32-bit word reversed.
[[gnu::target("sha,sse4.1"), gnu::always_inline]] inline __m128i swapped(__m128i words) {
  return _mm_shuffle_epi8(words, _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));
}

/// One 64-byte chunk into each of the two states.
[[gnu::target("sha,sse4.1"), gnu::always_inline]] inline void compress(State (&states)[2],
                                                                       const std::byte* first,
                                                                       const std::byte* second) {
  const State before[2] = {states[0], states[1]};
  __m128i words[2][4];
  for (int i = 0; i < 4; ++i) {
    words[0][i] = swapped(load(first + 16 * i));
    words[1][i] = swapped(load(second + 16 * i));
  }
#pragma GCC unroll 16
  for (int step = 0; step < 16; ++step) {  // four rounds each
    const __m128i constants =
        _mm_load_si128(reinterpret_cast<const __m128i*>(kRoundConstants + 4 * step));
#pragma GCC unroll 2
    for (int lane = 0; lane < 2; ++lane) {
      State& state = states[lane];
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

[[gnu::target("sha,sse4.1")]] void hash_pair(Bytes first, Bytes second, Sha256Digest& first_digest,
                                             Sha256Digest& second_digest) {
  const State initial = {
      _mm_set_epi32(0x6a09e667, static_cast<int>(0xbb67ae85), 0x510e527f,
                    static_cast<int>(0x9b05688c)),
      _mm_set_epi32(0x3c6ef372, static_cast<int>(0xa54ff53a), 0x1f83d9ab, 0x5be0cd19)};
  State states[2] = {initial, initial};
  for (size_t offset = 0; offset < first.size(); offset += kChunkBytes) {
    compress(states, first.data() + offset, second.data() + offset);
  }
  // The data ends on a chunk, so the padding is a chunk of its own: a one bit, zeros, the length.
  std::byte padding[kChunkBytes] = {std::byte{0x80}};
  for (unsigned i = 0; i < 8; ++i) {
    padding[kChunkBytes - 1 - i] = static_cast<std::byte>((first.size() * 8) >> (8 * i));
  }
  compress(states, padding, padding);
  Sha256Digest* const digests[2] = {&first_digest, &second_digest};
  for (int lane = 0; lane < 2; ++lane) {
    const __m128i feba = _mm_shuffle_epi32(states[lane].abef, 0x1b);
    const __m128i dchg = _mm_shuffle_epi32(states[lane].cdgh, 0xb1);
    const __m128i dcba = _mm_blend_epi16(feba, dchg, 0xf0);
    const __m128i hgfe = _mm_alignr_epi8(dchg, feba, 8);
    auto* out = reinterpret_cast<__m128i*>(digests[lane]->mutable_bytes().data());
    _mm_storeu_si128(out, swapped(dcba));
    _mm_storeu_si128(out + 1, swapped(hgfe));
  }
}

}  // namespace

bool has_sha256_pair() {
  static const bool supported = [] {
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0) return false;
    bool has_sse = (c & bit_SSSE3) != 0 && (c & bit_SSE4_1) != 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
    return has_sse && (b & bit_SHA) != 0;
  }();
  return supported;
}

void sha256_pair(Bytes first, Bytes second, Sha256Digest& first_digest,
                 Sha256Digest& second_digest) {
  CFS_CHECK(has_sha256_pair() && first.size() == second.size() && first.size() % kChunkBytes == 0);
  hash_pair(first, second, first_digest, second_digest);
}

}  // namespace cfs::verity

#else

namespace cfs::verity {

bool has_sha256_pair() { return false; }

void sha256_pair(Bytes, Bytes, Sha256Digest&, Sha256Digest&) { CFS_CHECK(has_sha256_pair()); }

}  // namespace cfs::verity

#endif
