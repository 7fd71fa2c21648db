/* Matching of two SAEs: against brute force, on copies and strangers, and with planted truth. */
#include "saediff/diff/match.h"

#include "kit.h"

enum { DOCS = 40, LENGTH = 75, WIDTH = 64, MOST = 256 };

static double noise(uint64_t stream, uint64_t i)
{
    return sd_random_normal(sd_key_make(11, SD_STREAM_TEST, stream), i);
}

static bool chance(uint64_t stream, uint64_t i, double share)
{
    return sd_random_uniform(sd_key_make(13, SD_STREAM_TEST, stream), i) < share;
}

/* A side of a planted pair: latent l fires where concept[l] does (and, with half 1 or 2, only on rows of that parity), `scale` as strong. */
typedef struct side {
    uint64_t latents;
    uint64_t concept[MOST];
    int half[MOST];
    double scale[MOST];
    double jitter; /* of the values */
    uint64_t stream;
} side;

static uint64_t make(const void *self, uint64_t row, int32_t *latent, float *value)
{
    const side *s = self;
    uint64_t n = 0;

    for (uint64_t l = 0; l < s->latents; l++) {
        uint64_t at = row * 1024 + s->concept[l];
        double v = 1 + sd_random_uniform(sd_key_make(17, SD_STREAM_TEST, 60), at);

        if (!chance(61, at, 0.03) || (s->half[l] != 0 && (int)(row % 2) + 1 != s->half[l]) || n == KIT_CODES)
            continue;
        v *= s->scale[l] * (1 + s->jitter * sd_random_uniform(sd_key_make(19, SD_STREAM_TEST, s->stream), at));
        latent[n] = (int32_t)l;
        value[n++] = (float)v;
    }
    return n;
}

static void direction(uint64_t concept, double *out, uint64_t width)
{
    double squares = 0;

    for (uint64_t k = 0; k < width; k++) {
        out[k] = noise(62, concept * WIDTH + k);
        squares += out[k] * out[k];
    }
    for (uint64_t k = 0; k < width; k++)
        out[k] /= sqrt(squares);
}

/* Decoder rows along the concepts, with noise of this length each. */
static void decode(const side *s, double length, float *rows, uint64_t width)
{
    double d[WIDTH];

    for (uint64_t l = 0; l < s->latents; l++) {
        direction(s->concept[l], d, width);
        for (uint64_t k = 0; k < width; k++)
            rows[l * width + k] = (float)(d[k] + length / sqrt((double)width) * noise(63 + s->stream, l * WIDTH + k));
    }
}

/* Adds a latent for a concept; its index. */
static uint64_t add(side *s, uint64_t concept, int half, double scale)
{
    s->concept[s->latents] = concept;
    s->half[s->latents] = half;
    s->scale[s->latents] = scale;
    return s->latents++;
}

static sd_status run(const kit *k, const sd_par *par, const char *const saes[2], const kit_codes *base, const kit_codes *tuned,
                     double min_cosine, uint64_t tile, sd_match **m)
{
    return sd_match_run(par,
                        &(sd_match_spec){.site = "site",
                                         .base_sae = saes[0],
                                         .tuned_sae = saes[1],
                                         .base_codes = base->list,
                                         .tuned_codes = tuned->list,
                                         .shards = KIT_SHARDS,
                                         .tokens = k->tokens,
                                         .min_cosine = min_cosine,
                                         .min_correlation = 0.5,
                                         .min_margin = 0.05,
                                         .seed = 23,
                                         .tile = tile},
                        m);
}

/* Collective. Writes both sides, matches them; *m on rank 0. */
static void match_sides(const kit *k, const side sides[2], const double lengths[2], uint64_t width, double min_cosine, sd_match **m)
{
    static float rows[MOST * WIDTH];
    static const char *const names[2] = {"base", "tuned"};
    char path[2][128];
    const char *saes[2] = {path[0], path[1]};
    kit_codes codes[2];

    for (int i = 0; i < 2; i++) {
        decode(&sides[i], lengths[i], rows, width);
        kit_decoder(k, i ? "sae-tuned" : "sae-base", rows, sides[i].latents, width, path[i]);
        kit_write(k, names[i], sides[i].latents, make, &sides[i], &codes[i]);
    }
    CHECK_OK(run(k, k->par, saes, &codes[0], &codes[1], min_cosine, 0, m));
    CHECK((*m != NULL) == (k->par->rank == 0));
}

