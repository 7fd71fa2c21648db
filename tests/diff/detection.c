/* Which latents tell labels: against counting pairs of documents, at several rank counts and in tiles of any size. */
#include "saediff/diff/detection.h"

#include <math.h>

#include "diff/kit.h"
#include "saediff/core/str.h"
#include "saediff/stat/auroc.h"
#include "saediff/stat/bootstrap.h"

enum { DOCS = 97, LATENTS = 23, VALUES = 6, PERMUTATIONS = 7, RESAMPLES = 60, SEED = 5, NOISE = 12 };

/* Field "topic" 0: values 0, 1; field "mood" 1: values 2, 3, 4; 5 has one document. Source 0 holds moods 2 and 3, source 1 mood 4 alone. */
static const uint32_t of_field[VALUES] = {0, 0, 1, 1, 1, 1};
static char *const field_names[] = {"topic", "mood"};
static char *const value_names[VALUES] = {"a", "b", "calm", "loud", "odd", "rare"};

static uint64_t source_of(uint64_t doc)
{
    return doc % 3 == 2;
}

/* The mood of a document, −1 for none. */
static int mood_of(uint64_t doc)
{
    if (doc == 30)
        return 5;
    if (source_of(doc))
        return 4;
    return doc % 7 == 0 ? -1 : doc % 2 ? 2 : 3;
}

static int topic_of(uint64_t doc)
{
    return doc % 5 < 2 ? 0 : 1;
}

typedef struct world {
    const kit *k;
    int tuned;
} world;

/* Latent 3 tells topic b, 7 mood loud, 8 the same in the tuned model only; 11 is silent; the others are noise. */
static uint64_t make_row(const void *self, uint64_t row, int32_t *latent, float *value)
{
    const world *w = self;
    uint64_t doc = sd_tokens_doc(w->k->tokens, row), n = 0;
    sd_key key = sd_key_make(17 + (uint64_t)w->tuned, SD_STREAM_TEST, 6);

    for (int32_t l = 0; l < LATENTS; l++) {
        double u = sd_random_uniform(key, row * LATENTS + (uint64_t)l), often = 0.3;

        if (l == 3)
            often = topic_of(doc) == 1 ? 0.7 : 0.15;
        if (l == 7 || (l == 8 && w->tuned))
            often = mood_of(doc) == 3 ? 0.8 : 0.1;
        if (l == 11 || u >= often)
            continue;
        latent[n] = l;
        value[n++] = (float)(1 + l % 4);
    }
    return n;
}

static sd_labels *make_labels(void)
{
    sd_labels *l = NULL;
    uint64_t n = 0;

    CHECK_OK(SD_NEW(&l, 1));
    l->docs = DOCS;
    l->values = VALUES;
    l->fields = 2;
    CHECK_OK(SD_NEW(&l->field, 2));
    CHECK_OK(SD_NEW(&l->value, VALUES));
    CHECK_OK(SD_NEW(&l->of_field, VALUES));
    CHECK_OK(SD_NEW(&l->doc_start, DOCS + 1));
    CHECK_OK(SD_NEW(&l->doc_value, 2 * DOCS));
    for (int f = 0; f < 2; f++)
        CHECK_OK(sd_str_copy(&l->field[f], field_names[f]));
    for (int v = 0; v < VALUES; v++) {
        CHECK_OK(sd_str_copy(&l->value[v], value_names[v]));
        l->of_field[v] = of_field[v];
    }
    for (uint64_t d = 0; d < DOCS; d++) {
        l->doc_value[n++] = (uint32_t)topic_of(d);
        if (mood_of(d) >= 0)
            l->doc_value[n++] = (uint32_t)mood_of(d);
        l->doc_start[d + 1] = n;
    }
    return l;
}

/* ---- the reference: everything by its definition */

static bool in_b[DOCS];

static bool half_b(uint64_t doc)
{
    return in_b[doc];
}

/* 1 a positive, −1 an other, 0 neither. */
static int kind_of(uint64_t doc, int value)
{
    int here = of_field[value] == 0 ? topic_of(doc) : mood_of(doc);

    if (here == value)
        return 1;
    if (here < 0 || (value != 4 && of_field[value] == 1 && source_of(doc)))
        return 0; /* calm and loud occur in source 0 only; odd is alone in source 1, and is told from all */
    return -1;
}

