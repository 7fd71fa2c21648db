/* Comparisons of small synthetic codes, at any number of ranks. */
#include "saediff/diff/diff.h"

#include <dirent.h>
#include <unistd.h>

#include "check.h"
#include "saediff/core/random.h"
#include "saediff/core/str.h"
#include "saediff/store/codes.h"

enum { LATENTS = 11, K = 3, D = 5, DOCS = 9, SHARDS = 5, ROWS = 97 };

/* Documents cross shards, one shard is a single row, one document spans three shards. */
static const uint64_t doc_start[DOCS + 1] = {0, 1, 13, 14, 50, 51, 60, 80, 96, ROWS};
static const uint64_t shard_start[SHARDS + 1] = {0, 17, 18, 40, 80, ROWS};

typedef struct fixture {
    const sd_par *par;
    sd_manifest *manifest;
    sd_tokens *tokens;
    char folder[64];
    char path[3][SHARDS][128]; /* base, tuned, other */
    const char *list[3][SHARDS];
} fixture;

/* Code c of row r: latent LATENTS−1 never fires, LATENTS−2 in the tuned model only, LATENTS−3 in the base only. */
static uint64_t codes_of(int model, uint64_t r, int32_t *latent, float *value)
{
    sd_key key = sd_key_make(31 + (uint64_t)model, SD_STREAM_TEST, 5);
    uint64_t count = sd_random_u64(key, r) % K, n = 0;

    for (uint64_t c = 0; c < count; c++) {
        latent[n] = (int32_t)(4 * c + sd_random_u64(key, 1000 + r * K + c) % 4);
        value[n++] = (float)(sd_random_uniform(key, 5000 + r * K + c) + 0.125) * (float)(r + 1);
    }
    if (r % 7 == 2) {
        latent[n] = model == 0 ? LATENTS - 3 : LATENTS - 2;
        value[n++] = 1.5F;
    }
    return n;
}

static double component(int model, uint64_t r, int i)
{
    return 10.0 * (i + 1) + sd_random_normal(sd_key_make(77 + (uint64_t)model, SD_STREAM_TEST, 6), r * D + (uint64_t)i);
}

static double row_error(int model, uint64_t r)
{
    return 0.1 + sd_random_uniform(sd_key_make(99 + (uint64_t)model, SD_STREAM_TEST, 7), r);
}

static bool is_counted(uint64_t r)
{
    return r % 5 != 0 && !(r >= 51 && r < 60);
}

static void make_tokens(fixture *f)
{
    CHECK_OK(sd_tokens_create(&f->tokens, DOCS, ROWS));
    memcpy(f->tokens->doc_start, doc_start, sizeof doc_start);
    for (uint64_t r = 0; r < ROWS; r++)
        f->tokens->mask[r] = is_counted(r);
}

/* The rows of this rank of one shard; `latents` the shard claims. */
static sd_status write_shard(fixture *f, int which, int model, uint64_t s, uint64_t latents)
{
    uint64_t first = shard_start[s], rows = shard_start[s + 1] - first, row_start[ROWS + 1] = {0};
    sd_span mine = sd_par_split(rows, f->par->rank, f->par->size);
    int32_t latent[ROWS * (K + 1)];
    float value[ROWS * (K + 1)];
    double sse[ROWS];
    sd_moments m;
    sd_codes whole = {.first_row = first, .rows = rows, .n_latents = latents, .d_model = D, .k = K};
    sd_codes_part part = {mine, row_start, latent, value, sse, NULL, NULL};
    sd_status st;

    CHECK_OK(sd_moments_create(&m, D));
    for (uint64_t r = first; r < first + rows; r++) {
        double x[D];

        for (int i = 0; i < D; i++)
            x[i] = component(model, r, i);
        if (is_counted(r))
            sd_moments_add(&m, x);
    }
    whole.evaluated = m.n;
    part.mean = m.mean;
    part.m2 = m.m2;
    for (uint64_t i = 0; i < mine.count; i++) {
        uint64_t r = first + mine.first + i;

        row_start[i + 1] = row_start[i] + codes_of(model, r, latent + row_start[i], value + row_start[i]);
        sse[i] = row_error(model, r);
    }
    snprintf(f->path[which][s], sizeof f->path[which][s], "%s/codes%d.%d.h5", f->folder, which, (int)s);
    f->list[which][s] = f->path[which][s];
    st = sd_codes_write(f->par, f->manifest, f->path[which][s], "key", &whole, "sae", &part, SD_OK);
    sd_moments_free(&m);
    return st;
}

