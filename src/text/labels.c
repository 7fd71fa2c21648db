#include "saediff/text/labels.h"

#include <stdlib.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/par/par.h"
#include "saediff/store/json.h"

/* A document (index into the token stream) and one of its values. */
typedef struct pair {
    uint64_t doc, value;
} pair;

/* A distinct value. */
typedef struct found_value {
    uint64_t field, count; /* count: its index in order of first occurrence */
    char *text;
} found_value;

typedef struct label_search {
    const sd_tokens *tokens;
    char **field; /* [fields] */
    uint64_t fields;
    found_value *value; /* [values], sorted by field and text */
    uint64_t values, values_capacity, *in_field; /* in_field [fields]: number of values per field */
    pair *pairs;
    uint64_t n_pairs, pairs_capacity;
    uint64_t *rows; /* documents of the current entry, by record */
    uint64_t n_rows;
} label_search;

/* Grows the list if needed to hold `count` + 1 elements of `size` bytes. */
static sd_status grow(void **list, uint64_t count, uint64_t *capacity, size_t size)
{
    void *more = NULL;
    sd_status st = SD_OK;

    if (count < *capacity)
        return SD_OK;
    SD_TRY(st, sd_alloc_bytes(&more, 2 * count + 64, size));
    if (count > 0)
        memcpy(more, *list, count * size);
    sd_free(*list);
    *list = more;
    *capacity = 2 * count + 64;
out:
    return st;
}

static int compare(const found_value *m, uint64_t field, const char *text)
{
    return m->field != field ? (m->field < field ? -1 : 1) : strcmp(m->text, text);
}

/* The index of a value of a field; a new value is added. */
static sd_status find_or_add(label_search *f, uint64_t field, const char *text, const char *location, uint64_t *number)
{
    uint64_t low = 0, high = f->values;
    char *copy = NULL;
    sd_status st = SD_OK;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (compare(&f->value[middle], field, text) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < f->values && compare(&f->value[low], field, text) == 0) {
        *number = f->value[low].count;
        return SD_OK;
    }
    if (strlen(text) > SD_LABEL_BYTES)
        return SD_FAIL(SD_E_DATA, "%s: the value '%.40s…' has %zu bytes; a label has at most %d: use a member with few, short values", location,
                       text, strlen(text), SD_LABEL_BYTES);
    if (f->in_field[field] == SD_LABEL_VALUES)
        return SD_FAIL(SD_E_DATA, "%s: '%s' has more than %d different values; use a member with fewer", location, f->field[field], SD_LABEL_VALUES);
    SD_TRY(st, grow((void **)&f->value, f->values, &f->values_capacity, sizeof *f->value));
    SD_TRY(st, sd_str_copy(&copy, text));
    memmove(f->value + low + 1, f->value + low, (f->values - low) * sizeof *f->value);
    f->value[low] = (found_value){field, f->values, copy};
    f->in_field[field]++;
    *number = f->values++;
out:
    return st;
}

static sd_status add_value(label_search *f, uint64_t field, const cJSON *value, const char *location, uint64_t first, uint64_t end)
{
    char *printed = NULL;
    uint64_t number = 0;
    sd_status st = SD_OK;

    if (cJSON_IsNull(value) || (cJSON_IsString(value) && value->valuestring[0] == '\0'))
        return SD_OK;
    if (cJSON_IsObject(value) || cJSON_IsArray(value))
        return SD_FAIL(SD_E_DATA, "%s: '%s' is %s; a label must be a string, a number, true or false, or a list of these", location, f->field[field],
                       cJSON_IsObject(value) ? "an object" : "a list of lists");
    if (!cJSON_IsString(value) && (printed = cJSON_PrintUnformatted(value)) == NULL)
        return SD_FAIL(SD_E_ENV, "%s: out of memory for a label", location);
    SD_TRY(st, find_or_add(f, field, printed != NULL ? printed : value->valuestring, location, &number));
    for (uint64_t i = first; i < end; i++) {
        SD_TRY(st, grow((void **)&f->pairs, f->n_pairs, &f->pairs_capacity, sizeof *f->pairs));
        f->pairs[f->n_pairs++] = (pair){f->rows[i], number};
    }
out:
    cJSON_free(printed);
    return st;
}

