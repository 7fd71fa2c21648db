#include "check.h"
#include "saediff/core/random.h"

/* The known-answer vectors published with Random123. */
static void test_philox_vectors(void)
{
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t out[4];

        sd_philox(known[i].counter, known[i].key, out);
        CHECK(memcmp(out, known[i].out, sizeof out) == 0);
    }
}

static void test_permutations_hit_every_element_once(void)
{
    enum { MOST = 300 };

    for (uint64_t n = 1; n <= MOST; n++) {
        unsigned char seen[MOST] = {0};
        sd_key key = sd_key_make(n * 77, SD_STREAM_TEST, 3);

        for (uint64_t i = 0; i < n; i++) {
            uint64_t to = sd_random_permute(key, n, i);

            CHECK(to < n && !seen[to]);
            if (to < n)
                seen[to] = 1;
        }
    }
}

/* Two permutations of 4096 elements agree in about one place; neighbours land far apart on average. */
static void test_permutations_depend_on_seed_stream_and_substream(void)
{
    static const sd_key keys[] = {{1, 4}, {2, 4}, {1, 5}, {1, 4 | 1u << 8}};

    for (size_t a = 0; a < 4; a++)
        for (size_t b = 0; b < a; b++) {
            int equal = 0;

            for (uint64_t i = 0; i < 4096; i++)
                equal += sd_random_permute(keys[a], 4096, i) == sd_random_permute(keys[b], 4096, i);
            CHECK(equal < 12);
        }
}

static void test_uniform_and_normal_moments(void)
{
    enum { N = 200000 };
    sd_key key = sd_key_make(9, SD_STREAM_TEST, 0);
    double u = 0, u2 = 0, z = 0, z2 = 0, z4 = 0;

    for (uint64_t i = 0; i < N; i++) {
        double uniform = sd_random_uniform(key, i), normal = sd_random_normal(key, i);

        CHECK(uniform >= 0 && uniform < 1 && isfinite(normal));
        u += uniform;
        u2 += uniform * uniform;
        z += normal;
        z2 += normal * normal;
        z4 += normal * normal * normal * normal;
    }
    /* Five standard errors of each mean. */
    CHECK_NEAR(u / N, 0.5, 5 * sqrt(1.0 / 12 / N));
    CHECK_NEAR(u2 / N, 1.0 / 3, 5 * sqrt(4.0 / 45 / N));
    CHECK_NEAR(z / N, 0, 5 * sqrt(1.0 / N));
    CHECK_NEAR(z2 / N, 1, 5 * sqrt(2.0 / N));
    CHECK_NEAR(z4 / N, 3, 5 * sqrt(96.0 / N));
}

static const test_case tests[] = {
    TEST(test_philox_vectors),
    TEST(test_permutations_hit_every_element_once),
    TEST(test_permutations_depend_on_seed_stream_and_substream),
    TEST(test_uniform_and_normal_moments),
};

TEST_MAIN(tests, NULL, NULL)