static void check_side(const sd_diff_side *side, int model, uint64_t evaluated)
{
    uint64_t count[LATENTS] = {0}, codes = 0, dead = 0;
    double sum[LATENTS] = {0}, sum2[LATENTS] = {0}, max[LATENTS] = {0}, mean[D] = {0}, spread = 0, sse = 0;

    for (uint64_t r = 0; r < ROWS; r++) {
        int32_t latent[K + 1];
        float value[K + 1];
        uint64_t n = codes_of(model, r, latent, value);

        for (uint64_t c = 0; is_counted(r) && c < n; c++) {
            double v = (double)value[c];

            count[latent[c]]++;
            sum[latent[c]] += v;
            sum2[latent[c]] += v * v;
            max[latent[c]] = v > max[latent[c]] ? v : max[latent[c]];
            codes++;
        }
        for (int i = 0; is_counted(r) && i < D; i++)
            mean[i] += component(model, r, i) / (double)evaluated;
        sse += is_counted(r) ? row_error(model, r) : 0;
    }
    for (uint64_t r = 0; r < ROWS; r++)
        for (int i = 0; is_counted(r) && i < D; i++)
            spread += (component(model, r, i) - mean[i]) * (component(model, r, i) - mean[i]);
    for (int l = 0; l < LATENTS; l++) {
        CHECK(side->sums.count[l] == count[l] && side->sums.max[l] == max[l]);
        CHECK_NEAR(side->sums.sum[l], sum[l], 1e-12 * sum[l]);
        CHECK_NEAR(side->sums.sum2[l], sum2[l], 1e-12 * sum2[l]);
        dead += count[l] == 0;
    }
    CHECK(side->dead == dead && dead >= 2 && side->sums.rows == evaluated);
    CHECK_NEAR(side->sse, sse, 1e-12 * sse);
    CHECK_NEAR(side->spread, spread, 1e-10 * spread);
    CHECK_NEAR(side->ev, 1 - sse / spread, 1e-10);
    CHECK_NEAR(side->l0, (double)codes / (double)evaluated, 1e-14);
}

static void check_changes(const sd_diff *d)
{
    double n = (double)d->tokens;

    for (int l = 0; l < LATENTS; l++) {
        double b = d->base.sums.sum[l], f = d->tuned.sums.sum[l];
        double nb = (double)d->base.sums.count[l], nf = (double)d->tuned.sums.count[l];

        CHECK_NEAR(d->d_frequency[l], (nf - nb) / n, 1e-15);
        CHECK_NEAR(d->d_mean[l], (f - b) / n, 1e-12);
        CHECK_NEAR(d->frequency_part[l] + d->magnitude_part[l], d->d_mean[l], 1e-12);
        if (nb > 0 && nf > 0)
            CHECK_NEAR(d->d_active_mean[l], f / nf - b / nb, 1e-12);
        else
            CHECK(isnan(d->d_active_mean[l]));
    }
    CHECK(d->d_mean[LATENTS - 1] == 0 && d->d_frequency[LATENTS - 1] == 0 && d->base.sums.count[LATENTS - 1] == 0);
    CHECK(d->base.sums.count[LATENTS - 2] == 0 && d->tuned.sums.count[LATENTS - 2] > 0);
}

static bool same_bits(const void *a, const void *b, size_t words)
{
    return memcmp(a, b, 8 * words) == 0;
}

static void check_same(const sd_diff *a, const sd_diff *b)
{
    CHECK(strcmp(a->site, b->site) == 0 && a->latents == b->latents && a->k == b->k && a->tokens == b->tokens &&
          a->docs == b->docs);
    for (int tuned = 0; tuned < 2; tuned++) {
        const sd_diff_side *x = tuned ? &a->tuned : &a->base, *y = tuned ? &b->tuned : &b->base;

        CHECK(same_bits(x->sums.count, y->sums.count, LATENTS) && same_bits(x->sums.sum, y->sums.sum, LATENTS));
        CHECK(same_bits(x->sums.sum2, y->sums.sum2, LATENTS) && same_bits(x->sums.max, y->sums.max, LATENTS));
        CHECK(same_bits(&x->ev, &y->ev, 1) && same_bits(&x->l0, &y->l0, 1) && same_bits(&x->sse, &y->sse, 1));
        CHECK(same_bits(&x->spread, &y->spread, 1) && x->dead == y->dead && x->sums.rows == y->sums.rows);
    }
    CHECK(same_bits(a->d_frequency, b->d_frequency, LATENTS) && same_bits(a->d_mean, b->d_mean, LATENTS));
    CHECK(same_bits(a->d_active_mean, b->d_active_mean, LATENTS));
    CHECK(same_bits(a->frequency_part, b->frequency_part, LATENTS));
    CHECK(same_bits(a->magnitude_part, b->magnitude_part, LATENTS));
}

static sd_status run(const fixture *f, const sd_par *par, int base, int tuned, uint64_t shards, sd_diff **diff)
{
    sd_diff_spec spec = {.site = "blocks.1.hook_resid_post",
                         .base_codes = f->list[base],
                         .tuned_codes = f->list[tuned],
                         .shards = shards,
                         .tokens = f->tokens,
                         .seed = 7,
                         .flips = 100};
    sd_status st = sd_diff_run(par, &spec, diff);

    CHECK((*diff != NULL) == (st == SD_OK && par->rank == 0));
    return st;
}