/* Adds the label of one record, the source of documents first … end − 1 of f->rows. */
static sd_status add_record(label_search *f, uint64_t field, const sd_document *d, const char *entry, uint64_t first, uint64_t end)
{
    sd_json *json = NULL;
    const cJSON *value;
    char *location = NULL;
    sd_status st;

    SD_TRY(st, sd_str_format(&location, "labels of data '%s', record %llu", entry, (unsigned long long)d->row));
    if (d->plain) {
        st = SD_FAIL(SD_E_DATA, "%s: a string has no members; remove 'labels' from this data entry", location);
        goto out;
    }
    SD_TRY(st, sd_json_parse(&json, location, d->text, d->length));
    if (!cJSON_IsArray(json->root))
        SD_TRY(st, add_value(f, field, json->root, location, first, end));
    else
        cJSON_ArrayForEach(value, json->root)
            SD_TRY(st, add_value(f, field, value, location, first, end));
out:
    sd_json_close(&json);
    sd_free(location);
    return st;
}

static sd_status read_label(label_search *f, const sd_labels_entry *e, const char *label, uint64_t field)
{
    sd_dataset *set = NULL;
    char *template = NULL, *location = NULL;
    uint64_t at = 0, before = f->n_pairs;
    bool end = false;
    sd_status st;

    SD_TRY(st, sd_str_format(&location, "labels of data '%s'", e->name));
    SD_TRY(st, sd_str_format(&template, "{%s}", label));
    SD_TRY(st, sd_dataset_open(&set, &(sd_dataset_spec){.paths = e->paths, .n_paths = e->n_paths, .format = e->format, .field = template,
                                                        .json = true, .key = "labels"}));
    /* After the last record of a document, continue only while no value was found: the member may be absent everywhere. */
    while (!end && (at < f->n_rows || f->n_pairs == before)) {
        sd_document d;
        uint64_t first;

        if (sd_par_stop_asked()) {
            st = SD_FAIL(SD_E_STOPPED, "stopped by a signal while reading labels: run the same command again");
            goto out;
        }
        if ((st = sd_dataset_next(set, &d, &end)) != SD_OK) {
            st = sd_fail_in(st, location);
            goto out;
        }
        if (end)
            break;
        while (at < f->n_rows && f->tokens->doc_row[f->rows[at]] < d.row)
            at++;
        for (first = at; at < f->n_rows && f->tokens->doc_row[f->rows[at]] == d.row; at++)
            continue;
        if (at > first)
            SD_TRY(st, add_record(f, field, &d, e->name, first, at));
    }
out:
    sd_dataset_close(&set);
    sd_free(template);
    sd_free(location);
    return st;
}

/* Documents of an entry, sorted by record. */
typedef struct row_doc {
    uint64_t row, doc;
} row_doc;

static int by_row(const void *a, const void *b)
{
    const row_doc *x = a, *y = b;

    return x->row != y->row ? (x->row < y->row ? -1 : 1) : x->doc < y->doc ? -1 : x->doc > y->doc;
}

static sd_status order_rows(label_search *f, uint64_t source)
{
    const sd_tokens *t = f->tokens;
    row_doc *list = NULL;
    sd_status st;

    f->n_rows = 0;
    SD_TRY(st, SD_NEW(&list, t->docs));
    for (uint64_t d = 0; d < t->docs; d++)
        if (t->doc_source[d] == source)
            list[f->n_rows++] = (row_doc){t->doc_row[d], d};
    qsort(list, f->n_rows, sizeof *list, by_row);
    for (uint64_t i = 0; i < f->n_rows; i++)
        f->rows[i] = list[i].doc;
out:
    sd_free(list);
    return st;
}