typedef struct truth {
    double mean[DOCS][LATENTS];
    bool evaluated[DOCS];
} truth;

static void fill_truth(const kit *k, int tuned, truth *t)
{
    double *dense = kit_dense(k, LATENTS, make_row, &(world){k, tuned});

    for (uint64_t d = 0; d < DOCS; d++) {
        double n = 0;

        for (uint64_t l = 0; l < LATENTS; l++)
            t->mean[d][l] = 0;
        for (uint64_t r = k->tokens->doc_start[d]; r < k->tokens->doc_start[d + 1]; r++) {
            n += k->tokens->mask[r];
            for (uint64_t l = 0; l < LATENTS && k->tokens->mask[r]; l++)
                t->mean[d][l] += dense[r * LATENTS + l];
        }
        t->evaluated[d] = n > 0;
        for (uint64_t l = 0; l < LATENTS && n > 0; l++)
            t->mean[d][l] /= n;
    }
    sd_free(dense);
}

/* Pairs of a positive and an other of one half, each with its documents' weights. */
static double pairs(const truth *t, uint64_t latent, int value, bool b, const double *weight)
{
    double sum = 0, all = 0;

    for (uint64_t p = 0; p < DOCS; p++)
        for (uint64_t o = 0; o < DOCS; o++)
            if (half_b(p) == b && half_b(o) == b && t->evaluated[p] && t->evaluated[o] && kind_of(p, value) == 1 && kind_of(o, value) == -1) {
                double w = weight == NULL ? 1 : weight[p] * weight[o], x = t->mean[p][latent], y = t->mean[o][latent];

                sum += w * (x > y ? 1 : x == y ? 0.5 : 0);
                all += w;
            }
    return sum / all;
}

/* Whether each document of a half is a positive when the value is dealt anew for the p-th time. */
static void deal(const truth *t, int value, bool b, uint64_t p, int *kind)
{
    sd_key key = sd_key_make(SEED, SD_STREAM_LABELS, ((uint64_t)value * 2 + b) * (PERMUTATIONS + 1) + p);
    uint64_t pool[DOCS], n = 0;

    for (uint64_t d = 0; d < DOCS; d++)
        if (half_b(d) == b && t->evaluated[d] && kind_of(d, value) != 0)
            pool[n++] = d;
    for (uint64_t i = 0; i < n; i++)
        kind[pool[i]] = -1;
    for (uint64_t i = 0; i < n; i++)
        if (kind_of(pool[i], value) == 1)
            kind[pool[sd_random_permute(key, n, i)]] = 1;
}

static double dealt_pairs(const truth *t, uint64_t latent, bool b, const int *kind)
{
    double sum = 0, all = 0;

    for (uint64_t p = 0; p < DOCS; p++)
        for (uint64_t o = 0; o < DOCS; o++)
            if (half_b(p) == b && half_b(o) == b && kind[p] == 1 && kind[o] == -1) {
                double x = t->mean[p][latent], y = t->mean[o][latent];

                sum += x > y ? 1 : x == y ? 0.5 : 0;
                all++;
            }
    return sum / all;
}

static double chance_of(const truth *t, int value)
{
    double drawn[PERMUTATIONS], low, high;

    for (uint64_t p = 1; p <= PERMUTATIONS; p++) {
        int kind[DOCS] = {0};
        uint64_t latent = 0;
        double best = -1;

        deal(t, value, false, p, kind);
        deal(t, value, true, p, kind);
        for (uint64_t l = 0; l < LATENTS; l++) {
            double a = l == 11 ? 0 : dealt_pairs(t, l, false, kind);

            if (a > best) {
                best = a;
                latent = l;
            }
        }
        drawn[p - 1] = dealt_pairs(t, latent, true, kind);
    }
    sd_percentiles(drawn, PERMUTATIONS, 0.9, &low, &high);
    return high;
}

