#include <math.h>
#include <string.h>

#include "match_private.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/store/bundle.h"

/* Tuned rows are interleaved, so that the inner loop runs over them and each cosine is summed in a fixed order. */
enum { BLOCK = 16 };

sd_status decoder_read(decoder *d, const char *path)
{
    sd_bundle *bundle = NULL;
    uint64_t shape[SD_ARRAY_DIMS] = {0};
    sd_status st;

    SD_TRY(st, sd_bundle_open(&bundle, path, "saediff.sae", 1));
    SD_TRY(st, sd_bundle_read(bundle, "W_dec", SD_F32, 2, shape, (void **)&d->rows));
    d->latents = shape[0];
    d->width = shape[1];
out:
    sd_bundle_close(&bundle);
    return st;
}

void decoder_free(decoder *d)
{
    sd_free(d->rows);
    *d = (decoder){0};
}

static double norm_of(const float *row, uint64_t width)
{
    double squares = 0;

    for (uint64_t k = 0; k < width; k++)
        squares += (double)row[k] * (double)row[k];
    return sqrt(squares);
}

/* Rows first … first + count − 1 of `tuned`, or random ones, as columns of block [width, BLOCK], scaled to length 1. */
static void fill_block(const decoder *tuned, sd_key key, uint64_t first, uint64_t count, float *row, double *block)
{
    uint64_t width = tuned->width;

    for (uint64_t j = 0; j < count; j++) {
        const float *from = row;
        double norm;

        if (tuned->rows != NULL)
            from = tuned->rows + (first + j) * width;
        else
            for (uint64_t k = 0; k < width; k++)
                row[k] = (float)sd_random_normal(key, (first + j) * width + k);
        norm = norm_of(from, width);
        for (uint64_t k = 0; k < width; k++)
            block[k * BLOCK + j] = (double)from[k] / norm;
    }
}

static void dot_block(const float *row, const double *block, uint64_t width, double out[BLOCK])
{
    double sums[BLOCK] = {0};

    for (uint64_t k = 0; k < width; k++) {
        double x = (double)row[k];

        for (int j = 0; j < BLOCK; j++)
            sums[j] += x * block[k * BLOCK + (uint64_t)j];
    }
    memcpy(out, sums, sizeof sums);
}

sd_status match_cosines(sweep *s, const decoder *base, const decoder *tuned, uint64_t seed)
{
    sd_key key = sd_key_make(seed, SD_STREAM_NULL_DECODER, 0);
    float *row = NULL;
    double *block = NULL, *norm = NULL, dots[BLOCK];
    sd_status st;

    SD_TRY(st, SD_NEW(&row, base->width));
    SD_TRY(st, SD_NEW(&block, base->width * BLOCK));
    SD_TRY(st, SD_NEW(&norm, s->rows.count));
    for (uint64_t i = 0; i < s->rows.count; i++)
        norm[i] = norm_of(base->rows + (s->rows.first + i) * base->width, base->width);
    for (uint64_t first = 0; first < s->cols; first += BLOCK) {
        uint64_t count = s->cols - first < BLOCK ? s->cols - first : BLOCK;

        if (sd_par_stop_asked()) {
            st = SD_FAIL(SD_E_STOPPED, "stopped by a signal; finished comparisons are kept: run the same command again");
            goto out;
        }
        fill_block(tuned, key, first, count, row, block);
        for (uint64_t i = 0; i < s->rows.count; i++) {
            dot_block(base->rows + (s->rows.first + i) * base->width, block, base->width, dots);
            for (uint64_t j = 0; j < count; j++)
                sweep_offer(s, s->rows.first + i, first + j, dots[j] / norm[i]);
        }
    }
out:
    sd_free(row);
    sd_free(block);
    sd_free(norm);
    return st;
}
