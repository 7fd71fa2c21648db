/* What the p-values and intervals promise, on many simulated comparisons: nothing found where there is nothing, planted changes found,
 * and lists chosen on half A told right by half B. One rank. */
#include "kit.h"
#include "saediff/diff/diff.h"

static kit the;

enum { LATENTS = 40, DOCS = 60, PLANTED = 10 };

/* One simulated pair. Documents have effects of their own, so tokens of one document hang together. */
typedef struct world {
    const kit *k;
    uint64_t seed;
    int model;
    bool null;  /* base and tuned exchange whole documents by the toss of a coin: no difference, whatever hangs together */
    double shift; /* of the first PLANTED latents when they fire, in the tuned model; latents PLANTED … fire alike */
    bool planted; /* 0–9 twice as strong in the tuned model, 10–19 only in tuned, 20–29 only in base */
} world;

static uint64_t make(const void *self, uint64_t row, int32_t *latent, float *value)
{
    const world *w = self;
    uint64_t doc = sd_tokens_doc(w->k->tokens, row), n = 0;
    sd_key key = sd_key_make(w->seed, SD_STREAM_TEST, 80);
    bool swap = w->null && sd_random_u64(sd_key_make(w->seed, SD_STREAM_TEST, 81), doc) % 2;
    uint64_t version = (uint64_t)(swap ? !w->model : w->model);

    for (uint64_t l = 0; l < LATENTS; l++) {
        uint64_t at = (row * LATENTS + l) * 2 + version, of_doc = 1000000 + (doc * LATENTS + l) * 2 + version;
        double v;

        /* Both models fire on the same tokens unless the latent is planted as exclusive. */
        if (sd_random_uniform(key, 3000000 + row * LATENTS + l) >= 0.3)
            continue;
        v = 5 + sd_random_normal(key, of_doc) + sd_random_uniform(key, 2000000 + at);
        if (w->shift > 0 && w->model == 1)
            v += w->shift * (double)(l % 3);
        if (w->planted && l < PLANTED)
            v *= w->model == 1 ? 2 : 1;
        if (w->planted && ((l / PLANTED == 1 && w->model == 0) || (l / PLANTED == 2 && w->model == 1)))
            continue;
        if (v <= 0)
            continue;
        latent[n] = (int32_t)l;
        value[n++] = (float)v;
    }
    return n;
}

static sd_diff *simulate(const kit *k, world w, uint64_t flips)
{
    kit_codes codes[2];
    sd_diff *d = NULL;

    for (int m = 0; m < 2; m++) {
        w.model = m;
        w.k = k;
        kit_write(k, m ? "tuned" : "base", LATENTS, make, &w, &codes[m]);
    }
    CHECK_OK(sd_diff_run(k->par,
                         &(sd_diff_spec){.site = "site",
                                         .base_codes = codes[0].list,
                                         .tuned_codes = codes[1].list,
                                         .shards = KIT_SHARDS,
                                         .tokens = k->tokens,
                                         .seed = w.seed,
                                         .flips = flips},
                         &d));
    return d;
}

/* Under the null of every latent the share of comparisons with any discovery is what q promises, and what max-T promises. */
static void test_nothing_is_found_in_nothing(void)
{
    const kit *k = &the;
    enum { TIMES = 100 };
    int bh = 0, maxt = 0, latents = 0;

    for (uint64_t time = 0; time < TIMES; time++) {
        sd_diff *d = simulate(k, (world){.seed = 1000 + time, .null = true}, 199);
        bool any = false, any_maxt = false;

        for (uint64_t l = 0; d != NULL && l < LATENTS; l++) {
            any = any || d->part[SD_DIFF_ALL].value.q[l] <= 0.1;
            any_maxt = any_maxt || d->maxt_p[l] <= 0.1;
            latents += d->part[SD_DIFF_ALL].value.p[l] <= 0.05;
        }
        bh += any;
        maxt += any_maxt;
        sd_diff_destroy(&d);
    }
    printf("null: %.3f of comparisons have a q <= 0.1, %.3f a max-T p <= 0.1; %.4f of latents have p <= 0.05\n",
           (double)bh / TIMES, (double)maxt / TIMES, (double)latents / (TIMES * LATENTS));
    /* 0.1 ± two standard errors of 100 draws. */
    CHECK(bh <= 0.16 * TIMES && maxt <= 0.16 * TIMES && maxt >= 0.04 * TIMES);
    CHECK(latents >= 0.04 * TIMES * LATENTS && latents <= 0.06 * TIMES * LATENTS);
}