static void check_value(const truth *t, const sd_detection *detection, const sd_detection_side *s, int v)
{
    double best = -1, drawn[RESAMPLES], low, high;
    uint64_t latent = 0;

    for (uint64_t l = 0; l < LATENTS; l++) {
        double a = l == 11 ? 0 : pairs(t, l, v, false, NULL);

        if (a > best) {
            best = a;
            latent = l;
        }
    }
    CHECK(s->latent[v] == (int64_t)latent && fabs(s->selection_auroc[v] - best) < 1e-12);
    CHECK(fabs(s->auroc[v] - pairs(t, latent, v, true, NULL)) < 1e-12);
    for (uint64_t b = 0; b < RESAMPLES; b++) {
        double weight[DOCS];

        for (uint64_t d = 0; d < DOCS; d++)
            weight[d] = (double)sd_bootstrap_weight(&(sd_bootstrap){RESAMPLES, SEED, 0.95}, b, d);
        drawn[b] = pairs(t, latent, v, true, weight);
    }
    sd_percentiles(drawn, RESAMPLES, 0.95, &low, &high);
    CHECK(fabs(s->low[v] - low) < 1e-12 && fabs(s->high[v] - high) < 1e-12);
    CHECK(s->detected[v] == (low > detection->threshold));
    CHECK(fabs(s->chance[v] - chance_of(t, v)) < 1e-12);
}

static double se_of(const truth *t, uint64_t latent, int value)
{
    sd_scored list[DOCS];
    uint64_t n = 0;

    for (uint64_t d = 0; d < DOCS; d++)
        if (half_b(d) && t->evaluated[d] && kind_of(d, value) != 0)
            list[n++] = (sd_scored){t->mean[d][latent], d, kind_of(d, value) == 1};
    sd_scored_sort(list, n);
    return sd_auroc_se(list, n);
}

static void check_side(const truth *t, const sd_detection *detection, const sd_detection_side *s)
{
    for (int v = 0; v < VALUES; v++) {
        if (v == 5) {
            CHECK(!sd_detection_is_tested(detection, 5) && s->latent[5] == -1 && isnan(s->auroc[5]) && isnan(s->chance[5]) && s->detected[5] == 0);
            continue;
        }
        CHECK(sd_detection_is_tested(detection, (uint64_t)v));
        check_value(t, detection, s, v);
    }
    for (uint64_t l = 0; l < LATENTS; l++)
        for (uint64_t f = 0; f < 2; f++) {
            uint64_t at = l * 2 + f;
            double most = 0.5;
            int best = -1;

            for (int v = 0; v < VALUES; v++)
                if (of_field[v] == f && v != 5 && l != 11 && pairs(t, l, v, false, NULL) > most) {
                    most = pairs(t, l, v, false, NULL);
                    best = v;
                }
            CHECK(s->best[at] == best);
            CHECK(best < 0 ? isnan(s->best_auroc[at]) && isnan(s->best_se[at])
                           : fabs(s->best_auroc[at] - pairs(t, l, best, true, NULL)) < 1e-12 && s->best_se[at] == se_of(t, l, best));
        }
}

/* What was planted is found, and no other label in noise. */
static void check_planted(const sd_detection *t)
{
    CHECK(t->base.latent[1] == 3 && t->tuned.latent[1] == 3 && t->base.detected[1] && t->tuned.detected[1]);
    CHECK(t->base.latent[3] == 7 && t->base.detected[3] && (t->tuned.latent[3] == 7 || t->tuned.latent[3] == 8) && t->tuned.detected[3]);
    CHECK(t->base.best[8 * 2 + 1] != 3 || t->base.best_auroc[8 * 2 + 1] < 0.8);
    CHECK(t->tuned.best[8 * 2 + 1] == 3 && t->tuned.best_auroc[8 * 2 + 1] > 0.9);
    CHECK(t->base.auroc[1] > t->base.chance[1] && !t->base.detected[4]);
    CHECK(t->base.best[11 * 2] == -1 && t->tuned.best[11 * 2 + 1] == -1);
}

