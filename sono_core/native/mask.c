#include "mask.h"

#include <string.h>

#if (defined(__x86_64__) || defined(_M_X64)) && (defined(__GNUC__) || defined(__clang__))
#define SONO_AVX2 1
#include <immintrin.h>
#endif

uint32_t
sono_mask_turn(uint32_t key, size_t size)
{
    unsigned char bytes[4], turned[4];
    memcpy(bytes, &key, 4);
    for (size_t i = 0; i < 4; i++)
        turned[i] = bytes[(i + size) & 3];
    memcpy(&key, turned, 4);
    return key;
}

static unsigned char
fold(uint64_t word)
{
    word |= word >> 32;
    word |= word >> 16;
    word |= word >> 8;
    return (unsigned char)word;
}

static unsigned char
mask_words(unsigned char *out, const unsigned char *in, size_t size, uint32_t key)
{
    const uint64_t wide = (uint64_t)key << 32 | key;
    uint64_t seen = 0, word;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, in + i, 8);
        word ^= wide;
        seen |= word;
        memcpy(out + i, &word, 8);
    }
    if (i < size) {
        word = 0;
        memcpy(&word, in + i, size - i);
        word ^= wide;
        memcpy(out + i, &word, size - i);
        /* the other bytes of the word are not payload */
        unsigned char rest[8];
        memcpy(rest, &word, 8);
        for (size_t k = 0; k < size - i; k++)
            seen |= rest[k];
    }
    return fold(seen);
}

#ifdef SONO_AVX2
__attribute__((target("avx2"))) static unsigned char
mask_avx2(unsigned char *out, const unsigned char *in, size_t size, uint32_t key)
{
    unsigned char high = 0;
    if (size >= 1024) { /* aligned stores pay for themselves */
        size_t head = (32 - ((uintptr_t)out & 31)) & 31;
        high = mask_words(out, in, head, key);
        key = sono_mask_turn(key, head);
        out += head;
        in += head;
        size -= head;
    }
    const __m256i wide = _mm256_set1_epi32((int)key);
    __m256i seen = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 128 <= size; i += 128) {
        __m256i a = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(in + i)), wide);
        __m256i b = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(in + i + 32)), wide);
        __m256i c = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(in + i + 64)), wide);
        __m256i d = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(in + i + 96)), wide);
        seen = _mm256_or_si256(seen, _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d)));
        _mm256_storeu_si256((__m256i *)(out + i), a);
        _mm256_storeu_si256((__m256i *)(out + i + 32), b);
        _mm256_storeu_si256((__m256i *)(out + i + 64), c);
        _mm256_storeu_si256((__m256i *)(out + i + 96), d);
    }
    for (; i + 32 <= size; i += 32) {
        __m256i a = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(in + i)), wide);
        seen = _mm256_or_si256(seen, a);
        _mm256_storeu_si256((__m256i *)(out + i), a);
    }
    high |= _mm256_movemask_epi8(seen) ? 0x80 : 0;
    return high | mask_words(out + i, in + i, size - i, key);
}
#endif

unsigned char
sono_mask(unsigned char *out, const unsigned char *in, size_t size, uint32_t key)
{
#ifdef SONO_AVX2
    if (size >= 64 && __builtin_cpu_supports("avx2"))
        return mask_avx2(out, in, size, key);
#endif
    return mask_words(out, in, size, key);
}
