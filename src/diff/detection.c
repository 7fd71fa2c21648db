#include "saediff/diff/detection.h"

#include <math.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/stat/bootstrap.h"
#include "saediff/store/codes.h"
#include "detection_private.h"

static void side_free(sd_detection_side *s)
{
    sd_free(s->latent);
    sd_free(s->selection_auroc);
    sd_free(s->auroc);
    sd_free(s->low);
    sd_free(s->high);
    sd_free(s->chance);
    sd_free(s->detected);
    sd_free(s->best);
    sd_free(s->best_auroc);
    sd_free(s->best_se);
}

void sd_detection_destroy(sd_detection **detection)
{
    sd_detection *t = *detection;

    *detection = NULL;
    if (t == NULL)
        return;
    sd_free(t->site);
    sd_free(t->trained_on);
    sd_texts_free(t->field, t->fields);
    sd_texts_free(t->value, t->values);
    sd_free(t->of_field);
    sd_free(t->split);
    sd_free(t->positives);
    sd_free(t->others);
    side_free(&t->base);
    side_free(&t->tuned);
    sd_free(t);
}

bool sd_detection_is_tested(const sd_detection *t, uint64_t value)
{
    const uint64_t *p = t->positives + value * SD_DETECTION_SPLITS, *o = t->others + value * SD_DETECTION_SPLITS;

    return p[SD_DETECTION_SELECTION] >= SD_DETECTION_MIN && p[SD_DETECTION_ESTIMATION] >= SD_DETECTION_MIN && o[SD_DETECTION_SELECTION] >= SD_DETECTION_MIN && o[SD_DETECTION_ESTIMATION] >= SD_DETECTION_MIN;
}

static sd_status side_make(sd_detection_side *s, uint64_t values, uint64_t bests)
{
    double **const of_values[] = {&s->selection_auroc, &s->auroc, &s->low, &s->high, &s->chance};
    sd_status st;

    SD_TRY(st, SD_NEW(&s->latent, values));
    for (size_t i = 0; i < sizeof of_values / sizeof *of_values; i++)
        SD_TRY(st, SD_NEW(of_values[i], values));
    SD_TRY(st, SD_NEW(&s->detected, values));
    SD_TRY(st, SD_NEW(&s->best, bests));
    SD_TRY(st, SD_NEW(&s->best_auroc, bests));
    SD_TRY(st, SD_NEW(&s->best_se, bests));
out:
    return st;
}

static sd_status copy_texts(char *const *from, uint64_t count, char ***to)
{
    char **made = NULL;
    uint64_t n = 0;
    sd_status st;

    SD_TRY(st, SD_NEW(&made, count));
    for (; n < count; n++)
        SD_TRY(st, sd_str_copy(&made[n], from[n]));
    *to = made;
    made = NULL;
out:
    sd_texts_free(made, n);
    return st;
}

/* Rank 0: everything except the numbers of the two sides. */
static sd_status make(const sd_detection_spec *spec, const detection_docs *d, uint64_t latents, uint64_t k, sd_detection **detection)
{
    const sd_labels *l = spec->labels;
    sd_detection *t = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&t, 1));
    *detection = t;
    t->latents = latents;
    t->k = k;
    t->docs = d->docs;
    t->threshold = spec->threshold;
    t->permutations = spec->permutations;
    SD_TRY(st, sd_str_copy(&t->site, spec->site));
    SD_TRY(st, sd_str_copy(&t->trained_on, spec->trained_on ? spec->trained_on : "base"));
    SD_TRY(st, copy_texts(l->field, l->fields, &t->field));
    t->fields = l->fields;
    SD_TRY(st, copy_texts(l->value, l->values, &t->value));
    t->values = l->values;
    SD_TRY(st, SD_NEW(&t->of_field, l->values));
    SD_TRY(st, SD_NEW(&t->split, d->docs));
    memcpy(t->split, d->split, d->docs);
    SD_TRY(st, SD_NEW(&t->positives, l->values * SD_DETECTION_SPLITS));
    SD_TRY(st, SD_NEW(&t->others, l->values * SD_DETECTION_SPLITS));
    memcpy(t->of_field, l->of_field, l->values * sizeof *l->of_field);
    for (uint64_t v = 0; v < l->values; v++) {
        memcpy(t->positives + v * SD_DETECTION_SPLITS, d->values[v].positives, sizeof d->values[v].positives);
        memcpy(t->others + v * SD_DETECTION_SPLITS, d->values[v].others, sizeof d->values[v].others);
    }
    SD_TRY(st, side_make(&t->base, l->values, latents * l->fields));
    st = side_make(&t->tuned, l->values, latents * l->fields);
out:
    return st;
}

/* The shape of one model's codes, and how often each latent fires. */
typedef struct reading {
    uint64_t shape[2]; /* latents, k */
    uint64_t *support; /* [latents] */
} reading;

