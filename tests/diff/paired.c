/* Paired changes against slow recomputations from dense tables, at any number of ranks. */
#include "kit.h"
#include "saediff/diff/diff.h"
#include "saediff/stat/infer.h"

static kit the;
static kit_codes base_codes, tuned_codes;

enum { LATENTS = 23, DOCS = 31, FLIPS = 70, SEED = 19 };

typedef struct source {
    uint64_t model;
} source;

/* Latent 0 never fires, 1 only in the tuned model, 2 on one row, 3 always with equal values; the others as they come. */
static uint64_t make(const void *self, uint64_t row, int32_t *latent, float *value)
{
    uint64_t model = ((const source *)self)->model, n = 0;
    sd_key key = sd_key_make(100 + model, SD_STREAM_TEST, 50), both = sd_key_make(5, SD_STREAM_TEST, 51);

    for (uint64_t l = 1; l < LATENTS; l++) {
        bool fires = sd_random_uniform(key, row * LATENTS + l) < 0.02 * (double)l;
        double v = 0.5 + sd_random_uniform(key, 100000 + row * LATENTS + l);

        fires = l == 1 ? model == 1 && row % 9 == 4 : l == 2 ? row == 17 : l == 3 ? row % 3 == 1 : fires;
        if (l == 3)
            v = 1 + sd_random_uniform(both, row);
        if (!fires)
            continue;
        latent[n] = (int32_t)l;
        value[n++] = (float)v;
    }
    return n;
}

static sd_status run(const kit *k, const sd_par *par, const kit_codes *base, const kit_codes *tuned, uint64_t tile, sd_diff **d)
{
    return sd_diff_run(par,
                       &(sd_diff_spec){.site = "site",
                                       .base_codes = base->list,
                                       .tuned_codes = tuned->list,
                                       .shards = KIT_SHARDS,
                                       .tokens = k->tokens,
                                       .trained_on = "tuned",
                                       .seed = SEED,
                                       .flips = FLIPS,
                                       .tile = tile},
                       d);
}

static bool in_part(uint64_t doc, int part)
{
    bool first = sd_random_permute(sd_key_make(SEED, SD_STREAM_HALVES, 0), DOCS, doc) < (DOCS + 1) / 2;

    return part == SD_DIFF_ALL || (part == SD_DIFF_SELECTION) == first;
}

/* What a document adds, from the dense tables. */
typedef struct slow {
    const kit *k;
    double *base, *tuned;
} slow;

static double document(const slow *s, uint64_t doc, uint64_t l, bool frequency, uint64_t *evaluated)
{
    const sd_tokens *t = s->k->tokens;
    double sum = 0;

    *evaluated = 0;
    for (uint64_t r = t->doc_start[doc]; r < t->doc_start[doc + 1]; r++) {
        double b = s->base[r * LATENTS + l], f = s->tuned[r * LATENTS + l];

        if (!t->mask[r])
            continue;
        ++*evaluated;
        sum += frequency ? (double)(f > 0) - (double)(b > 0) : f - b;
    }
    return sum;
}

static void check_effect(const slow *s, const sd_diff *d, int part, bool frequency, uint64_t l)
{
    const sd_diff_effect *e = frequency ? &d->part[part].frequency : &d->part[part].value;
    double total = 0, tokens = 0, squares = 0, groups = 0, mean, se;
    uint64_t n;

    for (uint64_t doc = 0; doc < DOCS; doc++)
        if (in_part(doc, part)) {
            total += document(s, doc, l, frequency, &n);
            tokens += (double)n;
            groups += n > 0;
        }
    mean = total / tokens;
    for (uint64_t doc = 0; doc < DOCS; doc++)
        if (in_part(doc, part)) {
            double sum = document(s, doc, l, frequency, &n);

            squares += (sum - (double)n * mean) * (sum - (double)n * mean);
        }
    se = sqrt(groups / (groups - 1) * squares) / tokens;
    CHECK_NEAR(e->mean[l], mean, 1e-13);
    CHECK_NEAR(e->se[l], se, 1e-13);
    CHECK((double)d->part[part].docs == groups && (double)d->part[part].tokens == tokens);
    if (se > 0) {
        CHECK_NEAR(e->t[l], mean / se, 1e-9);
        CHECK_NEAR(e->p[l], sd_student_p(mean / se, groups - 1), 1e-9);
    } else {
        CHECK(e->t[l] == 0 && e->p[l] == 1);
    }
}