static bool same_side(const sd_match_side *a, const sd_match_side *b)
{
    size_t n = a->latents * 8;

    return a->latents == b->latents && memcmp(a->count, b->count, n) == 0 && memcmp(a->mean, b->mean, n) == 0 &&
           memcmp(a->cosine, b->cosine, n) == 0 && memcmp(a->second_cosine, b->second_cosine, n) == 0 &&
           memcmp(a->correlation, b->correlation, n) == 0 &&
           memcmp(a->second_correlation, b->second_correlation, n) == 0 &&
           memcmp(a->cosine_with, b->cosine_with, n) == 0 && memcmp(a->correlation_with, b->correlation_with, n) == 0 &&
           memcmp(a->match, b->match, n) == 0 && memcmp(a->kind, b->kind, a->latents) == 0 &&
           memcmp(a->kinds, b->kinds, sizeof a->kinds) == 0 && memcmp(&a->unmatched, &b->unmatched, 8) == 0;
}

static void check_same(const sd_match *a, const sd_match *b)
{
    CHECK(same_side(&a->base, &b->base) && same_side(&a->tuned, &b->tuned) && a->pairs == b->pairs);
    CHECK(memcmp(&a->null_cosine, &b->null_cosine, 8) == 0 && memcmp(&a->null_correlation, &b->null_correlation, 8) == 0);
    CHECK(a->pairs_above_null == b->pairs_above_null && a->tokens == b->tokens && a->d_model == b->d_model);
    CHECK(strcmp(a->site, b->site) == 0 && a->min_cosine == b->min_cosine && a->min_margin == b->min_margin);
}

/* ---- brute force */

typedef struct dense {
    double *a, *b;
    const float *rows[2];
    uint64_t n[2];
} dense;

