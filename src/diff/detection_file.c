/* Files of label detection, "saediff.detection" version 1. */
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/diff/detection.h"
#include "saediff/store/bundle.h"

static const char FORMAT[] = "saediff.detection";

enum { VERSION = 1, SIDE = 10, ARRAYS = 5 + 2 * SIDE, ATTRS = 8 };

/* An array of one model: of values or of latents. */
typedef struct member {
    const char *about;
    sd_dtype type;
    bool of_latents;
    void **data;
} member;

static void members_of(sd_detection_side *s, member out[SIDE])
{
    const member members[SIDE] = {
        {"the latent selected for each value; -1: the value is not tested", SD_I64, false, (void **)&s->latent},
        {"its AUROC on the selection split", SD_F64, false, (void **)&s->selection_auroc},
        {"its AUROC on the estimation split", SD_F64, false, (void **)&s->auroc},
        {"95 % interval of auroc over documents", SD_F64, false, (void **)&s->low},
        {"95 % interval of auroc over documents", SD_F64, false, (void **)&s->high},
        {"95 % quantile of auroc under permuted labels", SD_F64, false, (void **)&s->chance},
        {"1: low is above the threshold", SD_U8, false, (void **)&s->detected},
        {"the value of each field that the latent detects best on the selection split; -1: none", SD_I64, true, (void **)&s->best},
        {"AUROC of that value on the estimation split", SD_F64, true, (void **)&s->best_auroc},
        {"standard error of best_auroc (DeLong)", SD_F64, true, (void **)&s->best_se},
    };

    memcpy(out, members, sizeof members);
}

static const char *const names[2][SIDE] = {
    {"base_latent", "base_selection_auroc", "base_auroc", "base_low", "base_high", "base_chance", "base_detected", "base_best", "base_best_auroc",
     "base_best_se"},
    {"tuned_latent", "tuned_selection_auroc", "tuned_auroc", "tuned_low", "tuned_high", "tuned_chance", "tuned_detected", "tuned_best",
     "tuned_best_auroc", "tuned_best_se"}};

sd_status sd_detection_write(const sd_detection *detection, const char *path)
{
    sd_detection t = *detection; /* the table needs pointers to non-const members; nothing is changed */
    sd_array arrays[ARRAYS] = {
        {"field", SD_U32, 1, {t.values}, t.of_field, "1", "index in 'fields' of each value's field"},
        {"positives", SD_U64, 2, {t.values, SD_DETECTION_SPLITS}, t.positives, "documents", "documents of the selection and of the estimation split that have the value"},
        {"others", SD_U64, 2, {t.values, SD_DETECTION_SPLITS}, t.others, "documents", "documents of both splits that it is compared with"}};
    char *fields = NULL, *values = NULL;
    sd_status st;

    SD_TRY(st, sd_texts_to_json(t.field, t.fields, &fields));
    SD_TRY(st, sd_texts_to_json(t.value, t.values, &values));
    arrays[3] = (sd_array){"split", SD_U8, 1, {t.docs}, t.split, "1", "split of each document: 0 selection, 1 estimation"};
    arrays[4] = (sd_array){"values", SD_U8, 1, {strlen(values)}, values, "1", "JSON list of the values' texts"};
    for (int m = 0; m < 2; m++) {
        member members[SIDE];

        members_of(m ? &t.tuned : &t.base, members);
        for (int i = 0; i < SIDE; i++)
            arrays[5 + m * SIDE + i] = (sd_array){.name = names[m][i],
                                                  .type = members[i].type,
                                                  .dims = members[i].of_latents ? 2 : 1,
                                                  .shape = {members[i].of_latents ? t.latents : t.values, members[i].of_latents ? t.fields : 0},
                                                  .data = *members[i].data,
                                                  .unit = "1",
                                                  .about = members[i].about};
    }
    st = sd_bundle_write(path, FORMAT, VERSION,
                         (const sd_attr[ATTRS]){{.name = "site", .kind = SD_ATTR_TEXT, .text = t.site},
                                                {.name = "trained_on", .kind = SD_ATTR_TEXT, .text = t.trained_on},
                                                {.name = "fields", .kind = SD_ATTR_TEXT, .text = fields},
                                                {.name = "latents", .kind = SD_ATTR_U64, .u64 = t.latents},
                                                {.name = "k", .kind = SD_ATTR_U64, .u64 = t.k},
                                                {.name = "docs", .kind = SD_ATTR_U64, .u64 = t.docs},
                                                {.name = "permutations", .kind = SD_ATTR_U64, .u64 = t.permutations},
                                                {.name = "threshold", .kind = SD_ATTR_F64, .f64 = t.threshold}},
                         ATTRS, arrays, ARRAYS);
out:
    sd_free(fields);
    sd_free(values);
    return st;
}

