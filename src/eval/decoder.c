/* The nearest neighbours of each row are found by the encoder's top-k operation, with the decoder rows as both inputs and dictionary. A pair among the
 * 100 largest of all is among the 100 largest of its row, so 101 neighbours per row (one is the row itself) are enough. */
#include "saediff/eval/decoder.h"

#include <math.h>

#include "saediff/core/mem.h"
#include "saediff/dev/dict.h"
#include "saediff/dev/step.h"
#include "saediff/stat/stat.h"

enum { BLOCK = 256, NEIGHBOURS = SD_OVERLAP_PAIRS + 1 };

typedef struct search {
    sd_dev *dev;
    uint64_t latents, d, k;
    sd_buf *unit, *zero_latents, *zero_d, *index, *value;
    int32_t *host_index;
    double *host_value;
    double *best;   /* [my latents] largest cosine with another */
    double *pairs;  /* [SD_OVERLAP_PAIRS + BLOCK·k] the largest pairs, then those of the current block */
    uint64_t *order;
    double *sorted;
    uint64_t n_pairs;
} search;

static sd_status open_search(search *s, sd_mat w_dec, uint64_t mine)
{
    uint64_t capacity = SD_OVERLAP_PAIRS + BLOCK * s->k, elements;
    sd_mat unit;
    sd_status st;

    SD_TRY(st, sd_mul_u64(s->latents, s->d, &elements, "a decoder"));
    SD_TRY(st, sd_buf_create(&s->unit, s->dev, SD_REAL, elements));
    SD_TRY(st, sd_buf_create(&s->zero_latents, s->dev, SD_REAL, s->latents));
    SD_TRY(st, sd_buf_create(&s->zero_d, s->dev, SD_REAL, s->d));
    SD_TRY(st, sd_buf_create(&s->index, s->dev, SD_I32, BLOCK * s->k));
    SD_TRY(st, sd_buf_create(&s->value, s->dev, SD_REAL, BLOCK * s->k));
    SD_TRY(st, SD_NEW(&s->host_index, BLOCK * s->k));
    SD_TRY(st, SD_NEW(&s->host_value, BLOCK * s->k));
    SD_TRY(st, SD_NEW(&s->best, mine));
    SD_TRY(st, SD_NEW(&s->pairs, capacity));
    SD_TRY(st, SD_NEW(&s->order, capacity));
    SD_TRY(st, SD_NEW(&s->sorted, SD_OVERLAP_PAIRS));
    unit = sd_mat_of(s->unit, s->latents, s->d);
    SD_TRY(st, sd_dev_scale(s->dev, &(sd_scale){.x = w_dec, .y = unit, .scale = 1}));
    SD_TRY(st, sd_dev_unit_rows(s->dev, &(sd_unit_rows){unit}));
    SD_TRY(st, sd_dev_fill(s->dev, &(sd_fill){sd_mat_of(s->zero_latents, 1, s->latents), 0}));
    SD_TRY(st, sd_dev_fill(s->dev, &(sd_fill){sd_mat_of(s->zero_d, 1, s->d), 0}));
out:
    return st;
}

static void close_search(search *s)
{
    sd_buf_destroy(&s->unit);
    sd_buf_destroy(&s->zero_latents);
    sd_buf_destroy(&s->zero_d);
    sd_buf_destroy(&s->index);
    sd_buf_destroy(&s->value);
    sd_free(s->host_index);
    sd_free(s->host_value);
    sd_free(s->best);
    sd_free(s->pairs);
    sd_free(s->order);
    sd_free(s->sorted);
}

/* Keeps the largest of pairs[0 … n−1], in descending order. */
static void keep_largest(search *s, uint64_t n)
{
    sd_order_falling(s->pairs, n, s->order);
    s->n_pairs = n < SD_OVERLAP_PAIRS ? n : SD_OVERLAP_PAIRS;
    for (uint64_t i = 0; i < s->n_pairs; i++)
        s->sorted[i] = s->pairs[s->order[i]];
    for (uint64_t i = 0; i < s->n_pairs; i++)
        s->pairs[i] = s->sorted[i];
}