/* Against naive sums, against one rank alone to the bit, and through its file. */
static void test_comparison(const fixture *f)
{
    sd_par alone = {.comm = MPI_COMM_SELF, .rank = 0, .size = 1, .node_rank = 0, .node_size = 1};
    sd_diff *d = NULL, *one = NULL, *read = NULL;
    uint64_t evaluated = 0;
    char path[128];

    for (uint64_t r = 0; r < ROWS; r++)
        evaluated += is_counted(r);
    CHECK_OK(run(f, f->par, 0, 1, SHARDS, &d));
    if (d == NULL)
        return;
    CHECK(d->tokens == evaluated && d->latents == LATENTS && d->k == K && strcmp(d->site, "blocks.1.hook_resid_post") == 0);
    CHECK(d->docs == 6); /* documents 0, 4 and 5 have no counted token */
    check_side(&d->base, 0, evaluated);
    check_side(&d->tuned, 1, evaluated);
    check_changes(d);
    CHECK_OK(run(f, &alone, 0, 1, SHARDS, &one));
    check_same(d, one);
    snprintf(path, sizeof path, "%s/diff.h5", f->folder);
    CHECK_OK(sd_diff_write(d, path));
    CHECK_OK(sd_diff_read(&read, path));
    if (read != NULL)
        check_same(d, read);
    CHECK(remove(path) == 0);
    CHECK_FAILS(sd_diff_read(&read, path), SD_E_DATA, "diff.h5");
    CHECK(read == NULL);
    sd_diff_destroy(&d);
    sd_diff_destroy(&one);
}

/* A positive zero: a negative one would print as "-0". */
static bool is_plain_zero(double x)
{
    return x == 0 && !signbit(x);
}

static void test_equal_models_differ_by_nothing(const fixture *f)
{
    sd_diff *d = NULL;

    CHECK_OK(run(f, f->par, 0, 0, SHARDS, &d));
    if (d == NULL)
        return;
    for (int l = 0; l < LATENTS; l++) {
        CHECK(is_plain_zero(d->d_frequency[l]) && is_plain_zero(d->d_mean[l]));
        CHECK(is_plain_zero(d->frequency_part[l]) && is_plain_zero(d->magnitude_part[l]));
        CHECK(d->base.sums.count[l] > 0 ? is_plain_zero(d->d_active_mean[l]) : isnan(d->d_active_mean[l]));
    }
    CHECK(d->base.ev == d->tuned.ev && d->base.l0 == d->tuned.l0 && d->base.dead == d->tuned.dead);
    sd_diff_destroy(&d);
}

static void test_refusals(fixture *f)
{
    sd_diff *d = NULL;
    const char *first = f->list[0][0];

    CHECK_FAILS(run(f, f->par, 0, 1, SHARDS - 1, &d), SD_E_DATA, "cover 80 of 97");
    CHECK_FAILS(run(f, f->par, 0, 2, SHARDS, &d), SD_E_DATA, "different SAEs: 11 and 12 latents");
    f->list[0][0] = f->list[0][1];
    CHECK_FAILS(run(f, f->par, 0, 1, SHARDS, &d), SD_E_DATA, "run encode with --fresh");
    f->list[0][0] = first;
    f->tokens->mask[1] = !f->tokens->mask[1];
    CHECK_FAILS(run(f, f->par, 0, 1, SHARDS, &d), SD_E_DATA, "evaluated rows");
    f->tokens->mask[1] = !f->tokens->mask[1];
}

static void remove_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    char path[512];

    CHECK(dir != NULL);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        snprintf(path, sizeof path, "%s/%.255s", folder, entry->d_name);
        if (entry->d_name[0] != '.')
            CHECK(remove(path) == 0);
    }
    if (dir != NULL)
        closedir(dir);
    CHECK(rmdir(folder) == 0);
}

int main(int argc, char **argv)
{
    sd_par par;
    fixture f = {.par = &par};

    if (sd_par_begin(&par, &argc, &argv) != SD_OK)
        return 1;
    strcpy(f.folder, "/tmp/saediff-diff-XXXXXX");
    if (par.rank == 0)
        CHECK(mkdtemp(f.folder) != NULL);
    CHECK_OK(sd_par_bcast(&par, f.folder, sizeof f.folder, 0));
    CHECK_OK(sd_manifest_open(&f.manifest, &par, f.folder));
    make_tokens(&f);
    for (uint64_t s = 0; s < SHARDS; s++) {
        CHECK_OK(write_shard(&f, 0, 0, s, LATENTS));
        CHECK_OK(write_shard(&f, 1, 1, s, LATENTS));
        CHECK_OK(write_shard(&f, 2, 1, s, LATENTS + 1));
    }
    test_comparison(&f);
    test_equal_models_differ_by_nothing(&f);
    test_refusals(&f);
    sd_tokens_destroy(&f.tokens);
    sd_manifest_close(&f.manifest);
    CHECK_OK(sd_par_agree(&par, SD_OK));
    if (par.rank == 0)
        remove_folder(f.folder);
    sd_par_end(&par);
    return TEST_RESULT();
}