static void check_tokens(const slow *s, const sd_diff *d, uint64_t l)
{
    const sd_tokens *t = s->k->tokens;
    double n = (double)d->tokens, mean = d->part[SD_DIFF_ALL].value.mean[l], squares = 0, a = 0, b = 0;
    uint64_t only_base = 0, only_tuned = 0;

    for (uint64_t r = 0; r < t->tokens; r++) {
        double x = s->base[r * LATENTS + l], y = s->tuned[r * LATENTS + l];

        if (!t->mask[r])
            continue;
        squares += (y - x - mean) * (y - x - mean);
        a += x;
        b += y;
        only_base += x > 0 && !(y > 0);
        only_tuned += y > 0 && !(x > 0);
    }
    CHECK(d->only_base[l] == only_base && d->only_tuned[l] == only_tuned);
    CHECK_NEAR(d->mcnemar_p[l], sd_mcnemar_p(only_base, only_tuned), 0);
    if (squares > 0)
        CHECK_NEAR(d->d_z[l], mean / sqrt(squares / (n - 1)), 1e-10);
    else
        CHECK(d->d_z[l] == 0);
    CHECK_NEAR(d->log2_ratio[l], log2((b / n + d->epsilon) / (a / n + d->epsilon)), 1e-10);
}

/* q by its definition. */
static void check_q(const sd_diff *d, const double *p, const double *q)
{
    for (uint64_t l = 0; l < LATENTS; l++) {
        double least = 1;

        if (!sd_diff_is_tested(d, l)) {
            CHECK(isnan(q[l]));
            continue;
        }
        for (uint64_t j = 0; j < LATENTS; j++) {
            uint64_t rank = 0;

            for (uint64_t i = 0; i < LATENTS; i++)
                rank += sd_diff_is_tested(d, i) && p[i] <= p[j];
            if (sd_diff_is_tested(d, j) && p[j] >= p[l])
                least = fmin(least, p[j] * (double)d->tested / (double)rank);
        }
        CHECK_NEAR(q[l], least, 1e-14);
    }
}

/* Westfall–Young by the book: the same signs, all latents, all flips. */
static void check_maxt(const slow *s, const sd_diff *d)
{
    sd_key key = sd_key_make(SEED, SD_STREAM_FLIPS, 0);
    static double sums[DOCS][LATENTS], root[LATENTS], score[LATENTS];
    uint64_t reached[LATENTS] = {0}, n;

    for (uint64_t l = 0; l < LATENTS; l++) {
        double total = 0;

        root[l] = 0;
        for (uint64_t doc = 0; doc < DOCS; doc++) {
            sums[doc][l] = document(s, doc, l, false, &n);
            total += sums[doc][l];
            root[l] += sums[doc][l] * sums[doc][l];
        }
        root[l] = sqrt(root[l]);
        score[l] = root[l] > 0 ? fabs(total) / root[l] : 0;
    }
    for (uint64_t b = 0; b < FLIPS; b++) {
        double most = 0;

        for (uint64_t l = 0; l < LATENTS; l++) {
            double total = 0;

            for (uint64_t doc = 0; doc < DOCS; doc++)
                total += sd_random_u64(key, doc * 2 + b / 64) >> (b % 64) & 1 ? -sums[doc][l] : sums[doc][l];
            if (sd_diff_is_tested(d, l) && root[l] > 0)
                most = fmax(most, fabs(total) / root[l]);
        }
        for (uint64_t l = 0; l < LATENTS; l++)
            reached[l] += most >= score[l] * (1 - 1e-12);
    }
    for (uint64_t l = 0; l < LATENTS; l++)
        if (sd_diff_is_tested(d, l))
            CHECK_NEAR(d->maxt_p[l], (1 + (double)reached[l]) / (1 + FLIPS), 1e-15);
        else
            CHECK(isnan(d->maxt_p[l]));
}

