#include "saediff/store/labels.h"

#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/store/bundle.h"
#include "saediff/store/json.h"

static const char FORMAT[] = "saediff.labels";

enum { VERSION = 1, ARRAYS = 4 };

void sd_texts_free(char **texts, uint64_t count)
{
    for (uint64_t i = 0; texts != NULL && i < count; i++)
        sd_free(texts[i]);
    sd_free(texts);
}

sd_status sd_texts_to_json(char *const *texts, uint64_t count, char **out)
{
    sd_str s = {0};
    sd_status st;

    sd_str_add(&s, "[");
    for (uint64_t i = 0; i < count; i++) {
        sd_str_add(&s, "%s", i > 0 ? ", " : "");
        sd_json_quote(&s, texts[i]);
    }
    sd_str_add(&s, "]");
    SD_TRY(st, s.status);
    st = sd_str_copy(out, s.text);
out:
    sd_str_free(&s);
    return st;
}

sd_status sd_texts_from_json(const char *what, const char *json, char ***texts, uint64_t *count)
{
    sd_json *tree = NULL;
    const cJSON *entry;
    char **made = NULL;
    uint64_t n = 0;
    sd_status st;

    *texts = NULL;
    *count = 0;
    SD_TRY(st, sd_json_parse(&tree, what, json, strlen(json)));
    if (!cJSON_IsArray(tree->root)) {
        st = SD_FAIL(SD_E_DATA, "%s: is no JSON list of texts", what);
        goto out;
    }
    SD_TRY(st, SD_NEW(&made, (uint64_t)cJSON_GetArraySize(tree->root)));
    cJSON_ArrayForEach(entry, tree->root) {
        if (!cJSON_IsString(entry)) {
            st = SD_FAIL(SD_E_DATA, "%s: entry %llu of the list is no text", what, (unsigned long long)n);
            goto out;
        }
        SD_TRY(st, sd_str_copy(&made[n], entry->valuestring));
        n++;
    }
    *texts = made;
    *count = n;
    made = NULL;
out:
    sd_texts_free(made, n);
    sd_json_close(&tree);
    return st;
}

void sd_labels_destroy(sd_labels **labels)
{
    sd_labels *l = *labels;

    *labels = NULL;
    if (l == NULL)
        return;
    sd_texts_free(l->field, l->fields);
    sd_texts_free(l->value, l->values);
    sd_free(l->of_field);
    sd_free(l->doc_start);
    sd_free(l->doc_value);
    sd_free(l);
}

static sd_status check(const sd_labels *l, const char *path)
{
    if (l->doc_start[0] != 0)
        return SD_FAIL(SD_E_DATA, "%s: the values of the first document begin at %llu, not at 0", path, (unsigned long long)l->doc_start[0]);
    for (uint64_t v = 0; v < l->values; v++)
        if (l->of_field[v] >= l->fields || (v > 0 && l->of_field[v] < l->of_field[v - 1]))
            return SD_FAIL(SD_E_DATA, "%s: value %llu is of field %lu, out of order or not among the %llu fields", path, (unsigned long long)v,
                           (unsigned long)l->of_field[v], (unsigned long long)l->fields);
    for (uint64_t d = 0; d < l->docs; d++) {
        uint64_t first = l->doc_start[d], end = l->doc_start[d + 1];

        if (end < first || end > l->doc_start[l->docs])
            return SD_FAIL(SD_E_DATA, "%s: the values of document %llu go from %llu to %llu", path, (unsigned long long)d,
                           (unsigned long long)first, (unsigned long long)end);
        for (uint64_t i = first; i < end; i++)
            if (l->doc_value[i] >= l->values || (i > first && l->doc_value[i] <= l->doc_value[i - 1]))
                return SD_FAIL(SD_E_DATA, "%s: document %llu has value %lu, out of order or not among the %llu values", path,
                               (unsigned long long)d, (unsigned long)l->doc_value[i], (unsigned long long)l->values);
    }
    return SD_OK;
}

sd_status sd_labels_write(const sd_labels *l, const char *path)
{
    char *fields = NULL, *values = NULL;
    sd_status st;

    SD_TRY(st, check(l, path));
    SD_TRY(st, sd_texts_to_json(l->field, l->fields, &fields));
    SD_TRY(st, sd_texts_to_json(l->value, l->values, &values));
    st = sd_bundle_write(path, FORMAT, VERSION, &(sd_attr){.name = "fields", .kind = SD_ATTR_TEXT, .text = fields}, 1,
                         (const sd_array[ARRAYS]){
                             {"doc_start", SD_U64, 1, {l->docs + 1}, l->doc_start, "1",
                              "first entry of each document in doc_value; at the end their number"},
                             {"doc_value", SD_U32, 1, {l->doc_start[l->docs]}, l->doc_value, "1", "values of the documents, entries of 'values'"},
                             {"field", SD_U32, 1, {l->values}, l->of_field, "1", "which entry of 'fields' each value is of"},
                             {"values", SD_U8, 1, {strlen(values)}, values, "1", "JSON list of the values' texts"}},
                         ARRAYS);
out:
    sd_free(fields);
    sd_free(values);
    return st;
}

sd_status sd_texts_from_bundle(sd_bundle *bundle, const char *path, const char *name, char ***texts, uint64_t *count)
{
    uint64_t bytes = 0;
    uint8_t *data = NULL;
    char *json = NULL;
    sd_status st;

    SD_TRY(st, sd_bundle_read(bundle, name, SD_U8, 1, &bytes, (void **)&data));
    SD_TRY(st, SD_NEW(&json, bytes + 1));
    memcpy(json, data, bytes);
    st = sd_texts_from_json(path, json, texts, count);
out:
    sd_free(data);
    sd_free(json);
    return st;
}

sd_status sd_labels_read(sd_labels **labels, const char *path)
{
    sd_bundle *bundle = NULL;
    sd_labels *l = NULL;
    char *fields = NULL;
    uint64_t starts = 0, entries = 0;
    sd_status st;

    *labels = NULL;
    SD_TRY(st, SD_NEW(&l, 1));
    SD_TRY(st, sd_bundle_open(&bundle, path, FORMAT, VERSION));
    SD_TRY(st, sd_bundle_text(bundle, "fields", &fields));
    SD_TRY(st, sd_texts_from_json(path, fields, &l->field, &l->fields));
    SD_TRY(st, sd_texts_from_bundle(bundle, path, "values", &l->value, &l->values));
    SD_TRY(st, sd_bundle_read(bundle, "field", SD_U32, 1, &(uint64_t){l->values}, (void **)&l->of_field));
    SD_TRY(st, sd_bundle_read(bundle, "doc_start", SD_U64, 1, &starts, (void **)&l->doc_start));
    SD_TRY(st, sd_bundle_read(bundle, "doc_value", SD_U32, 1, &entries, (void **)&l->doc_value));
    if (starts == 0 || l->doc_start[starts - 1] != entries) {
        st = SD_FAIL(SD_E_DATA, "%s: %llu documents do not share %llu values out among them", path, (unsigned long long)starts,
                     (unsigned long long)entries);
        goto out;
    }
    l->docs = starts - 1;
    SD_TRY(st, check(l, path));
    *labels = l;
    l = NULL;
out:
    sd_free(fields);
    sd_bundle_close(&bundle);
    sd_labels_destroy(&l);
    return st;
}