/* Local. This rank's shards; `shape` of the first shard is known. */
static sd_status count_shards(const sd_par *par, const sd_detection_spec *spec, const char *const *codes, reading *r)
{
    sd_codes *c = NULL;
    sd_status st = SD_OK;

    for (uint64_t s = (uint64_t)par->rank; s < spec->shards; s += (uint64_t)par->size) {
        if (sd_par_stop_asked())
            return SD_FAIL(SD_E_STOPPED, "stopped by a signal; finished comparisons are kept: run the same command again");
        SD_TRY(st, sd_codes_read(&c, codes[s]));
        if (c->n_latents != r->shape[0] || c->first_row > spec->tokens->tokens || c->rows > spec->tokens->tokens - c->first_row) {
            st = SD_FAIL(SD_E_DATA, "%s has %llu latents and rows %llu to %llu; the first shard has %llu latents, and there are %llu tokens; encode "
                         "again", codes[s], (unsigned long long)c->n_latents, (unsigned long long)c->first_row,
                         (unsigned long long)(c->first_row + c->rows), (unsigned long long)r->shape[0], (unsigned long long)spec->tokens->tokens);
            goto out;
        }
        for (uint64_t row = 0; row < c->rows; row++)
            for (uint64_t i = c->row_start[row]; spec->tokens->mask[c->first_row + row] && i < c->row_start[row + 1]; i++)
                r->support[c->latent[i]]++;
        sd_codes_destroy(&c);
    }
out:
    sd_codes_destroy(&c);
    return st;
}

static sd_status read_shape(const sd_detection_spec *spec, const char *const *codes, reading *r)
{
    sd_codes *c = NULL;
    sd_status st;

    if (spec->shards == 0)
        return SD_FAIL(SD_E_DATA, "%s has no code shards; run encode first", spec->site);
    SD_TRY(st, sd_codes_read(&c, codes[0]));
    r->shape[0] = c->n_latents;
    r->shape[1] = c->k;
out:
    sd_codes_destroy(&c);
    return st;
}

/* Collective. */
static sd_status reading_make(const sd_par *par, const sd_detection_spec *spec, const char *const *codes, reading *r)
{
    sd_status st;

    SD_TRY(st, sd_par_agree(par, par->rank == 0 ? read_shape(spec, codes, r) : SD_OK));
    SD_TRY(st, sd_par_bcast(par, r->shape, sizeof r->shape, 0));
    SD_TRY(st, sd_par_agree(par, SD_NEW(&r->support, r->shape[0])));
    SD_TRY(st, sd_par_agree_or_stop(par, count_shards(par, spec, codes, r)));
    st = sd_par_sum_u64(par, r->support, r->shape[0]);
out:
    return st;
}

/* The work of one rank on one model. */
typedef struct work {
    sd_span mine;
    detection_winner *winners, *all; /* [values, assignments]; [ranks, values, assignments] on rank 0 */
    detection_kept *kept;            /* [values] */
    detection_best *best, *bests;    /* [mine.count, fields]; [latents, fields] on rank 0 */
    int64_t *chosen;            /* [values] */
    double *range;              /* [values, 2] */
} work;

static void work_free(work *w, uint64_t values)
{
    for (uint64_t v = 0; w->kept != NULL && v < values; v++)
        sd_free(w->kept[v].fires);
    sd_free(w->winners);
    sd_free(w->all);
    sd_free(w->kept);
    sd_free(w->best);
    sd_free(w->bests);
    sd_free(w->chosen);
    sd_free(w->range);
}

static sd_status work_make(work *w, const sd_par *par, const detection_docs *d, uint64_t latents, uint64_t fields)
{
    uint64_t assignments = d->n_values * d->assignments;
    bool root = par->rank == 0;
    sd_status st;

    w->mine = sd_par_split(latents, par->rank, par->size);
    SD_TRY(st, SD_NEW(&w->winners, assignments));
    SD_TRY(st, SD_NEW(&w->all, root ? assignments * (uint64_t)par->size : 0));
    SD_TRY(st, SD_NEW(&w->kept, d->n_values));
    SD_TRY(st, SD_NEW(&w->best, w->mine.count * fields));
    SD_TRY(st, SD_NEW(&w->bests, root ? latents * fields : 0));
    SD_TRY(st, SD_NEW(&w->chosen, d->n_values));
    SD_TRY(st, SD_NEW(&w->range, 2 * d->n_values));
out:
    return st;
}

/* Rank 0: the best of all ranks; ranks hold ascending latents, so the first of equal ones has the lowest index. */
static void merge(work *w, const detection_docs *d, uint64_t ranks)
{
    uint64_t assignments = d->n_values * d->assignments;

    for (uint64_t i = 0; i < assignments; i++)
        for (uint64_t r = 1; r < ranks; r++) {
            const detection_winner *other = &w->all[r * assignments + i];

            if (other->latent >= 0 && (w->all[i].latent < 0 || other->a > w->all[i].a))
                w->all[i] = *other;
        }
    for (uint64_t v = 0; v < d->n_values; v++)
        w->chosen[v] = d->values[v].tested ? w->all[v * d->assignments].latent : -1;
}