static bool same_column(const double *a, const double *b)
{
    return memcmp(a, b, LATENTS * sizeof *a) == 0;
}

static void check_same(const sd_diff *a, const sd_diff *b)
{
    for (int part = 0; part < SD_DIFF_PARTS; part++)
        for (int frequency = 0; frequency < 2; frequency++) {
            const sd_diff_effect *x = frequency ? &a->part[part].frequency : &a->part[part].value;
            const sd_diff_effect *y = frequency ? &b->part[part].frequency : &b->part[part].value;

            CHECK(same_column(x->mean, y->mean) && same_column(x->se, y->se) && same_column(x->t, y->t));
            CHECK(same_column(x->p, y->p) && same_column(x->q, y->q));
        }
    CHECK(same_column(a->d_z, b->d_z) && same_column(a->log2_ratio, b->log2_ratio) && same_column(a->maxt_p, b->maxt_p));
    CHECK(same_column(a->mcnemar_p, b->mcnemar_p) && same_column(a->mcnemar_q, b->mcnemar_q));
    CHECK(memcmp(a->only_base, b->only_base, LATENTS * sizeof *a->only_base) == 0);
    CHECK(memcmp(a->only_tuned, b->only_tuned, LATENTS * sizeof *a->only_tuned) == 0);
    CHECK(a->epsilon == b->epsilon && a->tested == b->tested && a->flips == b->flips && a->fvu_ratio == b->fvu_ratio);
    CHECK(a->base.error_norm == b->base.error_norm && a->error_norm_increase == b->error_norm_increase);
    CHECK(a->part[2].quantile == b->part[2].quantile && strcmp(a->trained_on, b->trained_on) == 0);
}

static void check_scalars(const slow *s, const sd_diff *d)
{
    const sd_tokens *t = s->k->tokens;
    double error_norm = 0, smallest = INFINITY;

    for (uint64_t r = 0; r < t->tokens; r++) {
        if (!t->mask[r])
            continue;
        error_norm += sqrt(1 + (double)(r % 5));
        for (uint64_t l = 0; l < LATENTS; l++) {
            double b = s->base[r * LATENTS + l], f = s->tuned[r * LATENTS + l];

            smallest = fmin(smallest, fmin(b > 0 ? b : INFINITY, f > 0 ? f : INFINITY));
        }
    }
    CHECK(d->epsilon == smallest / 2 && d->flips == FLIPS && strcmp(d->trained_on, "tuned") == 0);
    CHECK_NEAR(d->base.error_norm, error_norm / (double)d->tokens, 1e-12);
    CHECK(d->fvu_ratio == 1 && d->error_norm_increase == 0);
    CHECK_NEAR(d->part[SD_DIFF_ESTIMATION].quantile, sd_student_quantile(0.95, (double)d->part[SD_DIFF_ESTIMATION].docs - 1), 0);
    CHECK(d->part[1].docs + d->part[2].docs == d->part[0].docs && d->part[0].docs == d->docs);
}