static bool same_side(const sd_detection_side *a, const sd_detection_side *b)
{
    return memcmp(a->latent, b->latent, VALUES * sizeof *a->latent) == 0 && memcmp(a->auroc, b->auroc, VALUES * sizeof *a->auroc) == 0 &&
           memcmp(a->low, b->low, VALUES * sizeof *a->low) == 0 && memcmp(a->chance, b->chance, VALUES * sizeof *a->chance) == 0 &&
           memcmp(a->detected, b->detected, VALUES) == 0 && memcmp(a->best, b->best, 2 * LATENTS * sizeof *a->best) == 0 &&
           memcmp(a->best_se, b->best_se, 2 * LATENTS * sizeof *a->best_se) == 0;
}

static void test_file(const kit *k, const sd_detection *t)
{
    char path[128];
    sd_detection *back = NULL;

    snprintf(path, sizeof path, "%s/detection.h5", k->folder);
    CHECK_OK(sd_detection_write(t, path));
    CHECK_OK(sd_detection_read(&back, path));
    CHECK(back != NULL && same_side(&back->base, &t->base) && same_side(&back->tuned, &t->tuned));
    CHECK(strcmp(back->value[3], "loud") == 0 && strcmp(back->field[1], "mood") == 0 && back->of_field[3] == 1);
    CHECK(memcmp(back->positives, t->positives, 2 * VALUES * sizeof *t->positives) == 0 && back->threshold == t->threshold);
    CHECK(back->docs == DOCS && memcmp(back->split, in_b, DOCS) == 0);
    back->tuned.latent[1] = LATENTS;
    CHECK_OK(sd_detection_write(back, path));
    sd_detection_destroy(&back);
    CHECK_FAILS(sd_detection_read(&back, path), SD_E_DATA, "value 1 names a field or a latent that does not exist");
    CHECK(back == NULL);
}

int main(int argc, char **argv)
{
    static truth truths[2];
    kit k = {0};
    kit_codes codes[2];
    uint64_t lengths[DOCS];
    sd_par par;
    sd_labels *labels;
    sd_detection *detection = NULL, *tiled = NULL;
    sd_detection_spec spec;

    CHECK_OK(sd_par_begin(&par, &argc, &argv));
    for (uint64_t d = 0; d < DOCS; d++)
        in_b[d] = sd_random_permute(sd_key_make(SEED, SD_STREAM_HALVES, 0), DOCS, d) >= (DOCS + 1) / 2;
    for (uint64_t d = 0; d < DOCS; d++)
        lengths[d] = d == 40 ? 1 : 5 + d % NOISE; /* document 40 has no counted token */
    kit_begin(&k, &par, lengths, DOCS);
    for (uint64_t d = 0; d < DOCS; d++)
        k.tokens->doc_source[d] = (uint32_t)source_of(d);
    for (int m = 0; m < 2; m++)
        kit_write(&k, m ? "tuned" : "base", LATENTS, make_row, &(world){&k, m}, &codes[m]);
    labels = make_labels();
    spec = (sd_detection_spec){.site = "blocks.1.hook_resid_post", .base_codes = codes[0].list, .tuned_codes = codes[1].list, .shards = KIT_SHARDS,
                          .tokens = k.tokens, .labels = labels, .seed = SEED, .permutations = PERMUTATIONS, .resamples = RESAMPLES,
                          .threshold = 0.75};
    CHECK_OK(sd_detection_run(&par, &spec, &detection));
    spec.tile = 150;
    CHECK_OK(sd_detection_run(&par, &spec, &tiled));
    CHECK((detection != NULL) == (par.rank == 0) && (tiled != NULL) == (par.rank == 0));
    if (detection != NULL && tiled != NULL) {
        for (int m = 0; m < 2; m++) {
            fill_truth(&k, m, &truths[m]);
            check_side(&truths[m], detection, m ? &detection->tuned : &detection->base);
        }
        check_planted(detection);
        CHECK(same_side(&detection->base, &tiled->base) && same_side(&detection->tuned, &tiled->tuned));
        test_file(&k, detection);
    }
    sd_detection_destroy(&detection);
    sd_detection_destroy(&tiled);
    labels->docs--;
    CHECK(sd_detection_run(&par, &spec, &detection) == SD_E_DATA && detection == NULL && strstr(sd_last_error(), "tokenize again") != NULL);
    labels->docs++;
    sd_labels_destroy(&labels);
    kit_end(&k);
    sd_par_end(&par);
    return TEST_RESULT();
}