/* The 95 % quantile of the AUROC on the estimation split under permuted labels. */
static double chance_level(const detection_winner *assignments, uint64_t count, double *scratch)
{
    double low, high;

    for (uint64_t p = 1; p < count; p++)
        scratch[p - 1] = assignments[p].b;
    sd_percentiles(scratch, count - 1, 0.9, &low, &high);
    return high;
}

/* Rank 0: the numbers of one model. */
static sd_status fill(const work *w, const detection_docs *d, uint64_t bests, double threshold, sd_detection_side *s)
{
    double *scratch = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&scratch, d->assignments));
    for (uint64_t v = 0; v < d->n_values; v++) {
        const detection_winner *won = &w->all[v * d->assignments];
        bool none = w->chosen[v] < 0;

        s->latent[v] = w->chosen[v];
        s->selection_auroc[v] = none ? (double)NAN : won->a;
        s->auroc[v] = none ? (double)NAN : won->b;
        s->low[v] = none ? (double)NAN : w->range[2 * v];
        s->high[v] = none ? (double)NAN : w->range[2 * v + 1];
        s->chance[v] = none ? (double)NAN : chance_level(won, d->assignments, scratch);
        s->detected[v] = s->low[v] > threshold;
    }
    for (uint64_t i = 0; i < bests; i++) {
        s->best[i] = w->bests[i].value;
        s->best_auroc[i] = w->bests[i].b;
        s->best_se[i] = w->bests[i].se;
    }
out:
    sd_free(scratch);
    return st;
}

/* Collective. `side` on rank 0. */
static sd_status run_side(const sd_par *par, const sd_detection_spec *spec, const detection_docs *d, const char *const *codes, const reading *r,
                          sd_detection_side *side)
{
    uint64_t assignments = d->n_values * d->assignments, ranks = (uint64_t)par->size, fields = spec->labels->fields;
    bool root = par->rank == 0;
    work w = {0};
    sd_status st;

    SD_TRY(st, sd_par_agree(par, work_make(&w, par, d, r->shape[0], fields)));
    SD_TRY(st, sd_par_agree(par, detection_measure(spec, d, codes, r->support, w.mine, w.winners, w.kept, w.best)));
    SD_TRY(st, sd_par_gather(par, w.winners, assignments * sizeof *w.winners, w.all, root ? ranks * assignments * sizeof *w.winners : 0));
    SD_TRY(st, sd_par_gather(par, w.best, w.mine.count * fields * sizeof *w.best, w.bests,
                            root ? r->shape[0] * fields * sizeof *w.best : 0));
    if (root)
        merge(&w, d, ranks);
    SD_TRY(st, sd_par_bcast(par, w.chosen, d->n_values * sizeof *w.chosen, 0));
    SD_TRY(st, sd_par_agree(par, detection_intervals(spec, d, w.chosen, w.mine, w.kept, w.range)));
    SD_TRY(st, sd_par_share_f64(par, w.range, 2 * d->n_values));
    SD_TRY(st, sd_par_agree(par, root ? fill(&w, d, r->shape[0] * fields, spec->threshold, side) : SD_OK));
out:
    work_free(&w, d->n_values);
    return st;
}

sd_status sd_detection_run(const sd_par *par, const sd_detection_spec *spec, sd_detection **detection)
{
    const char *const *const codes[] = {spec->base_codes, spec->tuned_codes};
    reading readings[2] = {{{0}, NULL}, {{0}, NULL}};
    detection_docs d = {0};
    sd_detection *made = NULL;
    sd_status st;

    *detection = NULL;
    SD_TRY(st, sd_par_agree(par, detection_docs_make(spec, &d)));
    for (int m = 0; m < 2; m++)
        SD_TRY(st, reading_make(par, spec, codes[m], &readings[m]));
    if (readings[0].shape[0] != readings[1].shape[0]) {
        st = SD_FAIL(SD_E_DATA, "%s and %s belong to different SAEs: %llu and %llu latents", codes[0][0], codes[1][0],
                     (unsigned long long)readings[0].shape[0], (unsigned long long)readings[1].shape[0]);
        goto out;
    }
    SD_TRY(st, sd_par_agree(par, par->rank == 0 ? make(spec, &d, readings[0].shape[0], readings[0].shape[1], &made) : SD_OK));
    SD_TRY(st, run_side(par, spec, &d, codes[0], &readings[0], made != NULL ? &made->base : NULL));
    SD_TRY(st, run_side(par, spec, &d, codes[1], &readings[1], made != NULL ? &made->tuned : NULL));
    *detection = made;
    made = NULL;
out:
    for (int m = 0; m < 2; m++)
        sd_free(readings[m].support);
    detection_docs_free(&d);
    sd_detection_destroy(&made);
    return st;
}
