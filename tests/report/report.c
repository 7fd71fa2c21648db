/* Pages of small synthetic comparisons: what is printed equals what was compared. */
#include "saediff/report/report.h"

#include <unistd.h>

#include "check.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"

enum { LATENTS = 40, TOKENS = 900, DOCS = 6, TOP = 5 };

static char folder[64];

/* Latent 0 fires never, 1 in the tuned model only, 2 in the base only, 3 too rarely for a list. */
static uint64_t count_of(int tuned, uint64_t l)
{
    sd_key key = sd_key_make(3 + (uint64_t)tuned, SD_STREAM_TEST, 8);

    if (l == 0 || (l == 1 && !tuned) || (l == 2 && tuned))
        return 0;
    return l == 3 ? 9 : 11 + sd_random_u64(key, l) % 500;
}

static double sum_of(int tuned, uint64_t l)
{
    return (double)count_of(tuned, l) * (0.5 + sd_random_uniform(sd_key_make(5 + (uint64_t)tuned, SD_STREAM_TEST, 9), l));
}

static void fill_side(sd_diff *d, sd_diff_side *side, int model)
{
    uint64_t codes = 0;

    CHECK_OK(sd_latent_sums_create(&side->sums, LATENTS));
    side->sums.rows = TOKENS;
    for (uint64_t l = 0; l < LATENTS; l++) {
        side->sums.count[l] = count_of(model, l);
        side->sums.sum[l] = sum_of(model, l);
        side->sums.sum2[l] = 1.25 * sum_of(model, l);
        side->sums.max[l] = count_of(model, l) ? 2.5 : 0;
        side->dead += count_of(model, l) == 0;
        codes += count_of(model, l);
    }
    side->l0 = (double)codes / (double)d->tokens;
    side->spread = 1000;
    side->sse = model ? 300 : 125;
    side->ev = sd_explained_variance(side->sse, side->spread);
    CHECK_OK(SD_NEW(&side->compat_count, LATENTS));
    CHECK_OK(SD_NEW(&side->compat_sum, LATENTS));
    for (uint64_t l = 0; l < LATENTS; l++) {
        side->compat_count[l] = count_of(model, l) + (l == 4 ? 2 : 0);
        side->compat_sum[l] = sum_of(model, l) + (l == 4 ? 3 : 0);
    }
    side->compat_error_norm = model ? 6 : 4;
}

static void new_f64(double **array)
{
    CHECK_OK(SD_NEW(array, LATENTS));
}

/* Half A sees 0.9 of a change, half B 0.8 of it; se is a tenth of the change. */
static void fill_parts(sd_diff *d)
{
    for (int i = 0; i < SD_DIFF_PARTS; i++) {
        sd_diff_part *part = &d->part[i];
        sd_diff_effect *effects[] = {&part->value, &part->frequency};

        part->docs = i == SD_DIFF_ALL ? DOCS : DOCS / 2;
        part->tokens = i == SD_DIFF_ALL ? TOKENS : TOKENS / 2;
        part->quantile = 2.5;
        for (int e = 0; e < 2; e++) {
            const double *change = e ? d->d_frequency : d->d_mean;

            new_f64(&effects[e]->mean);
            new_f64(&effects[e]->se);
            new_f64(&effects[e]->t);
            new_f64(&effects[e]->p);
            new_f64(&effects[e]->q);
            for (uint64_t l = 0; l < LATENTS; l++) {
                effects[e]->mean[l] = (1 - 0.1 * i) * change[l];
                effects[e]->se[l] = 0.1 * fabs(change[l]);
                effects[e]->t[l] = change[l] == 0 ? 0 : 10;
                effects[e]->p[l] = change[l] == 0 ? 1 : 0.001;
                effects[e]->q[l] = change[l] == 0 ? 1 : 0.002;
            }
        }
    }
    CHECK_OK(SD_NEW(&d->only_base, LATENTS));
    CHECK_OK(SD_NEW(&d->only_tuned, LATENTS));
    new_f64(&d->mcnemar_p);
    new_f64(&d->mcnemar_q);
    new_f64(&d->d_z);
    new_f64(&d->log2_ratio);
    new_f64(&d->maxt_p);
    for (uint64_t l = 0; l < LATENTS; l++) {
        d->only_base[l] = l;
        d->only_tuned[l] = 2 * l;
        d->mcnemar_p[l] = 0.25;
        d->mcnemar_q[l] = 0.5;
        d->maxt_p[l] = (double)NAN;
        d->tested += sd_diff_is_tested(d, l);
    }
    d->fvu_ratio = (1 - d->tuned.ev) / (1 - d->base.ev);
}