static double slow_cosine(const dense *d, uint64_t i, uint64_t j, uint64_t width)
{
    double ab = 0, aa = 0, bb = 0;

    for (uint64_t k = 0; k < width; k++) {
        double x = (double)d->rows[0][i * width + k], y = (double)d->rows[1][j * width + k];

        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    return ab / sqrt(aa * bb);
}

/* Two passes over the counted rows; NaN where a side fires too seldom. */
static double slow_correlation(const kit *k, const dense *d, uint64_t i, uint64_t j)
{
    double n = 0, ma = 0, mb = 0, ab = 0, aa = 0, bb = 0, fires[2] = {0, 0};

    for (int pass = 0; pass < 2; pass++)
        for (uint64_t r = 0; r < k->tokens->tokens; r++) {
            double x = d->a[r * d->n[0] + i], y = d->b[r * d->n[1] + j];

            if (!k->tokens->mask[r])
                continue;
            if (pass == 0) {
                n++;
                ma += x;
                mb += y;
                fires[0] += x > 0;
                fires[1] += y > 0;
            } else {
                ab += (x - ma / n) * (y - mb / n);
                aa += (x - ma / n) * (x - ma / n);
                bb += (y - mb / n) * (y - mb / n);
            }
        }
    return fires[0] < SD_MATCH_SUPPORT || fires[1] < SD_MATCH_SUPPORT ? (double)NAN : ab / sqrt(aa * bb);
}

/* The best and the second best of values [n], against what the side says. */
static void check_best(const double *values, uint64_t n, double first, double second, int64_t with)
{
    int64_t at = -1;
    double next = NAN;

    for (uint64_t j = 0; j < n; j++)
        if (!isnan(values[j]) && (at < 0 || values[j] > values[at]))
            at = (int64_t)j;
    for (uint64_t j = 0; j < n; j++)
        if (!isnan(values[j]) && (int64_t)j != at && !(values[j] <= next))
            next = values[j];
    CHECK(with == at);
    if (at < 0)
        CHECK(isnan(first) && isnan(second));
    else
        CHECK_NEAR(first, values[at], 1e-12);
    if (isnan(next))
        CHECK(isnan(second));
    else
        CHECK_NEAR(second, next, 1e-12);
}

static void check_against_brute_force(const kit *k, const dense *d, const sd_match *m, uint64_t width)
{
    for (int tuned = 0; tuned < 2; tuned++) {
        const sd_match_side *s = tuned ? &m->tuned : &m->base;

        for (uint64_t i = 0; i < d->n[tuned]; i++) {
            double cosine[MOST], correlation[MOST];

            for (uint64_t j = 0; j < d->n[!tuned]; j++) {
                cosine[j] = tuned ? slow_cosine(d, j, i, width) : slow_cosine(d, i, j, width);
                correlation[j] = tuned ? slow_correlation(k, d, j, i) : slow_correlation(k, d, i, j);
            }
            check_best(cosine, d->n[!tuned], s->cosine[i], s->second_cosine[i], s->cosine_with[i]);
            check_best(correlation, d->n[!tuned], s->correlation[i], s->second_correlation[i], s->correlation_with[i]);
        }
    }
}

/* Odd sizes, one base latent that never fires, more ranks than some shares; the same bits as one rank alone, and through the file. */
static void test_brute_force(const kit *k)
{
    enum { B = 13, T = 19, W = 5 };
    sd_par alone = {.comm = MPI_COMM_SELF, .rank = 0, .size = 1, .node_rank = 0, .node_size = 1};
    static side sides[2];
    static float rows[2][MOST * WIDTH];
    sd_match *m = NULL, *one = NULL, *read = NULL;
    kit_codes codes[2];
    char path[3][128];
    const char *saes[2] = {path[0], path[1]};
    dense d = {NULL, NULL, {rows[0], rows[1]}, {B, T}};

    for (uint64_t l = 0; l < B; l++)
        add(&sides[0], l * 3 % 17, l == 4 ? 3 : 0, 1);
    for (uint64_t l = 0; l < T; l++)
        add(&sides[1], l * 5 % 23, 0, 1);
    sides[0].jitter = sides[1].jitter = 0.7;
    sides[1].stream = 1;
    for (int i = 0; i < 2; i++) {
        decode(&sides[i], 1, rows[i], W);
        kit_decoder(k, i ? "brute-tuned" : "brute-base", rows[i], sides[i].latents, W, path[i]);
        kit_write(k, i ? "brute1" : "brute0", sides[i].latents, make, &sides[i], &codes[i]);
    }
    CHECK_OK(run(k, k->par, saes, &codes[0], &codes[1], 0.7, 0, &m));
    if (m == NULL)
        return;
    d.a = kit_dense(k, B, make, &sides[0]);
    d.b = kit_dense(k, T, make, &sides[1]);
    check_against_brute_force(k, &d, m, W);
    CHECK(m->base.kind[4] == SD_MATCH_SILENT && m->base.correlation_with[4] == -1);
    for (uint64_t tile = 0; tile < 100; tile += 40) {
        CHECK_OK(run(k, &alone, saes, &codes[0], &codes[1], 0.7, tile, &one));
        if (one != NULL)
            check_same(m, one);
        sd_match_destroy(&one);
    }
    snprintf(path[2], sizeof path[2], "%s/match.h5", k->folder);
    CHECK_OK(sd_match_write(m, path[2]));
    CHECK_OK(sd_match_read(&read, path[2]));
    if (read != NULL)
        check_same(m, read);
    sd_free(d.a);
    sd_free(d.b);
    sd_match_destroy(&m);
    sd_match_destroy(&read);
}

/* ---- what it is for */

static void test_permuted_copy_is_recovered(const kit *k)
{
    enum { N = 101 };
    static side sides[2];
    const double lengths[2] = {0, 0.4};
    sd_match *m = NULL;

    for (uint64_t l = 0; l < N; l++)
        add(&sides[0], l, 0, 1);
    for (uint64_t l = 0; l < N; l++)
        add(&sides[1], l * 37 % N, 0, 1);
    sides[1].jitter = 0.3;
    sides[1].stream = 2;
    match_sides(k, sides, lengths, WIDTH, 0.7, &m);
    if (m == NULL)
        return;
    for (uint64_t l = 0; l < N; l++) {
        CHECK(m->tuned.match[l] == (int64_t)(l * 37 % N) && m->base.match[l * 37 % N] == (int64_t)l);
        CHECK(m->tuned.kind[l] == SD_MATCH_PAIR);
    }
    CHECK(m->pairs == N && m->pairs_above_null == N && m->base.unmatched == 0 && m->tuned.unmatched == 0);
    CHECK(m->null_cosine > 0.2 && m->null_cosine < 0.7 && m->null_correlation < 0.5);
    sd_match_destroy(&m);
}

static void test_identical_saes_match_by_index(const kit *k)
{
    enum { N = 90 };
    static side sides[2];
    const double lengths[2] = {0.5, 0.5};
    sd_match *m = NULL;

    for (uint64_t l = 0; l < N; l++)
        add(&sides[0], l, 0, 1);
    sides[1] = sides[0];
    match_sides(k, sides, lengths, WIDTH, 0.7, &m);
    if (m == NULL)
        return;
    for (uint64_t l = 0; l < N; l++)
        CHECK(m->base.match[l] == (int64_t)l && m->tuned.match[l] == (int64_t)l && fabs(m->base.correlation[l] - 1) < 1e-14);
    CHECK(m->pairs == N);
    sd_match_destroy(&m);
}

/* Other directions, and activations that have nothing to do with one another. */
static void test_strangers_are_refused(const kit *k)
{
    enum { B = 80, T = 97 };
    static side sides[2];
    const double lengths[2] = {0, 0};
    sd_match *m = NULL;

    for (uint64_t l = 0; l < B; l++)
        add(&sides[0], l, 0, 1);
    for (uint64_t l = 0; l < T; l++)
        add(&sides[1], 500 + l, 0, 1);
    match_sides(k, sides, lengths, WIDTH, 0.7, &m);
    if (m == NULL)
        return;
    CHECK(m->pairs == 0 && m->base.unmatched == 1 && m->tuned.unmatched == 1);
    CHECK(m->base.kinds[SD_MATCH_EXCLUSIVE] == B && m->tuned.kinds[SD_MATCH_EXCLUSIVE] == T);
    sd_match_destroy(&m);
}

/* Planted truth: d 64, 256 base latents, 10 of each change; labels over both sides. */
enum truth { SHARED, EXCLUSIVE, SCALED, SPLIT, ROTATED, TRUTHS };

static enum truth label_of(const sd_match_side *s, const sd_match_side *other, uint64_t l)
{
    switch ((sd_match_kind)s->kind[l]) {
    case SD_MATCH_PAIR: {
        double ratio = log2(s->mean[l] / other->mean[s->match[l]]);

        return fabs(ratio) > 1 ? SCALED : SHARED;
    }
    case SD_MATCH_EXCLUSIVE:
        return EXCLUSIVE;
    case SD_MATCH_SPLIT:
        return SPLIT;
    case SD_MATCH_ROTATED:
        return ROTATED;
    case SD_MATCH_SILENT:
    case SD_MATCH_UNCLEAR:
    case SD_MATCH_KINDS:
        break;
    }
    return TRUTHS;
}

static void count_labels(const sd_match_side *s, const sd_match_side *other, const enum truth *truth, int table[TRUTHS][TRUTHS + 1])
{
    for (uint64_t l = 0; l < s->latents; l++)
        table[truth[l]][label_of(s, other, l)]++;
}

/* Turns the decoder row by 45°: its own direction and one of no concept, equally. */
static void turn(float *row, uint64_t l)
{
    double d[WIDTH], dot = 0, squares = 0, length = 0;

    direction(700 + l, d, WIDTH);
    for (uint64_t k = 0; k < WIDTH; k++) {
        dot += d[k] * (double)row[k];
        length += (double)row[k] * (double)row[k];
    }
    for (uint64_t k = 0; k < WIDTH; k++) {
        d[k] -= dot / length * (double)row[k];
        squares += d[k] * d[k];
    }
    for (uint64_t k = 0; k < WIDTH; k++)
        row[k] = (float)((double)row[k] / sqrt(length) + d[k] / sqrt(squares));
}

static void test_planted_truth(const kit *k)
{
    enum { EACH = 10, SAME = 206 };
    static const char *const words[TRUTHS] = {"shared", "exclusive", "scaled", "split", "rotated"};
    static side sides[2];
    static enum truth truth[2][MOST];
    static float rows[2][MOST * WIDTH];
    int table[TRUTHS][TRUTHS + 1] = {{0}};
    char path[2][128];
    const char *saes[2] = {path[0], path[1]};
    kit_codes codes[2];
    sd_match *m = NULL;

    for (uint64_t c = 0; c < SAME; c++)
        for (int i = 0; i < 2; i++)
            truth[i][add(&sides[i], c, 0, 1)] = SHARED;
    for (uint64_t c = SAME; c < SAME + EACH; c++) {
        truth[0][add(&sides[0], c, 0, 1)] = EXCLUSIVE;
        truth[1][add(&sides[1], c + 100, 0, 1)] = EXCLUSIVE;
        truth[0][add(&sides[0], c + 200, 0, 0.15)] = SCALED;
        truth[1][add(&sides[1], c + 200, 0, 1)] = SCALED;
        truth[0][add(&sides[0], c + 300, 1, 1)] = SPLIT;
        truth[0][add(&sides[0], c + 300, 2, 1)] = SPLIT;
        truth[1][add(&sides[1], c + 300, 0, 1)] = SPLIT;
        truth[0][add(&sides[0], c + 400, 0, 1)] = ROTATED;
        truth[1][add(&sides[1], c + 400, 0, 1)] = ROTATED;
    }
    CHECK(sides[0].latents == 256 && sides[1].latents == 246);
    sides[0].jitter = sides[1].jitter = 0.3;
    sides[1].stream = 4;
    for (int i = 0; i < 2; i++) {
        decode(&sides[i], 0.25, rows[i], WIDTH);
        for (uint64_t l = 0; i == 1 && l < sides[1].latents; l++)
            if (truth[1][l] == ROTATED)
                turn(rows[1] + l * WIDTH, l);
        kit_decoder(k, i ? "planted-tuned" : "planted-base", rows[i], sides[i].latents, WIDTH, path[i]);
        kit_write(k, i ? "planted1" : "planted0", sides[i].latents, make, &sides[i], &codes[i]);
    }
    CHECK_OK(run(k, k->par, saes, &codes[0], &codes[1], 0.8, 0, &m));
    if (m == NULL)
        return;
    count_labels(&m->base, &m->tuned, truth[0], table);
    count_labels(&m->tuned, &m->base, truth[1], table);
    for (int t = 0; t < TRUTHS; t++) {
        int planted = 0, labelled = 0;

        for (int other = 0; other < TRUTHS; other++)
            labelled += table[other][t];
        for (int label = 0; label <= TRUTHS; label++)
            planted += table[t][label];
        printf("%-9s precision %.3f  recall %.3f  (%d planted, %d labelled)\n", words[t], (double)table[t][t] / labelled,
               (double)table[t][t] / planted, planted, labelled);
        CHECK(table[t][t] >= 0.9 * labelled && table[t][t] >= 0.9 * planted);
    }
    sd_match_destroy(&m);
}

static void test_refusals(const kit *k)
{
    static side s;
    static float rows[MOST * WIDTH];
    kit_codes codes, other;
    char path[3][128];
    const char *saes[2] = {path[0], path[1]};
    sd_match *m = NULL;

    for (uint64_t l = 0; l < 9; l++)
        add(&s, l, 0, 1);
    decode(&s, 0, rows, 6);
    kit_decoder(k, "refuse6", rows, 9, 6, path[0]);
    kit_decoder(k, "refuse3", rows, 9, 3, path[1]);
    kit_decoder(k, "refuse8", rows, 8, 6, path[2]);
    kit_write(k, "refuse", 9, make, &s, &codes);
    CHECK_FAILS(run(k, k->par, saes, &codes, &codes, 0.7, 0, &m), SD_E_DATA, "belong to different sites");
    saes[1] = path[2];
    CHECK_FAILS(run(k, k->par, saes, &codes, &codes, 0.7, 0, &m), SD_E_DATA, "codes of 9 latents, the SAE 8");
    saes[1] = path[0];
    other = codes;
    for (int i = 0; i < KIT_SHARDS; i++)
        other.list[i] = codes.list[i == 1 ? 2 : i];
    CHECK_FAILS(run(k, k->par, saes, &codes, &other, 0.7, 0, &m), SD_E_DATA, "run encode with --fresh");
    CHECK(m == NULL);
}

int main(int argc, char **argv)
{
    uint64_t lengths[DOCS];
    sd_par par;
    kit k;

    if (sd_par_begin(&par, &argc, &argv) != SD_OK)
        return 1;
    for (uint64_t d = 0; d < DOCS; d++)
        lengths[d] = LENGTH + d % 7 - 3;
    kit_begin(&k, &par, lengths, DOCS);
    test_brute_force(&k);
    test_permuted_copy_is_recovered(&k);
    test_identical_saes_match_by_index(&k);
    test_strangers_are_refused(&k);
    test_planted_truth(&k);
    test_refusals(&k);
    kit_end(&k);
    sd_par_end(&par);
    return TEST_RESULT();
}
