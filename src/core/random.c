#include "saediff/core/random.h"

#include <math.h>

static uint32_t multiply(uint32_t a, uint32_t b, uint32_t *high)
{
    uint64_t product = (uint64_t)a * b;

    *high = (uint32_t)(product >> 32);
    return (uint32_t)product;
}

void sd_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]}, k[2] = {key[0], key[1]};

    for (int round = 0; round < 10; round++) {
        uint32_t high0, high1;
        uint32_t low0 = multiply(0xd2511f53u, c[0], &high0), low1 = multiply(0xcd9e8d57u, c[2], &high1);

        c[0] = high1 ^ c[1] ^ k[0];
        c[1] = low1;
        c[2] = high0 ^ c[3] ^ k[1];
        c[3] = low0;
        k[0] += 0x9e3779b9u;
        k[1] += 0xbb67ae85u;
    }
    for (int i = 0; i < 4; i++)
        out[i] = c[i];
}

sd_key sd_key_make(uint64_t seed, sd_stream stream, uint64_t sub)
{
    sd_key key = {seed, (uint64_t)stream | sub << 8};

    return key;
}

static void draw(sd_key key, uint64_t index, uint64_t out[2])
{
    uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)key.stream,
                           (uint32_t)(key.stream >> 32)};
    uint32_t seed[2] = {(uint32_t)key.seed, (uint32_t)(key.seed >> 32)}, bits[4];

    sd_philox(counter, seed, bits);
    out[0] = (uint64_t)bits[1] << 32 | bits[0];
    out[1] = (uint64_t)bits[3] << 32 | bits[2];
}

uint64_t sd_random_u64(sd_key key, uint64_t index)
{
    uint64_t bits[2];

    draw(key, index, bits);
    return bits[0];
}

double sd_random_uniform(sd_key key, uint64_t index)
{
    return (double)(sd_random_u64(key, index) >> 11) * 0x1p-53;
}

double sd_random_normal(sd_key key, uint64_t index)
{
    uint64_t bits[2];
    double radius, angle;

    /* Box and Muller 1958; the first uniform is in (0, 1]. */
    draw(key, index, bits);
    radius = sqrt(-2 * log((double)((bits[0] >> 11) + 1) * 0x1p-53));
    angle = 6.283185307179586476925 * ((double)(bits[1] >> 11) * 0x1p-53);
    return radius * cos(angle);
}

uint64_t sd_random_permute(sd_key key, uint64_t n, uint64_t index)
{
    unsigned half = 1;
    uint64_t mask;

    while (half < 32 && (n - 1) >> (2 * half) != 0)
        half++;
    mask = ((uint64_t)1 << half) - 1;
    do {
        uint64_t left = index >> half, right = index & mask;

        for (uint64_t round = 0; round < 6; round++) {
            /* The round function: the stream's own value at (round, right); 32 bits hold any half. */
            uint64_t next = left ^ (sd_random_u64(key, round << 32 | right) & mask);

            left = right;
            right = next;
        }
        index = left << half | right;
    } while (index >= n);
    return index;
}