static sd_status search_block(search *s, uint64_t first, uint64_t rows, double *best)
{
    sd_mat unit = sd_mat_of(s->unit, s->latents, s->d);
    sd_mat index = sd_mat_of(s->index, rows, s->k), value = sd_mat_of(s->value, rows, s->k);
    uint64_t n = s->n_pairs;
    sd_status st;

    SD_TRY(st, sd_dev_encode_topk(s->dev, &(sd_encode_topk){.x = sd_mat_rows(unit, first, rows),
                                                            .w_enc = unit,
                                                            .b_enc = sd_mat_of(s->zero_latents, 1, s->latents),
                                                            .b_dec = sd_mat_of(s->zero_d, 1, s->d),
                                                            .index = index,
                                                            .value = value}));
    SD_TRY(st, sd_dev_download(s->dev, index, s->host_index));
    SD_TRY(st, sd_dev_download_as(s->dev, value, s->host_value, SD_F64));
    for (uint64_t r = 0; r < rows; r++) {
        uint64_t latent = first + r;

        best[r] = (double)NAN;
        for (uint64_t j = 0; j < s->k; j++) {
            uint64_t other = (uint64_t)s->host_index[r * s->k + j];
            double cosine = s->host_value[r * s->k + j];

            if (other != latent && isnan(best[r]))
                best[r] = cosine; /* in descending order */
            if (other > latent)
                s->pairs[n++] = cosine;
        }
    }
    keep_largest(s, n);
out:
    return st;
}

/* Rank 0. `all` holds each rank's pairs, NaN-padded. */
static void finish(search *s, const double *best, const double *all, uint64_t ranks, sd_overlap *out)
{
    double sum = 0;

    s->n_pairs = 0;
    for (uint64_t r = 0; r < ranks; r++) {
        uint64_t n = s->n_pairs;

        for (uint64_t i = 0; i < SD_OVERLAP_PAIRS; i++)
            if (!isnan(all[r * SD_OVERLAP_PAIRS + i]))
                s->pairs[n++] = all[r * SD_OVERLAP_PAIRS + i];
        keep_largest(s, n);
    }
    *out = (sd_overlap){(double)NAN, (double)NAN, (double)NAN};
    for (uint64_t i = 0; i < s->n_pairs; i++) {
        sum += s->pairs[i];
        if (2 * (i + 1) <= SD_OVERLAP_PAIRS)
            out->compat = sum / (double)(i + 1);
        out->redundancy = sum / (double)(i + 1);
    }
    sum = 0;
    for (uint64_t i = 0; i < s->latents; i++)
        sum += best[i];
    out->max_cosine = sum / (double)s->latents;
}

sd_status sd_decoder_overlap(const sd_par *par, sd_dev *dev, sd_mat w_dec, sd_overlap *overlap)
{
    uint64_t blocks = (w_dec.rows + BLOCK - 1) / BLOCK, ranks = (uint64_t)par->size;
    sd_span mine = sd_par_split(blocks, par->rank, par->size);
    uint64_t first = mine.first * BLOCK < w_dec.rows ? mine.first * BLOCK : w_dec.rows;
    uint64_t end = (mine.first + mine.count) * BLOCK < w_dec.rows ? (mine.first + mine.count) * BLOCK : w_dec.rows;
    search s = {.dev = dev, .latents = w_dec.rows, .d = w_dec.cols, .k = w_dec.rows < NEIGHBOURS ? w_dec.rows : NEIGHBOURS};
    double *best = NULL, *all = NULL;
    sd_status st;

    st = open_search(&s, w_dec, end - first);
    for (uint64_t at = first; st == SD_OK && at < end; at += BLOCK)
        st = sd_par_stop_asked() ? SD_FAIL(SD_E_STOPPED, "stopped by a signal; finished work is saved: run the same command again")
                                 : search_block(&s, at, end - at < BLOCK ? end - at : BLOCK, s.best + (at - first));
    if (st == SD_OK) {
        for (uint64_t i = s.n_pairs; i < SD_OVERLAP_PAIRS; i++)
            s.pairs[i] = (double)NAN;
        if (par->rank == 0)
            st = SD_NEW(&best, s.latents);
        if (st == SD_OK && par->rank == 0)
            st = SD_NEW(&all, ranks * SD_OVERLAP_PAIRS);
    }
    SD_TRY(st, sd_par_agree(par, st));
    SD_TRY(st, sd_par_gather(par, s.best, (end - first) * sizeof *best, best, s.latents * sizeof *best));
    SD_TRY(st, sd_par_gather(par, s.pairs, SD_OVERLAP_PAIRS * sizeof *all, all, ranks * SD_OVERLAP_PAIRS * sizeof *all));
    if (par->rank == 0)
        finish(&s, best, all, ranks, overlap);
    SD_TRY(st, sd_par_bcast(par, overlap, sizeof *overlap, 0));
out:
    close_search(&s);
    sd_free(best);
    sd_free(all);
    return st;
}