static void test_against_slow_sums(void)
{
    const kit *k = &the;
    const kit_codes *base = &base_codes, *tuned = &tuned_codes;
    sd_par alone = {.comm = MPI_COMM_SELF, .rank = 0, .size = 1, .node_rank = 0, .node_size = 1};
    sd_diff *d = NULL, *one = NULL, *read = NULL;
    slow s = {k, NULL, NULL};
    char path[128];

    CHECK_OK(run(k, k->par, base, tuned, 0, &d));
    CHECK((d != NULL) == (k->par->rank == 0));
    if (d == NULL)
        return;
    s.base = kit_dense(k, LATENTS, make, &(source){0});
    s.tuned = kit_dense(k, LATENTS, make, &(source){1});
    for (uint64_t l = 0; l < LATENTS; l++) {
        for (int part = 0; part < SD_DIFF_PARTS; part++) {
            check_effect(&s, d, part, false, l);
            check_effect(&s, d, part, true, l);
        }
        check_tokens(&s, d, l);
    }
    CHECK(d->tested > LATENTS / 2 && !sd_diff_is_tested(d, 0) && !sd_diff_is_tested(d, 2) && sd_diff_is_tested(d, 3));
    check_q(d, d->part[SD_DIFF_ALL].value.p, d->part[SD_DIFF_ALL].value.q);
    check_q(d, d->part[SD_DIFF_ESTIMATION].frequency.p, d->part[SD_DIFF_ESTIMATION].frequency.q);
    check_q(d, d->mcnemar_p, d->mcnemar_q);
    check_maxt(&s, d);
    check_scalars(&s, d);
    for (uint64_t tile = 0; tile < 200; tile += 1 + tile * 12) {
        CHECK_OK(run(k, &alone, base, tuned, tile, &one));
        if (one != NULL)
            check_same(d, one);
        sd_diff_destroy(&one);
    }
    snprintf(path, sizeof path, "%s/diff.h5", k->folder);
    CHECK_OK(sd_diff_write(d, path));
    CHECK_OK(sd_diff_read(&read, path));
    if (read != NULL)
        check_same(d, read);
    sd_free(s.base);
    sd_free(s.tuned);
    sd_diff_destroy(&d);
    sd_diff_destroy(&read);
}

static void check_zero_effect(const sd_diff_effect *e, uint64_t l, bool tested)
{
    CHECK(e->mean[l] == 0 && !signbit(e->mean[l]) && e->se[l] == 0 && e->t[l] == 0 && !signbit(e->t[l]) && e->p[l] == 1);
    CHECK(tested ? e->q[l] == 1 : isnan(e->q[l]));
}

static void test_equal_models(void)
{
    const kit *k = &the;
    const kit_codes *base = &base_codes;
    sd_diff *d = NULL;

    CHECK_OK(run(k, k->par, base, base, 0, &d));
    if (d == NULL)
        return;
    for (uint64_t l = 0; l < LATENTS; l++) {
        bool tested = sd_diff_is_tested(d, l);

        for (int part = 0; part < SD_DIFF_PARTS; part++) {
            check_zero_effect(&d->part[part].value, l, tested);
            check_zero_effect(&d->part[part].frequency, l, tested);
        }
        CHECK(d->only_base[l] == 0 && d->only_tuned[l] == 0 && d->mcnemar_p[l] == 1 && d->d_z[l] == 0);
        CHECK(d->log2_ratio[l] == 0 && !signbit(d->log2_ratio[l]));
        CHECK(tested ? d->mcnemar_q[l] == 1 && d->maxt_p[l] == 1 : isnan(d->maxt_p[l]));
    }
    CHECK(d->fvu_ratio == 1 && d->error_norm_increase == 0 && !signbit(d->error_norm_increase));
    sd_diff_destroy(&d);
}


static void begin(void)
{
    uint64_t lengths[DOCS];

    for (uint64_t d = 0; d < DOCS; d++)
        lengths[d] = d == 7 ? 1 : 2 + d * 5 % 23; /* document 7 has no counted token */
    kit_begin(&the, ranks, lengths, DOCS);
    kit_write(&the, "base", LATENTS, make, &(source){0}, &base_codes);
    kit_write(&the, "tuned", LATENTS, make, &(source){1}, &tuned_codes);
}

static void end(void)
{
    kit_end(&the);
}

static const test_case tests[] = {
    TEST(test_against_slow_sums),
    TEST(test_equal_models),
};

RANKS_MAIN(tests, begin, end, 1, 2, 3, 4)
