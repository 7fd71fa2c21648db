/* The file of a comparison, "saediff.diff" version 1. */
#include "saediff/core/mem.h"
#include "saediff/diff/diff.h"
#include "saediff/store/bundle.h"

static const char FORMAT[] = "saediff.diff";

enum { VERSION = 1, ARRAYS = 13, ATTRS = 15 };

/* Where an array of the file lives in a sd_diff. */
typedef struct column {
    const char *name, *unit, *about;
    void **data;
    sd_dtype type;
} column;

static void columns_of(sd_diff *d, column out[ARRAYS])
{
    static const char units[] = "SAE units";
    sd_latent_sums *b = &d->base.sums, *f = &d->tuned.sums;
    const column columns[ARRAYS] = {
        {"base_count", "tokens", "counted tokens on which the latent fires, base model", (void **)&b->count, SD_U64},
        {"base_sum", units, "sum of values, base model", (void **)&b->sum, SD_F64},
        {"base_sum2", "SAE units squared", "sum of squared values, base model", (void **)&b->sum2, SD_F64},
        {"base_max", units, "largest value, 0 where count is 0, base model", (void **)&b->max, SD_F64},
        {"tuned_count", "tokens", "counted tokens on which the latent fires, tuned model", (void **)&f->count, SD_U64},
        {"tuned_sum", units, "sum of values, tuned model", (void **)&f->sum, SD_F64},
        {"tuned_sum2", "SAE units squared", "sum of squared values, tuned model", (void **)&f->sum2, SD_F64},
        {"tuned_max", units, "largest value, 0 where count is 0, tuned model", (void **)&f->max, SD_F64},
        {"d_frequency", "1", "count / tokens, tuned - base", (void **)&d->d_frequency, SD_F64},
        {"d_mean", units, "sum / tokens, tuned - base", (void **)&d->d_mean, SD_F64},
        {"d_active_mean", units, "sum / count, tuned - base; NaN where a side never fires", (void **)&d->d_active_mean,
         SD_F64},
        {"frequency_part", units, "part of d_mean from the change of frequency", (void **)&d->frequency_part, SD_F64},
        {"magnitude_part", units, "part of d_mean from the change of active mean", (void **)&d->magnitude_part, SD_F64},
    };

    for (int i = 0; i < ARRAYS; i++)
        out[i] = columns[i];
}

static sd_attr number(const char *name, double value)
{
    return (sd_attr){.name = name, .kind = SD_ATTR_F64, .f64 = value};
}

static sd_attr whole(const char *name, uint64_t value)
{
    return (sd_attr){.name = name, .kind = SD_ATTR_U64, .u64 = value};
}

sd_status sd_diff_write(const sd_diff *diff, const char *path)
{
    sd_diff copy = *diff; /* columns_of() wants places to point to; the arrays are only read */
    const sd_diff_side *b = &diff->base, *f = &diff->tuned;
    const sd_attr attrs[ATTRS] = {{.name = "site", .kind = SD_ATTR_TEXT, .text = diff->site},
                                  whole("latents", diff->latents),
                                  whole("k", diff->k),
                                  whole("tokens", diff->tokens),
                                  whole("docs", diff->docs),
                                  number("base_ev", b->ev),
                                  number("base_l0", b->l0),
                                  number("base_sse", b->sse),
                                  number("base_spread", b->spread),
                                  whole("base_dead", b->dead),
                                  number("tuned_ev", f->ev),
                                  number("tuned_l0", f->l0),
                                  number("tuned_sse", f->sse),
                                  number("tuned_spread", f->spread),
                                  whole("tuned_dead", f->dead)};
    sd_array arrays[ARRAYS];
    column columns[ARRAYS];

    columns_of(&copy, columns);
    for (int i = 0; i < ARRAYS; i++)
        arrays[i] = (sd_array){.name = columns[i].name,
                               .type = columns[i].type,
                               .dims = 1,
                               .shape = {diff->latents},
                               .data = *columns[i].data,
                               .unit = columns[i].unit,
                               .about = columns[i].about};
    return sd_bundle_write(path, FORMAT, VERSION, attrs, ATTRS, arrays, ARRAYS);
}

static sd_status read_side(sd_bundle *bundle, const char *const names[5], sd_diff_side *side)
{
    sd_status st;

    SD_TRY(st, sd_bundle_f64(bundle, names[0], &side->ev));
    SD_TRY(st, sd_bundle_f64(bundle, names[1], &side->l0));
    SD_TRY(st, sd_bundle_f64(bundle, names[2], &side->sse));
    SD_TRY(st, sd_bundle_f64(bundle, names[3], &side->spread));
    SD_TRY(st, sd_bundle_u64(bundle, names[4], &side->dead));
out:
    return st;
}

sd_status sd_diff_read(sd_diff **diff, const char *path)
{
    static const char *const base[] = {"base_ev", "base_l0", "base_sse", "base_spread", "base_dead"};
    static const char *const tuned[] = {"tuned_ev", "tuned_l0", "tuned_sse", "tuned_spread", "tuned_dead"};
    sd_bundle *bundle = NULL;
    sd_diff *d = NULL;
    column columns[ARRAYS];
    sd_status st;

    *diff = NULL;
    SD_TRY(st, SD_NEW(&d, 1));
    SD_TRY(st, sd_bundle_open(&bundle, path, FORMAT, VERSION));
    SD_TRY(st, sd_bundle_text(bundle, "site", &d->site));
    SD_TRY(st, sd_bundle_u64(bundle, "latents", &d->latents));
    SD_TRY(st, sd_bundle_u64(bundle, "k", &d->k));
    SD_TRY(st, sd_bundle_u64(bundle, "tokens", &d->tokens));
    SD_TRY(st, sd_bundle_u64(bundle, "docs", &d->docs));
    SD_TRY(st, read_side(bundle, base, &d->base));
    SD_TRY(st, read_side(bundle, tuned, &d->tuned));
    columns_of(d, columns);
    for (int i = 0; i < ARRAYS; i++) {
        uint64_t shape[SD_ARRAY_DIMS] = {0};

        SD_TRY(st, sd_bundle_read(bundle, columns[i].name, columns[i].type, 1, shape, columns[i].data));
        if (shape[0] != d->latents) {
            st = SD_FAIL(SD_E_DATA, "%s: '%s' has %llu entries for %llu latents", path, columns[i].name,
                         (unsigned long long)shape[0], (unsigned long long)d->latents);
            goto out;
        }
    }
    d->base.sums.rows = d->tuned.sums.rows = d->tokens;
    d->base.sums.latents = d->tuned.sums.latents = d->latents;
    *diff = d;
    d = NULL;
out:
    sd_bundle_close(&bundle);
    sd_diff_destroy(&d);
    return st;
}