/* model 0 and 1 differ; tuned == 0 compares a model with itself. */
static sd_diff *make_diff(const char *site, uint64_t k, int tuned)
{
    sd_diff *d = NULL;

    CHECK_OK(SD_NEW(&d, 1));
    CHECK_OK(sd_str_copy(&d->site, site));
    d->latents = LATENTS;
    d->k = k;
    d->tokens = TOKENS;
    d->docs = DOCS;
    d->compat_tokens = TOKENS + DOCS;
    fill_side(d, &d->base, 0);
    fill_side(d, &d->tuned, tuned);
    CHECK_OK(SD_NEW(&d->d_frequency, LATENTS));
    CHECK_OK(SD_NEW(&d->d_mean, LATENTS));
    CHECK_OK(SD_NEW(&d->d_active_mean, LATENTS));
    CHECK_OK(SD_NEW(&d->frequency_part, LATENTS));
    CHECK_OK(SD_NEW(&d->magnitude_part, LATENTS));
    for (uint64_t l = 0; l < LATENTS; l++) {
        uint64_t nb = d->base.sums.count[l], nf = d->tuned.sums.count[l];
        double b = d->base.sums.sum[l], f = d->tuned.sums.sum[l];

        d->d_frequency[l] = (double)nf / TOKENS - (double)nb / TOKENS;
        d->d_mean[l] = f / TOKENS - b / TOKENS;
        d->d_active_mean[l] = nb && nf ? f / (double)nf - b / (double)nb : (double)NAN;
        sd_change_parts(TOKENS, nb, b, nf, f, &d->frequency_part[l], &d->magnitude_part[l]);
    }
    fill_parts(d);
    return d;
}