static uint64_t field_of(label_search *f, const char *label)
{
    uint64_t i = 0;

    while (i < f->fields && strcmp(f->field[i], label) != 0)
        i++;
    return i;
}

static sd_status read_all(label_search *f, const sd_labels_entry *entries, uint64_t n_entries)
{
    uint64_t max_fields = 0;
    sd_status st;

    for (uint64_t i = 0; i < n_entries; i++)
        max_fields += entries[i].n_labels;
    SD_TRY(st, SD_NEW(&f->field, max_fields));
    SD_TRY(st, SD_NEW(&f->in_field, max_fields));
    SD_TRY(st, SD_NEW(&f->rows, f->tokens->docs));
    for (uint64_t i = 0; i < n_entries; i++) {
        SD_TRY(st, order_rows(f, i));
        for (uint64_t l = 0; l < entries[i].n_labels; l++) {
            uint64_t field = field_of(f, entries[i].labels[l]);

            if (field == f->fields) {
                SD_TRY(st, sd_str_copy(&f->field[field], entries[i].labels[l]));
                f->fields++;
            }
            SD_TRY(st, read_label(f, &entries[i], entries[i].labels[l], field));
        }
    }
out:
    return st;
}

static int by_doc(const void *a, const void *b)
{
    const pair *x = a, *y = b;

    return x->doc != y->doc ? (x->doc < y->doc ? -1 : 1) : x->value < y->value ? -1 : x->value > y->value;
}

/* Builds the result; values are renumbered in order of field and text. */
static sd_status assemble(label_search *f, sd_labels **labels)
{
    uint64_t *rank = NULL, n = 0;
    sd_labels *l = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&rank, f->values));
    SD_TRY(st, SD_NEW(&l, 1));
    l->docs = f->tokens->docs;
    SD_TRY(st, SD_NEW(&l->value, f->values));
    SD_TRY(st, SD_NEW(&l->of_field, f->values));
    SD_TRY(st, SD_NEW(&l->doc_start, l->docs + 1));
    SD_TRY(st, SD_NEW(&l->doc_value, f->n_pairs));
    for (; l->values < f->values; l->values++) {
        found_value *m = &f->value[l->values];

        rank[m->count] = l->values;
        l->of_field[l->values] = (uint32_t)m->field;
        l->value[l->values] = m->text;
        m->text = NULL;
    }
    for (uint64_t i = 0; i < f->n_pairs; i++)
        f->pairs[i].value = rank[f->pairs[i].value];
    if (f->n_pairs > 0)
        qsort(f->pairs, f->n_pairs, sizeof *f->pairs, by_doc);
    for (uint64_t d = 0, i = 0; d < l->docs; d++) {
        for (; i < f->n_pairs && f->pairs[i].doc == d; i++)
            if (n == l->doc_start[d] || l->doc_value[n - 1] != f->pairs[i].value)
                l->doc_value[n++] = (uint32_t)f->pairs[i].value;
        l->doc_start[d + 1] = n;
    }
    l->field = f->field;
    l->fields = f->fields;
    f->field = NULL;
    f->fields = 0;
    *labels = l;
    l = NULL;
out:
    sd_free(rank);
    sd_labels_destroy(&l);
    return st;
}

sd_status sd_labels_find(const sd_labels_entry *entries, uint64_t n_entries, const sd_tokens *tokens, sd_labels **labels)
{
    label_search f = {.tokens = tokens};
    sd_status st;

    *labels = NULL;
    SD_TRY(st, read_all(&f, entries, n_entries));
    st = assemble(&f, labels);
out:
    for (uint64_t i = 0; i < f.values; i++)
        sd_free(f.value[i].text);
    sd_texts_free(f.field, f.fields);
    sd_free(f.value);
    sd_free(f.in_field);
    sd_free(f.pairs);
    sd_free(f.rows);
    return st;
}