/* The ten largest t of half A: their intervals from half B cover the truth, while half A's own exaggerate. */
static void test_chosen_on_a_reported_on_b(void)
{
    const kit *k = &the;
    enum { TIMES = 150, TOP = 10 };
    int covered = 0, covered_a = 0;
    double quantile = 0;

    for (uint64_t time = 0; time < TIMES; time++) {
        sd_diff *d = simulate(k, (world){.seed = 5000 + time, .shift = 0.2}, 0);
        const sd_diff_part *a, *b;
        uint64_t order[LATENTS];

        if (d == NULL)
            return;
        a = &d->part[SD_DIFF_SELECTION];
        b = &d->part[SD_DIFF_ESTIMATION];
        sd_order_falling(a->value.t, LATENTS, order);
        for (uint64_t i = 0; i < TOP; i++) {
            uint64_t l = order[i];
            double truth = 0.3 * 0.2 * (double)(l % 3);

            covered += fabs(b->value.mean[l] - truth) <= b->quantile * b->value.se[l];
            covered_a += fabs(a->value.mean[l] - truth) <= a->quantile * a->value.se[l];
        }
        quantile = b->quantile;
        sd_diff_destroy(&d);
    }
    printf("chosen on half A: intervals of half B cover %.3f, of half A %.3f (quantile %.3f)\n", (double)covered / (TIMES * TOP),
           (double)covered_a / (TIMES * TOP), quantile);
    CHECK(covered >= 0.93 * TIMES * TOP && covered <= 0.97 * TIMES * TOP);
    CHECK(covered_a < 0.93 * TIMES * TOP);
}

static void test_planted_changes_are_found(void)
{
    const kit *k = &the;
    sd_diff *d = simulate(k, (world){.seed = 3, .planted = true}, 199);
    int found[4] = {0}, appearing = 0, vanishing = 0, by_maxt = 0;
    double precision, recall;

    if (d == NULL)
        return;
    for (uint64_t l = 0; l < LATENTS; l++) {
        found[l / PLANTED] += d->part[SD_DIFF_ALL].value.q[l] <= 0.05;
        by_maxt += d->maxt_p[l] <= 0.05 && l < 3 * PLANTED;
        appearing += l / PLANTED == 1 && d->only_base[l] == 0 && d->mcnemar_q[l] < 1e-9 && d->log2_ratio[l] > 0;
        vanishing += l / PLANTED == 2 && d->only_tuned[l] == 0 && d->mcnemar_q[l] < 1e-9 && d->log2_ratio[l] < 0;
        /* Scaled and unchanged latents fire on the same tokens. */
        if (l < PLANTED || l >= 3 * PLANTED)
            CHECK(d->mcnemar_p[l] == 1 && d->part[SD_DIFF_ALL].frequency.mean[l] == 0 && d->frequency_part[l] == 0);
        if (l < PLANTED)
            CHECK_NEAR(d->tuned.sums.sum[l] / d->base.sums.sum[l], 2, 0.3);
    }
    recall = (double)(found[0] + found[1] + found[2]) / (3 * PLANTED);
    precision = (double)(found[0] + found[1] + found[2]) / (found[0] + found[1] + found[2] + found[3]);
    printf("planted changes at q <= 0.05: precision %.3f, recall %.3f; scaled %d, appearing %d, vanishing %d of %d\n", precision,
           recall, found[0], appearing, vanishing, (int)PLANTED);
    CHECK(precision >= 0.9 && recall >= 0.9 && appearing == PLANTED && vanishing == PLANTED && by_maxt >= 27);
    sd_diff_destroy(&d);
}

static void begin(void)
{
    uint64_t lengths[DOCS];

    for (uint64_t d = 0; d < DOCS; d++)
        lengths[d] = 5 + d % 8;
    kit_begin(&the, ranks, lengths, DOCS);
}

static void end(void)
{
    kit_end(&the);
}

static const test_case tests[] = {
    TEST(test_nothing_is_found_in_nothing),
    TEST(test_chosen_on_a_reported_on_b),
    TEST(test_planted_changes_are_found),
};

RANKS_MAIN(tests, begin, end, 1)