static sd_tokens *make_tokens(void)
{
    sd_tokens *t = NULL;

    CHECK_OK(sd_tokens_create(&t, DOCS, TOKENS + DOCS));
    for (uint64_t d = 0; d < DOCS; d++) {
        t->doc_start[d] = d * (TOKENS + DOCS) / DOCS;
        t->doc_source[d] = d % 2;
    }
    for (uint64_t d = 0; d < DOCS; d++)
        for (uint64_t r = t->doc_start[d]; r < t->doc_start[d + 1]; r++)
            t->mask[r] = r > t->doc_start[d];
    CHECK_OK(sd_str_copy(&t->sources, "[\"news | \\\"x\\\"\",\"a*b_<c>\\n\"]"));
    strcpy(t->text_sha256, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    strcpy(t->tokenizer_sha256, t->text_sha256);
    t->context = 128;
    return t;
}

/* Writes the report, gives back one file of it, and removes all. */
static char *write_report(const sd_report_spec *spec, const char *want)
{
    char **files = NULL, *text = NULL;
    uint64_t count = 0, size;

    CHECK_OK(sd_report_write(spec, &files, &count));
    CHECK(count == spec->n_diffs + 3 + (spec->n_detections > 0));
    for (uint64_t i = 0; i < count; i++) {
        char *path = NULL;

        CHECK_OK(sd_path_join(&path, spec->folder, files[i]));
        if (strcmp(files[i], want) == 0)
            CHECK_OK(sd_file_read(path, 1 << 24, &text, &size));
        CHECK_OK(sd_file_remove(path));
        sd_free(path);
        sd_free(files[i]);
    }
    sd_free(files);
    CHECK(rmdir(spec->folder) == 0);
    if (text == NULL)
        fprintf(stderr, "no file %s\n", want);
    CHECK(text != NULL);
    return text;
}

static bool same_number(const cJSON *item, double want)
{
    if (isnan(want))
        return cJSON_IsNull(item);
    return cJSON_IsNumber(item) && item->valuedouble == want;
}

static const cJSON *get(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    if (item == NULL)
        fprintf(stderr, "no member %s\n", key);
    return item;
}

static void check_row(const sd_diff *d, const cJSON *row)
{
    uint64_t l = (uint64_t)get(row, "latent")->valuedouble;
    const cJSON *change = get(row, "change");

    for (int tuned = 0; tuned < 2; tuned++) {
        const sd_latent_sums *s = tuned ? &d->tuned.sums : &d->base.sums;
        const cJSON *side = get(row, tuned ? "tuned" : "base");

        CHECK(same_number(get(side, "count"), (double)s->count[l]));
        CHECK(same_number(get(side, "frequency"), (double)s->count[l] / TOKENS));
        CHECK(same_number(get(side, "mean"), s->sum[l] / TOKENS));
        CHECK(same_number(get(side, "active_mean"), s->count[l] ? s->sum[l] / (double)s->count[l] : (double)NAN));
    }
    CHECK(same_number(get(change, "frequency"), d->d_frequency[l]));
    CHECK(same_number(get(change, "mean"), d->d_mean[l]));
    CHECK(same_number(get(change, "active_mean"), d->d_active_mean[l]));
    CHECK(same_number(get(change, "frequency_part"), d->frequency_part[l]));
    CHECK(same_number(get(change, "magnitude_part"), d->magnitude_part[l]));
    CHECK(same_number(get(get(row, "effect"), "value"), d->part[SD_DIFF_ESTIMATION].value.mean[l]));
    CHECK(same_number(get(get(row, "effect"), "low"),
                      d->part[SD_DIFF_ESTIMATION].value.mean[l] - 2.5 * d->part[SD_DIFF_ESTIMATION].value.se[l]));
    CHECK(same_number(get(get(row, "effect"), "n_documents"), DOCS / 2));
    CHECK(same_number(get(row, "q"), d->part[SD_DIFF_ALL].value.q[l]));
    CHECK(cJSON_IsNull(get(row, "maxt_p")));
    CHECK(d->base.sums.count[l] + d->tuned.sums.count[l] >= 20);
}

/* Rows of a list by falling `sign` · d_mean; the first is the largest there is. */
static void check_list(const sd_diff *d, const cJSON *list, double sign)
{
    const cJSON *row;
    double before = INFINITY, largest = 0;
    int rows = 0;

    for (uint64_t l = 0; l < LATENTS; l++)
        largest = l != 3 && sign * d->d_mean[l] > largest ? sign * d->d_mean[l] : largest;
    cJSON_ArrayForEach(row, get(list, "rows")) {
        double now = sign * d->d_mean[(uint64_t)get(row, "latent")->valuedouble];

        check_row(d, row);
        CHECK(now > 0 && now <= before && (rows > 0 || now == largest));
        before = now;
        rows++;
    }
    CHECK(rows == TOP || get(list, "candidates")->valuedouble == rows);
}

static void check_health(const sd_diff_side *side, const cJSON *health)
{
    CHECK(same_number(get(get(health, "ev"), "value"), side->ev));
    CHECK(same_number(get(get(health, "fvu"), "value"), 1 - side->ev));
    CHECK(same_number(get(get(health, "l0"), "value"), side->l0));
    CHECK(same_number(get(get(health, "dead"), "value"), (double)side->dead));
    CHECK(same_number(get(get(health, "dead_bound"), "value"), 3.0 / TOKENS));
    CHECK(same_number(get(get(health, "ev"), "n"), TOKENS));
    CHECK(strcmp(get(get(health, "l0"), "unit")->valuestring, "latents") == 0);
}

static void test_results(const sd_report_spec *spec)
{
    char *text = write_report(spec, "results.json");
    sd_json *json = NULL;
    const cJSON *sae, *lists, *sources;

    if (text == NULL)
        return;
    CHECK_OK(sd_json_parse(&json, "results.json", text, strlen(text)));
    if (json == NULL)
        return;
    CHECK(strcmp(get(json->root, "title")->valuestring, spec->title) == 0);
    CHECK(strcmp(get(get(get(json->root, "models"), "tuned"), "name")->valuestring, spec->tuned.name) == 0);
    sources = get(get(json->root, "text"), "sources");
    CHECK(strcmp(get(cJSON_GetArrayItem(sources, 0), "name")->valuestring, "news | \"x\"") == 0);
    CHECK(same_number(get(cJSON_GetArrayItem(sources, 1), "documents"), 3));
    CHECK(same_number(get(get(get(json->root, "text"), "all"), "counted_tokens"), TOKENS));
    CHECK(same_number(get(get(get(json->root, "job"), "sae"), "k"), 8));
    CHECK(cJSON_GetArraySize(get(json->root, "saes")) == (int)spec->n_diffs);
    sae = cJSON_GetArrayItem(get(json->root, "saes"), 0);
    check_health(&spec->diffs[0]->base, get(get(sae, "health"), "base"));
    check_health(&spec->diffs[0]->tuned, get(get(sae, "health"), "tuned"));
    CHECK(cJSON_IsTrue(get(sae, "out_of_distribution_on_tuned")));
    lists = get(sae, "lists");
    check_list(spec->diffs[0], get(lists, "increased"), 1);
    check_list(spec->diffs[0], get(lists, "decreased"), -1);
    CHECK(cJSON_GetArraySize(get(get(lists, "appearing"), "rows")) == 1);
    CHECK(same_number(get(cJSON_GetArrayItem(get(get(lists, "appearing"), "rows"), 0), "latent"), 1));
    CHECK(same_number(get(cJSON_GetArrayItem(get(get(lists, "vanishing"), "rows"), 0), "latent"), 2));
    sd_json_close(&json);
    sd_free(text);
}

/* Every field of every line, read back. */
static void test_table(const sd_report_spec *spec)
{
    char *text = write_report(spec, "latents.blocks.1.hook_resid_post.csv"), *line;
    const sd_diff *d = spec->diffs[0];
    const sd_diff_part *all = &d->part[SD_DIFF_ALL];
    uint64_t l = 0;

    if (text == NULL)
        return;
    CHECK(strncmp(text, "site,latent,n,base_count,base_frequency,", 40) == 0);
    line = strchr(text, '\n');
    for (line = line == NULL ? text : line + 1; *line != '\0'; line = strchr(line, '\n') + 1, l++) {
        double want[] = {(double)l, TOKENS, (double)d->base.sums.count[l], (double)d->base.sums.count[l] / TOKENS,
                         d->base.sums.sum[l] / TOKENS,
                         d->base.sums.count[l] ? d->base.sums.sum[l] / (double)d->base.sums.count[l] : (double)NAN,
                         d->base.sums.max[l], d->base.sums.sum2[l] / TOKENS, (double)d->tuned.sums.count[l],
                         (double)d->tuned.sums.count[l] / TOKENS, d->tuned.sums.sum[l] / TOKENS,
                         d->tuned.sums.count[l] ? d->tuned.sums.sum[l] / (double)d->tuned.sums.count[l] : (double)NAN,
                         d->tuned.sums.max[l], d->tuned.sums.sum2[l] / TOKENS, d->d_frequency[l], d->d_mean[l],
                         d->d_active_mean[l], d->frequency_part[l], d->magnitude_part[l],
                         all->value.se[l], all->value.p[l], all->value.q[l], all->frequency.se[l], all->frequency.p[l],
                         all->frequency.q[l], d->part[SD_DIFF_SELECTION].value.mean[l], d->part[SD_DIFF_ESTIMATION].value.mean[l],
                         d->part[SD_DIFF_ESTIMATION].value.se[l], (double)d->only_base[l], (double)d->only_tuned[l], 0.25, 0.5, 0, 0,
                         (double)NAN, fabs(d->d_frequency[l]), fabs(d->d_mean[l]), (double)d->base.compat_count[l] / (TOKENS + DOCS),
                         (double)d->tuned.compat_count[l] / (TOKENS + DOCS), d->base.compat_sum[l] / (TOKENS + DOCS),
                         d->tuned.compat_sum[l] / (TOKENS + DOCS)};
        const char *at = strchr(line, ',');

        for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
            char *end = NULL;
            double got = at == NULL ? 0 : strtod(at + 1, &end);

            CHECK(isnan(want[i]) ? isnan(got) : got == want[i]);
            at = end;
        }
        CHECK(at != NULL && *at == '\n');
    }
    CHECK(l == LATENTS);
    sd_free(text);
}

