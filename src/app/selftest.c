#include "selftest.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "saediff/core/mem.h"

/* Of a document's logits: of fp32 against float64, and of two orders of summation where factors are rounded to bf16 in between. */
#define TOLERANCE 2e-5
#define TOLERANCE_BF16 2e-2

sd_status selftest_pass(sd_model *model, const int32_t *ids, const uint64_t *start, uint64_t docs, const sd_tap *taps, uint64_t n_taps,
                        float *logits)
{
    uint64_t n = start[docs], v = sd_model_config_of(model)->vocabulary;
    sd_dev *dev = sd_model_dev(model);
    sd_buf *buf = NULL;
    sd_status st;

    SD_TRY(st, sd_buf_create(&buf, dev, SD_REAL, n * v));
    SD_TRY(st, sd_model_forward(model, &(sd_pass){.ids = ids,
                                                  .doc_start = start,
                                                  .docs = docs,
                                                  .taps = taps,
                                                  .n_taps = n_taps,
                                                  .to_logits = true}));
    SD_TRY(st, sd_model_logits(model, (sd_span){0, n}, sd_mat_of(buf, n, v)));
    SD_TRY(st, sd_dev_download_as(dev, sd_mat_of(buf, n, v), logits, SD_F32));
out:
    sd_buf_destroy(&buf);
    return st;
}

/* ‖a − b‖ / ‖b‖ */
static double relative_difference(const float *a, const float *b, uint64_t count)
{
    double difference = 0, size = 0;

    for (uint64_t i = 0; i < count; i++) {
        double x = (double)a[i], y = (double)b[i];

        difference += (x - y) * (x - y);
        size += y * y;
    }
    return sqrt(difference / size);
}

/* Compares bits, else the relative difference, which must not exceed `tolerance`. */
static void compare(const float *a, const float *b, uint64_t count, double tolerance, selftest_result *r)
{
    double difference = relative_difference(a, b, count);

    if (memcmp(a, b, count * sizeof *a) == 0)
        snprintf(r->words, sizeof r->words, "identical bits");
    else
        snprintf(r->words, sizeof r->words, "relative difference %.2g%s", difference, difference <= tolerance ? ", rounding only" : "");
    r->failed = memcmp(a, b, count * sizeof *a) != 0 && !(difference <= tolerance);
}

double selftest_tolerance(const sd_model *model)
{
    return sd_dev_compute(sd_model_dev(model)) != SD_REAL ? TOLERANCE_BF16 : TOLERANCE;
}

sd_status selftest_device(selftest *t, const char *name, int threads, sd_dtype compute, double tolerance, selftest_result *r)
{
    sd_model *model = NULL;
    sd_dev *dev = NULL;
    sd_status st;

    SD_TRY(st, sd_dev_open(&dev, name, threads));
    SD_TRY(st, sd_dev_set_compute(dev, compute));
    SD_TRY(st, sd_model_open(&model, dev, t->dir, SELFTEST_ROWS));
    SD_TRY(st, selftest_pass(model, t->ids, t->start, SELFTEST_DOCS, NULL, 0, t->other));
    compare(t->other, t->logits, SELFTEST_ROWS * t->vocabulary, tolerance, r);
out:
    sd_model_close(&model);
    sd_dev_close(&dev);
    return st;
}

/* Every document alone, and all in the reverse order. */
sd_status selftest_packing(selftest *t, sd_model *model, selftest_result *r)
{
    uint64_t start[SELFTEST_DOCS + 1] = {0}, v = t->vocabulary, equal = 0;
    int32_t ids[SELFTEST_ROWS];
    double max = 0;
    sd_status st = SD_OK;

    for (uint64_t d = 0; d < SELFTEST_DOCS; d++) {
        uint64_t from = t->start[SELFTEST_DOCS - 1 - d], length = t->start[SELFTEST_DOCS - d] - from;

        memcpy(ids + start[d], t->ids + from, length * sizeof *ids);
        start[d + 1] = start[d] + length;
    }
    SD_TRY(st, selftest_pass(model, ids, start, SELFTEST_DOCS, NULL, 0, t->other));
    for (uint64_t d = 0; d < 2 * SELFTEST_DOCS; d++) {
        uint64_t k = d < SELFTEST_DOCS ? d : d - SELFTEST_DOCS, length = t->start[k + 1] - t->start[k], one[2] = {0, length};
        const float *want = t->logits + t->start[k] * v, *got = t->other + start[SELFTEST_DOCS - 1 - k] * v;
        double difference;

        if (d >= SELFTEST_DOCS) {
            SD_TRY(st, selftest_pass(model, t->ids + t->start[k], one, 1, NULL, 0, t->other));
            got = t->other;
        }
        equal += memcmp(got, want, length * v * sizeof *got) == 0;
        difference = relative_difference(got, want, length * v);
        max = difference > max || isnan(difference) ? difference : max;
    }
    if (equal == 2 * (uint64_t)SELFTEST_DOCS)
        snprintf(r->words, sizeof r->words, "identical bits");
    else
        snprintf(r->words, sizeof r->words, "%llu of %d have identical bits, the others differ by up to %.2g (relative): with this kernel a row depends on its position",
                 (unsigned long long)equal, 2 * (int)SELFTEST_DOCS, max);
    r->failed = !(max <= TOLERANCE);
out:
    return st;
}

