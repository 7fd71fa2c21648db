/* The file of a matching, "saediff.match" version 1: each array once for either side. */
#include <stdio.h>

#include "match_columns.h"
#include "saediff/core/mem.h"
#include "saediff/store/bundle.h"

static const char FORMAT[] = "saediff.match";

enum { VERSION = 1, COLUMNS = 10, REALS = 7, WHOLES = 4, NAME = 40, ATTRS = 1 + REALS + WHOLES + 2 * (1 + SD_MATCH_KINDS) };

typedef struct side_column {
    const char *name, *unit, *about;
    void **data;
    sd_dtype type;
} side_column;

static void columns_of(sd_match_side *s, side_column out[COLUMNS])
{
    const side_column columns[COLUMNS] = {
        {"count", "tokens", "evaluated tokens on which it fires, on the model its SAE was trained on", (void **)&s->count, SD_U64},
        {"mean", "SAE units", "mean activation over the evaluated tokens", (void **)&s->mean, SD_F64},
        {"cosine", "1", "largest cosine of its decoder row with one of the other SAE", (void **)&s->cosine, SD_F64},
        {"cosine_second", "1", "second largest cosine", (void **)&s->second_cosine, SD_F64},
        {"cosine_with", "1", "latent of the other SAE with the largest cosine; -1 for none", (void **)&s->cosine_with, SD_I64},
        {"correlation", "1", "largest correlation of activations with one of the other SAE; NaN if it fires too seldom",
         (void **)&s->correlation, SD_F64},
        {"correlation_second", "1", "second largest correlation", (void **)&s->second_correlation, SD_F64},
        {"correlation_with", "1", "latent of the other SAE with the largest correlation; -1 for none",
         (void **)&s->correlation_with, SD_I64},
        {"match", "1", "the matched latent; -1 for none", (void **)&s->match, SD_I64},
        {"kind", "1", "0 pair, 1 rotated, 2 split, 3 exclusive, 4 silent, 5 unclear", (void **)&s->kind, SD_U8},
    };

    for (int i = 0; i < COLUMNS; i++)
        out[i] = columns[i];
}

sd_status match_side_allocate(sd_match_side *side)
{
    side_column columns[COLUMNS];
    sd_status st = SD_OK;

    columns_of(side, columns);
    for (int i = 0; i < COLUMNS; i++)
        SD_TRY(st, sd_alloc_bytes(columns[i].data, side->latents, sd_dtype_size(columns[i].type)));
out:
    return st;
}

void match_side_free(sd_match_side *side)
{
    side_column columns[COLUMNS];

    columns_of(side, columns);
    for (int i = 0; i < COLUMNS; i++)
        sd_free(*columns[i].data);
}

void sd_match_destroy(sd_match **match)
{
    sd_match *m = *match;

    *match = NULL;
    if (m == NULL)
        return;
    match_side_free(&m->base);
    match_side_free(&m->tuned);
    sd_free(m->site);
    sd_free(m);
}

static sd_match_side *side_of(sd_match *m, int tuned)
{
    return tuned ? &m->tuned : &m->base;
}

static const char *prefix(int tuned)
{
    return tuned ? "tuned" : "base";
}

/* Names and addresses of the numbers; `names` holds the composed names. */
typedef struct numbers {
    struct {
        const char *name;
        double *value;
    } real[REALS];
    struct {
        const char *name;
        uint64_t *value;
    } whole[WHOLES + 2 * (1 + SD_MATCH_KINDS)];
    char names[2][1 + SD_MATCH_KINDS][NAME];
} numbers;

static void numbers_of(sd_match *m, numbers *n)
{
    int at = WHOLES;

    *n = (numbers){.real = {{"min_cosine", &m->min_cosine},
                            {"min_correlation", &m->min_correlation},
                            {"min_margin", &m->min_margin},
                            {"null_cosine", &m->null_cosine},
                            {"null_correlation", &m->null_correlation},
                            {"base_unmatched", &m->base.unmatched},
                            {"tuned_unmatched", &m->tuned.unmatched}},
                   .whole = {{"d_model", &m->d_model},
                             {"tokens", &m->tokens},
                             {"pairs", &m->pairs},
                             {"pairs_above_null", &m->pairs_above_null}}};
    for (int tuned = 0; tuned < 2; tuned++)
        for (int k = 0; k <= SD_MATCH_KINDS; k++) {
            snprintf(n->names[tuned][k], NAME, "%s_%s", prefix(tuned),
                     k == SD_MATCH_KINDS ? "latents" : sd_match_kind_name((sd_match_kind)k));
            n->whole[at].name = n->names[tuned][k];
            n->whole[at++].value = k == SD_MATCH_KINDS ? &side_of(m, tuned)->latents : &side_of(m, tuned)->kinds[k];
        }
}