/* Odd characters stay inside their cells; the warning and the caveat are there. */
static void test_page(const sd_report_spec *spec)
{
    char *text = write_report(spec, "README.md");

    if (text == NULL)
        return;
    CHECK(strncmp(text, "# Study \\#1 \\| a\\_b &lt;i&gt;\n", 29) == 0);
    CHECK(strstr(text, "| news \\| \"x\" | 3 | 453 | 450 |") != NULL);
    CHECK(strstr(text, "| a\\*b\\_&lt;c&gt;  | 3 |") != NULL);
    CHECK(strstr(text, "the SAE is out of distribution on the tuned model") != NULL);
    CHECK(strstr(text, "estimation split (3 documents, 450 tokens)") != NULL);
    CHECK(strstr(text, "2 of 40 (5.0 %)") != NULL);
    CHECK(strstr(text, "## Next-token loss") != NULL && strstr(text, "| 30 | 2 (1.5 … 2.25) | 2.5 (2.25 … 2.75) | +0.5 |") != NULL);
    CHECK(strstr(text, "-0 ") == NULL && strstr(text, "nan") == NULL);
    if (getenv("SAEDIFF_SHOW_PAGE") != NULL)
        fputs(text, stdout);
    sd_free(text);
}

/* A model against itself: every change is exactly 0, and no list has a row. */
static void test_equal_models(sd_report_spec spec)
{
    sd_diff *same = make_diff("blocks.1.hook_resid_post", 8, 0);
    const sd_diff *const diffs[] = {same};
    char *table, *page;

    spec.diffs = diffs;
    spec.n_diffs = 1;
    spec.losses = NULL;
    table = write_report(&spec, "latents.blocks.1.hook_resid_post.csv");
    for (char *line = table == NULL ? NULL : strchr(table, '\n') + 1; line != NULL && *line != '\0';) {
        char *end = strchr(line, '\n');

        *end = '\0';
        CHECK(strstr(line, ",0,0,0,0,0") != NULL || strstr(line, ",0,0,NaN,0,0") != NULL);
        CHECK(strstr(line, "-0") == NULL);
        line = end + 1;
    }
    page = write_report(&spec, "README.md");
    CHECK(page != NULL);
    CHECK(strstr(page, "No latent changes.") != NULL);
    CHECK(strstr(page, "| +") == NULL);
    sd_free(table);
    sd_free(page);
    sd_diff_destroy(&same);
}