static sd_status keep(void *self, sd_dev *dev, sd_mat rows)
{
    return sd_dev_download_as(dev, rows, self, SD_F32);
}

/* The residual stream at the middle layer is read, and replaced by itself. */
sd_status selftest_replace(selftest *t, sd_model *model, selftest_result *r)
{
    const sd_model_config *c = sd_model_config_of(model);
    sd_site site = {SD_SITE_RESID_POST, c->n_layers / 2};
    sd_mat value;
    sd_buf *buf = NULL;
    float *rows = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&rows, SELFTEST_ROWS * c->d_model));
    SD_TRY(st, sd_buf_create(&buf, sd_model_dev(model), SD_REAL, SELFTEST_ROWS * c->d_model));
    value = sd_mat_of(buf, SELFTEST_ROWS, c->d_model);
    SD_TRY(st, selftest_pass(model, t->ids, t->start, SELFTEST_DOCS,
                             &(sd_tap){.site = site, .kind = SD_TAP_READ, .sink = {keep, rows}}, 1, t->other));
    SD_TRY(st, sd_dev_upload_as(sd_model_dev(model), rows, SD_F32, value));
    SD_TRY(st, selftest_pass(model, t->ids, t->start, SELFTEST_DOCS, &(sd_tap){.site = site, .kind = SD_TAP_REPLACE, .value = value}, 1,
                             t->other));
    compare(t->other, t->logits, SELFTEST_ROWS * t->vocabulary, 0, r);
out:
    sd_free(rows);
    sd_buf_destroy(&buf);
    return st;
}

/* The second half of the longest document, one token at a time. */
sd_status selftest_steps(selftest *t, sd_model *model, selftest_result *r)
{
    uint64_t first = t->start[SELFTEST_DOCS - 1], n = t->start[SELFTEST_DOCS] - first, half = n / 2, v = t->vocabulary, slot = 0;
    uint64_t begin[2] = {0, half}, one[2] = {0, 1};
    sd_mat row;
    sd_cache *cache = NULL;
    sd_buf *buf = NULL;
    sd_status st;

    SD_TRY(st, sd_buf_create(&buf, sd_model_dev(model), SD_REAL, v));
    row = sd_mat_of(buf, 1, v);
    SD_TRY(st, sd_cache_create(&cache, model, 1, n));
    sd_cache_clear(cache, 0, n);
    SD_TRY(st, sd_model_forward(model, &(sd_pass){.ids = t->ids + first,
                                                  .doc_start = begin,
                                                  .docs = 1,
                                                  .to_logits = true,
                                                  .cache = cache,
                                                  .slot = &slot}));
    for (uint64_t i = half; i < n; i++) {
        SD_TRY(st, sd_model_forward(model, &(sd_pass){.ids = t->ids + first + i,
                                                      .doc_start = one,
                                                      .docs = 1,
                                                      .to_logits = true,
                                                      .cache = cache,
                                                      .slot = &slot}));
        SD_TRY(st, sd_model_logits(model, (sd_span){0, 1}, row));
        SD_TRY(st, sd_dev_download_as(sd_model_dev(model), row, t->other + (i - half) * v, SD_F32));
    }
    compare(t->other, t->logits + (first + half) * v, (n - half) * v,
            selftest_tolerance(model), r);
out:
    sd_cache_destroy(&cache);
    sd_buf_destroy(&buf);
    return st;
}

/* The means over the vocabulary that transformers publishes for Llama-2-7b-hf in fp16 (tests/models/llama/test_modeling_llama.py, at 0166869); two
 * generations of GPUs differ by up to 0.04 there, bf16 by 0.14. */
sd_status selftest_published(sd_model *model, selftest_result *r)
{
    static const int32_t ids[] = {1, 306, 4658, 278, 6593, 310, 2834, 338};
    static const double means[] = {-6.6544, -4.1259, -4.9840, -3.2456, 0.8261, -3.0124, 1.2971, -3.3641};
    enum { N = 8 };
    const sd_model_config *c = sd_model_config_of(model);
    const uint64_t start[2] = {0, N};
    double max = 0;
    float *logits = NULL;
    sd_status st = SD_OK;

    if (c->d_model != 4096 || c->n_layers != 32 || c->d_mlp != 11008 || c->n_kv_heads != 32 || c->vocabulary != 32000)
        return SD_OK;
    SD_TRY(st, SD_NEW(&logits, N * c->vocabulary));
    SD_TRY(st, selftest_pass(model, ids, start, 1, NULL, 0, logits));
    for (uint64_t i = 0; i < N; i++) {
        double sum = 0;

        for (uint64_t w = 0; w < c->vocabulary; w++)
            sum += (double)logits[i * c->vocabulary + w];
        max = fmax(max, fabs(sum / (double)c->vocabulary - means[i]));
    }
    snprintf(r->words, sizeof r->words, "%s (mean logits differ by up to %.3f)",
             max <= 0.06 ? "as published for Llama-2-7b-hf" : "not those of Llama-2-7b-hf: another model of the same shape, or bf16 weights", max);
out:
    sd_free(logits);
    return st;
}