static sd_status read_head(sd_bundle *bundle, const char *path, sd_detection *t)
{
    char *fields = NULL;
    sd_status st;

    SD_TRY(st, sd_bundle_text(bundle, "site", &t->site));
    SD_TRY(st, sd_bundle_text(bundle, "trained_on", &t->trained_on));
    SD_TRY(st, sd_bundle_text(bundle, "fields", &fields));
    SD_TRY(st, sd_texts_from_json(path, fields, &t->field, &t->fields));
    SD_TRY(st, sd_bundle_u64(bundle, "latents", &t->latents));
    SD_TRY(st, sd_bundle_u64(bundle, "k", &t->k));
    SD_TRY(st, sd_bundle_u64(bundle, "docs", &t->docs));
    SD_TRY(st, sd_bundle_u64(bundle, "permutations", &t->permutations));
    SD_TRY(st, sd_bundle_f64(bundle, "threshold", &t->threshold));
    SD_TRY(st, sd_texts_from_bundle(bundle, path, "values", &t->value, &t->values));
out:
    sd_free(fields);
    return st;
}

/* An array of [want], or with dims 2 of [want, columns], 0 too. */
static sd_status read_list(sd_bundle *bundle, const char *path, const char *name, sd_dtype type, int dims, uint64_t want, uint64_t columns,
                           void **data)
{
    uint64_t shape[2] = {0, 0};
    sd_status st;

    SD_TRY(st, sd_bundle_read(bundle, name, type, dims, shape, data));
    if (shape[0] != want || (dims == 2 && shape[1] != columns))
        st = SD_FAIL(SD_E_DATA, "%s: '%s' has %llu rows of %llu, not %llu of %llu", path, name, (unsigned long long)shape[0],
                     (unsigned long long)shape[1], (unsigned long long)want, (unsigned long long)columns);
out:
    return st;
}

static sd_status check(const sd_detection *t, const char *path)
{
    for (uint64_t v = 0; v < t->values; v++)
        if (t->of_field[v] >= t->fields || t->base.latent[v] >= (int64_t)t->latents || t->tuned.latent[v] >= (int64_t)t->latents)
            return SD_FAIL(SD_E_DATA, "%s: value %llu names a field or a latent that does not exist", path, (unsigned long long)v);
    for (uint64_t i = 0; i < t->latents * t->fields; i++)
        if (t->base.best[i] >= (int64_t)t->values || t->tuned.best[i] >= (int64_t)t->values)
            return SD_FAIL(SD_E_DATA, "%s: latent %llu names a value that does not exist", path, (unsigned long long)(i / t->fields));
    return SD_OK;
}

sd_status sd_detection_read(sd_detection **detection, const char *path)
{
    sd_bundle *bundle = NULL;
    sd_detection *t = NULL;
    sd_status st;

    *detection = NULL;
    SD_TRY(st, SD_NEW(&t, 1));
    SD_TRY(st, sd_bundle_open(&bundle, path, FORMAT, VERSION));
    SD_TRY(st, read_head(bundle, path, t));
    SD_TRY(st, read_list(bundle, path, "field", SD_U32, 1, t->values, 0, (void **)&t->of_field));
    SD_TRY(st, read_list(bundle, path, "split", SD_U8, 1, t->docs, 0, (void **)&t->split));
    SD_TRY(st, read_list(bundle, path, "positives", SD_U64, 2, t->values, SD_DETECTION_SPLITS, (void **)&t->positives));
    SD_TRY(st, read_list(bundle, path, "others", SD_U64, 2, t->values, SD_DETECTION_SPLITS, (void **)&t->others));
    for (int m = 0; m < 2; m++) {
        member members[SIDE];

        members_of(m ? &t->tuned : &t->base, members);
        for (int i = 0; i < SIDE; i++)
            SD_TRY(st, read_list(bundle, path, names[m][i], members[i].type, members[i].of_latents ? 2 : 1,
                                 members[i].of_latents ? t->latents : t->values, t->fields, members[i].data));
    }
    SD_TRY(st, check(t, path));
    *detection = t;
    t = NULL;
out:
    sd_bundle_close(&bundle);
    sd_detection_destroy(&t);
    return st;
}