/* Two SAEs on one site have two files; reports of equal results are equal. */
static void test_names_and_sameness(sd_report_spec spec)
{
    sd_diff *second = make_diff("blocks.1.hook_resid_post", 4, 1);
    const sd_diff *const diffs[] = {spec.diffs[0], second};
    char *one, *two;

    spec.diffs = diffs;
    spec.n_diffs = 2;
    one = write_report(&spec, "latents.blocks.1.hook_resid_post.F40.k8.csv");
    two = write_report(&spec, "latents.blocks.1.hook_resid_post.F40.k4.csv");
    CHECK(one != NULL && two != NULL && strcmp(one, two) == 0);
    sd_free(one);
    sd_free(two);
    one = write_report(&spec, "results.json");
    two = write_report(&spec, "results.json");
    CHECK(one != NULL && two != NULL && strcmp(one, two) == 0);
    sd_free(one);
    sd_free(two);
    sd_diff_destroy(&second);
}

/* One label of two values: every latent tells "up" in the tuned model and "down|x" in the base model, even ones surely, odd ones not; 0 none. */
static sd_detection *make_told(void)
{
    sd_detection *t = NULL;

    CHECK_OK(SD_NEW(&t, 1));
    CHECK_OK(sd_str_copy(&t->site, "blocks.1.hook_resid_post"));
    CHECK_OK(sd_str_copy(&t->trained_on, "base"));
    t->latents = LATENTS;
    t->k = 8;
    t->fields = 1;
    t->values = 2;
    t->threshold = 0.9;
    t->permutations = 10;
    CHECK_OK(SD_NEW(&t->field, 1));
    CHECK_OK(sd_str_copy(&t->field[0], "way"));
    CHECK_OK(SD_NEW(&t->value, 2));
    CHECK_OK(sd_str_copy(&t->value[0], "down|x"));
    CHECK_OK(sd_str_copy(&t->value[1], "up"));
    CHECK_OK(SD_NEW(&t->of_field, 2));
    CHECK_OK(SD_NEW(&t->positives, 4));
    CHECK_OK(SD_NEW(&t->others, 4));
    for (int i = 0; i < 4; i++) {
        t->positives[i] = 20 + (uint64_t)i;
        t->others[i] = 30 + (uint64_t)i;
    }
    for (int m = 0; m < 2; m++) {
        sd_detection_side *s = m ? &t->tuned : &t->base;
        double **const columns[] = {&s->selection_auroc, &s->auroc, &s->low, &s->high, &s->chance};

        CHECK_OK(SD_NEW(&s->latent, 2));
        CHECK_OK(SD_NEW(&s->detected, 2));
        for (int c = 0; c < 5; c++) {
            CHECK_OK(SD_NEW(columns[c], 2));
            for (int v = 0; v < 2; v++)
                (*columns[c])[v] = 0.5 + 0.0625 * c + 0.03125 * v;
        }
        s->latent[0] = 5 + m;
        s->latent[1] = -1;
        s->detected[0] = m == 1;
        CHECK_OK(SD_NEW(&s->best, LATENTS));
        CHECK_OK(SD_NEW(&s->best_auroc, LATENTS));
        CHECK_OK(SD_NEW(&s->best_se, LATENTS));
        for (uint64_t l = 0; l < LATENTS; l++) {
            s->best[l] = l == 0 ? -1 : m;
            s->best_auroc[l] = l == 0 ? (double)NAN : 0.96875;
            s->best_se[l] = l % 2 ? 0.25 : 0.015625;
        }
    }
    return t;
}