sd_status sd_match_write(const sd_match *match, const char *path)
{
    sd_match copy = *match; /* the tables need pointers to non-const members; nothing is changed */
    sd_attr attrs[ATTRS] = {{.name = "site", .kind = SD_ATTR_TEXT, .text = match->site}};
    sd_array arrays[2 * COLUMNS];
    char names[2 * COLUMNS][NAME];
    numbers n;
    int at = 1;

    numbers_of(&copy, &n);
    for (int i = 0; i < REALS; i++)
        attrs[at++] = (sd_attr){.name = n.real[i].name, .kind = SD_ATTR_F64, .f64 = *n.real[i].value};
    for (int i = 0; at < ATTRS; i++)
        attrs[at++] = (sd_attr){.name = n.whole[i].name, .kind = SD_ATTR_U64, .u64 = *n.whole[i].value};
    for (int tuned = 0; tuned < 2; tuned++) {
        side_column columns[COLUMNS];

        columns_of(side_of(&copy, tuned), columns);
        for (int i = 0; i < COLUMNS; i++) {
            int a = tuned * COLUMNS + i;

            snprintf(names[a], NAME, "%s_%s", prefix(tuned), columns[i].name);
            arrays[a] = (sd_array){.name = names[a],
                                   .type = columns[i].type,
                                   .dims = 1,
                                   .shape = {side_of(&copy, tuned)->latents},
                                   .data = *columns[i].data,
                                   .unit = columns[i].unit,
                                   .about = columns[i].about};
        }
    }
    return sd_bundle_write(path, FORMAT, VERSION, attrs, ATTRS, arrays, 2 * COLUMNS);
}

static sd_status read_side(sd_bundle *bundle, const char *path, int tuned, sd_match_side *side)
{
    side_column columns[COLUMNS];
    sd_status st = SD_OK;

    columns_of(side, columns);
    for (int i = 0; i < COLUMNS; i++) {
        uint64_t shape[SD_ARRAY_DIMS] = {0};
        char name[NAME];

        snprintf(name, sizeof name, "%s_%s", prefix(tuned), columns[i].name);
        SD_TRY(st, sd_bundle_read(bundle, name, columns[i].type, 1, shape, columns[i].data));
        if (shape[0] != side->latents)
            return SD_FAIL(SD_E_DATA, "%s: '%s' has %llu entries for %llu latents", path, name, (unsigned long long)shape[0],
                           (unsigned long long)side->latents);
    }
out:
    return st;
}

/* What indexes other arrays, or is named. */
static sd_status check_side(const char *path, int tuned, const sd_match_side *side, uint64_t others)
{
    for (uint64_t i = 0; i < side->latents; i++) {
        const int64_t index[] = {side->cosine_with[i], side->correlation_with[i], side->match[i]};

        for (int k = 0; k < 3; k++)
            if (index[k] < -1 || (index[k] >= 0 && (uint64_t)index[k] >= others))
                return SD_FAIL(SD_E_DATA, "%s: %s latent %llu names latent %lld of %llu", path, prefix(tuned),
                               (unsigned long long)i, (long long)index[k], (unsigned long long)others);
        if (side->kind[i] >= SD_MATCH_KINDS)
            return SD_FAIL(SD_E_DATA, "%s: %s latent %llu has kind %u, the last is %d", path, prefix(tuned),
                           (unsigned long long)i, (unsigned)side->kind[i], SD_MATCH_KINDS - 1);
    }
    return SD_OK;
}

sd_status sd_match_read(sd_match **match, const char *path)
{
    sd_bundle *bundle = NULL;
    sd_match *m = NULL;
    numbers n;
    sd_status st;

    *match = NULL;
    SD_TRY(st, SD_NEW(&m, 1));
    SD_TRY(st, sd_bundle_open(&bundle, path, FORMAT, VERSION));
    SD_TRY(st, sd_bundle_text(bundle, "site", &m->site));
    numbers_of(m, &n);
    for (int i = 0; i < REALS; i++)
        SD_TRY(st, sd_bundle_f64(bundle, n.real[i].name, n.real[i].value));
    for (int i = 0; i < WHOLES + 2 * (1 + SD_MATCH_KINDS); i++)
        SD_TRY(st, sd_bundle_u64(bundle, n.whole[i].name, n.whole[i].value));
    for (int tuned = 0; tuned < 2; tuned++) {
        SD_TRY(st, read_side(bundle, path, tuned, side_of(m, tuned)));
        SD_TRY(st, check_side(path, tuned, side_of(m, tuned), side_of(m, !tuned)->latents));
    }
    *match = m;
    m = NULL;
out:
    sd_bundle_close(&bundle);
    sd_match_destroy(&m);
    return st;
}
