/* Stored activations of one site, and their means: sums over groups of batches in one fixed tree, the same at any rank count. */
#include "evaluate.h"
#include "saediff/core/mem.h"

enum { MEAN_SLABS = 16 };

sd_status eval_rows_open(eval_rows *w, run *r, int model, uint64_t site, uint64_t most)
{
    sd_status st;

    *w = (eval_rows){.r = r, .m = model, .site = site, .d = r->config[model].d_model, .sources = r->job->n_data};
    SD_TRY(st, sd_alloc_bytes(&w->stored, most * w->d, sd_dtype_size(r->dtype)));
    SD_TRY(st, SD_NEW(&w->row, w->d));
out:
    return st;
}

void eval_rows_close(eval_rows *w)
{
    sd_shard_close(&w->reader);
    sd_free(w->stored);
    sd_free(w->row);
    *w = (eval_rows){0};
}

sd_status eval_rows_read(eval_rows *w, uint64_t first, uint64_t count)
{
    run *r = w->r;
    size_t row_bytes = w->d * sd_dtype_size(r->dtype);
    uint64_t done = 0;
    sd_status st = SD_OK;

    while (done < count) {
        uint64_t shard = (first + done) / r->job->extract.shard_tokens;
        sd_span rows = run_shard_rows(r, shard), meet = sd_span_intersect(rows, (sd_span){first + done, count - done});

        if (w->reader == NULL || w->shard != shard) {
            char relative[RUN_PATH], *path = NULL;

            sd_shard_close(&w->reader);
            run_acts_path(relative, w->m, r->site_names[w->site], shard);
            st = run_full_path(r, relative, &path);
            if (st == SD_OK)
                st = sd_shard_open(&w->reader, path, "saediff.activations", 1);
            sd_free(path);
            SD_TRY(st, st);
            w->shard = shard;
        }
        SD_TRY(st, sd_shard_read(w->reader, "activations", (sd_span){meet.first - rows.first, meet.count},
                                 (char *)w->stored + done * row_bytes));
        done += meet.count;
    }
out:
    return st;
}

const double *eval_rows_at(eval_rows *w, uint64_t i)
{
    sd_convert(w->row, SD_F64, (const char *)w->stored + i * w->d * sd_dtype_size(w->r->dtype), w->r->dtype, w->d);
    return w->row;
}

static uint64_t source_of(const run *r, uint64_t row)
{
    return r->tokens->doc_source[sd_tokens_doc(r->tokens, row)];
}

/* Sums of one group: [2, sources] vectors of n and Σ x. */
static sd_status sum_group(eval_rows *w, const eval_share *share, uint64_t group, double *sums)
{
    uint64_t width = 1 + w->d, end = (group + 1) * MEAN_SLABS < share->n_batches ? (group + 1) * MEAN_SLABS : share->n_batches;
    sd_status st = SD_OK;

    for (uint64_t s = group * MEAN_SLABS; s < end; s++) {
        const run_batch *batch = &share->batch[s];

        if (sd_par_stop_asked())
            return SD_FAIL(SD_E_STOPPED, "stopped by a signal; finished sites are kept: run the same command again");
        SD_TRY(st, eval_rows_read(w, batch->row, batch->rows));
        for (uint64_t i = 0; i < batch->rows; i++) {
            uint64_t source = source_of(w->r, batch->row + i);
            const double *x = eval_rows_at(w, i);

            for (int all = 0; all < 2; all++) {
                double *into = sums + ((uint64_t)all * w->sources + source) * width;

                if (!all && !w->r->tokens->mask[batch->row + i])
                    continue;
                into[0]++;
                for (uint64_t c = 0; c < w->d; c++)
                    into[1 + c] += x[c];
            }
        }
    }
out:
    return st;
}

/* Rank 0: NaN without rows. */
static void means_from(const eval_rows *w, const double *sums, double *means)
{
    uint64_t width = 1 + w->d;

    for (uint64_t all = 0; all < 2; all++) {
        const double *of = sums + all * w->sources * width;
        double *mean = means + all * (1 + w->sources) * w->d, n = 0;

        for (uint64_t c = 0; c < w->d; c++)
            mean[c] = 0;
        for (uint64_t s = 0; s < w->sources; s++) {
            n += of[s * width];
            for (uint64_t c = 0; c < w->d; c++) {
                mean[c] += of[s * width + 1 + c];
                mean[(1 + s) * w->d + c] = of[s * width + 1 + c] / of[s * width];
            }
        }
        for (uint64_t c = 0; c < w->d; c++)
            mean[c] /= n;
    }
}

sd_status eval_means(eval_rows *w, const eval_share *share, double *mean)
{
    const sd_par *par = w->r->par;
    uint64_t groups = (share->n_batches + MEAN_SLABS - 1) / MEAN_SLABS, width = 2 * w->sources * (1 + w->d);
    sd_span mine = sd_par_split(groups, par->rank, par->size);
    double *sums = NULL, *total = NULL;
    sd_status st;

    st = SD_NEW(&sums, mine.count * width);
    if (st == SD_OK && par->rank == 0)
        st = SD_NEW(&total, width);
    for (uint64_t g = 0; st == SD_OK && g < mine.count; g++)
        st = sum_group(w, share, mine.first + g, sums + g * width);
    SD_TRY(st, sd_par_agree_or_stop(par, st));
    SD_TRY(st, sd_par_tree_sum(par, groups, mine, sums, width, total));
    if (par->rank == 0)
        means_from(w, total, mean);
    SD_TRY(st, sd_par_bcast(par, mean, 2 * (1 + w->sources) * w->d * sizeof *mean, 0));
out:
    sd_free(sums);
    sd_free(total);
    return st;
}