/* Latents of the lists name what they surely tell, and the lists say how many do. */
static void test_labels(sd_report_spec spec)
{
    sd_detection *detection = make_told();
    sd_json *json = NULL;
    const cJSON *sae, *row, *subject, *value;
    uint64_t sure[2] = {0, 0}, tested = 0;
    char *text;

    spec.n_diffs = 1;
    spec.detections = (const sd_detection *const[]){detection};
    spec.n_detections = 1;
    text = write_report(&spec, "results.json");
    CHECK_OK(sd_json_parse(&json, "results.json", text, strlen(text)));
    if (json == NULL)
        return;
    sae = cJSON_GetArrayItem(get(json->root, "saes"), 0);
    for (int kind = 0; kind < 2; kind++)
        cJSON_ArrayForEach(row, get(get(get(sae, "lists"), kind ? "decreased" : "increased"), "rows")) {
            uint64_t l = (uint64_t)get(row, "latent")->valuedouble;

            CHECK(cJSON_GetArraySize(get(row, "tells")) == (l % 2 == 0));
            sure[kind] += l % 2 == 0;
            if (l % 2 == 0)
                CHECK(strcmp(get(cJSON_GetArrayItem(get(row, "tells"), 0), "value")->valuestring, kind ? "down|x" : "up") == 0);
        }
    for (uint64_t l = 2; l < LATENTS; l += 2)
        tested += sd_diff_is_tested(spec.diffs[0], l);
    for (int kind = 0; kind < 2; kind++) {
        subject = cJSON_GetArrayItem(get(sae, "subjects"), kind);
        CHECK(strcmp(get(subject, "list")->valuestring, kind ? "decreased" : "increased") == 0);
        CHECK(same_number(get(subject, "of_list"), (double)sure[kind]) && same_number(get(subject, "of_tested"), (double)tested));
    }
    value = cJSON_GetArrayItem(get(cJSON_GetArrayItem(get(get(json->root, "labels"), "saes"), 0), "values"), 0);
    CHECK(same_number(get(get(value, "tuned"), "low"), 0.625) && cJSON_IsTrue(get(get(value, "tuned"), "told")));
    CHECK(same_number(get(value, "documents"), 21) && same_number(get(value, "others"), 31));
    sd_json_close(&json);
    sd_free(text);
    text = write_report(&spec, "README.md");
    CHECK(strstr(text, "detect 0 of 2 label values in the base model, 1 in the tuned model") != NULL);
    CHECK(strstr(text, "| way | down\\|x | 21 of 52 | 5 | 0.5625 (0.625 … 0.6875) | no | 6 | 0.5625 (0.625 … 0.6875) | yes | 0.75 |") != NULL);
    CHECK(strstr(text, "| way | up | 23 of 56 | – | – | – | – | – | – | 0.7812 |") != NULL);
    sd_free(text);
    sd_detection_destroy(&detection);
}

