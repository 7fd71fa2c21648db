/* Cosines between decoder rows against all pairs in plain double, the same bits at any rank count and on every device. */
#include "ranks.h"

#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/eval/decoder.h"

static sd_par par; /* `ranks`, or one alone */

static int falling(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x < y) - (x > y);
}

static sd_overlap measure(const char *device, const float *w, uint64_t latents, uint64_t d)
{
    sd_overlap overlap = {0};
    sd_dev *dev;
    sd_buf *buf;

    CHECK_OK(sd_dev_open(&dev, device, 2));
    CHECK_OK(sd_buf_create(&buf, dev, SD_REAL, latents * d));
    CHECK_OK(sd_dev_upload(dev, w, sd_mat_of(buf, latents, d)));
    CHECK_OK(sd_decoder_overlap(&par, dev, sd_mat_of(buf, latents, d), &overlap));
    sd_buf_destroy(&buf);
    sd_dev_close(&dev);
    return overlap;
}

static void test_all_pairs(uint64_t latents, uint64_t d, bool twins)
{
    uint64_t n = 0;
    double *pairs, *best, most = 0, sum = 0, twice = 0;
    sd_key key = sd_key_make(latents, SD_STREAM_TEST, 1);
    sd_overlap got, strict;
    float *w;

    CHECK_OK(SD_NEW(&w, latents * d));
    CHECK_OK(SD_NEW(&pairs, latents * latents));
    CHECK_OK(SD_NEW(&best, latents));
    for (uint64_t i = 0; i < latents * d; i++)
        w[i] = (float)(sd_random_normal(key, i) * (1.0 + (double)(i / d % 3))); /* rows of unequal length */
    if (twins) /* more equal rows than there are places in the list of the 100 largest */
        for (uint64_t i = 10; i < 160; i++)
            memcpy(w + i * d, w, d * sizeof *w);
    for (uint64_t i = 0; i < latents; i++)
        best[i] = -2;
    for (uint64_t i = 0; i < latents; i++)
        for (uint64_t j = i + 1; j < latents; j++) {
            double xx = 0, yy = 0, xy = 0, cosine;

            for (uint64_t c = 0; c < d; c++) {
                xx += (double)w[i * d + c] * (double)w[i * d + c];
                yy += (double)w[j * d + c] * (double)w[j * d + c];
                xy += (double)w[i * d + c] * (double)w[j * d + c];
            }
            cosine = xy / sqrt(xx * yy);
            pairs[n++] = cosine;
            best[i] = cosine > best[i] ? cosine : best[i];
            best[j] = cosine > best[j] ? cosine : best[j];
        }
    qsort(pairs, n, sizeof *pairs, falling);
    got = measure("cpu", w, latents, d);
    for (uint64_t i = 0; i < n && i < 100; i++)
        sum += pairs[i] / (double)(n < 100 ? n : 100);
    for (uint64_t i = 0; i < n && i < 50; i++)
        twice += pairs[i] / (double)(n < 50 ? n : 50);
    for (uint64_t i = 0; i < latents; i++)
        most += best[i] / (double)latents;
    if (latents == 1) {
        CHECK(isnan(got.redundancy) && isnan(got.max_cosine) && isnan(got.compat));
    } else {
        CHECK_NEAR(got.redundancy, sum, 1e-6);
        CHECK_NEAR(got.compat, twice, 1e-6);
        CHECK_NEAR(got.max_cosine, most, 1e-6);
    }
    strict = measure("strict", w, latents, d);
    CHECK(memcmp(&strict, &got, sizeof got) == 0);
    {
        /* One rank alone finds the same bits. */
        sd_par all = par;
        sd_overlap alone;

        CHECK(MPI_Comm_dup(MPI_COMM_SELF, &par.comm) == MPI_SUCCESS);
        par.rank = 0;
        par.size = 1;
        alone = measure("cpu", w, latents, d);
        CHECK(memcmp(&alone, &got, sizeof got) == 0);
        MPI_Comm_free(&par.comm);
        par = all;
    }
    sd_free(w);
    sd_free(pairs);
    sd_free(best);
}

static void begin(void)
{
    par = *ranks;
}

static void test_pairs(void)
{
    test_all_pairs(1, 5, false);
    test_all_pairs(2, 3, false);
    test_all_pairs(13, 7, false);
    test_all_pairs(700, 9, false);
}

static void test_equal_rows(void)
{
    test_all_pairs(300, 8, true);
}

static const test_case tests[] = {
    TEST(test_pairs),
    TEST(test_equal_rows),
};

RANKS_MAIN(tests, begin, NULL, 1, 2, 3, 4)