static const sd_report_loss losses[] = {{{60, 75}, 30, 3, {1.5, 2.25, NAN}, {2.25, 2.75, NAN}},
                                        {{10, 10}, 20, 3, {NAN, NAN, NAN}, {NAN, NAN, NAN}}};
static sd_tokens *tokens;
static sd_diff *diff;
static const sd_diff *diffs[1];
static char inside[96];
static sd_report_spec the;

static void begin(void)
{
    tokens = make_tokens();
    diff = make_diff("blocks.1.hook_resid_post", 8, 1);
    diffs[0] = diff;
    test_folder(folder);
    snprintf(inside, sizeof inside, "%s/report", folder);
    the = (sd_report_spec){.folder = inside,
                           .title = "Study #1 | a_b <i>",
                           .base = {"base", "tiny \"llama\"", tokens->text_sha256},
                           .tuned = {"tuned", "tiny,news", tokens->text_sha256},
                           .tokens = tokens,
                           .diffs = diffs,
                           .n_diffs = 1,
                           .losses = losses,
                           .loss_bos = true,
                           .top = TOP,
                           .job_json = "{\"sae\": {\"k\": 8}}",
                           .gnuplot = ""};
}

static void end(void)
{
    sd_diff_destroy(&diff);
    sd_tokens_destroy(&tokens);
}

static void test_a_report(void)
{
    test_results(&the);
    test_table(&the);
    test_page(&the);
}

static void test_nothing_changed(void)
{
    test_equal_models(the);
}

static void test_names(void)
{
    test_names_and_sameness(the);
}

static void test_label_tables(void)
{
    test_labels(the);
}

static void test_broken_job(void)
{
    sd_report_spec spec = the;
    char **files = NULL;
    uint64_t count = 0;

    spec.job_json = "{broken";
    CHECK_FAILS(sd_report_write(&spec, &files, &count), SD_E_INTERNAL, "cannot be read back");
    CHECK(files == NULL);
    CHECK(count == 0);
}

static const test_case tests[] = {
    TEST(test_a_report),
    TEST(test_nothing_changed),
    TEST(test_names),
    TEST(test_label_tables),
    TEST(test_broken_job),
};

TEST_MAIN(tests, begin, end)
