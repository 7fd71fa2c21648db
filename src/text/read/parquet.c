/* Records from a Parquet file: the columns that the field needs, row by row. */
#include "saediff/text/parquet.h"

#include <string.h>
#include <unistd.h>

#include "parquet.h"
#include "reader.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"

typedef struct parquet_reader {
    pq_file f;
    uint64_t *selected; /* [n_selected] columns */
    uint64_t n_selected;
    pq_column **columns; /* [n_selected] of the current row group */
    pq_entry *entries;   /* [n_selected] the next entry of each */
    bool *ends;          /* [n_selected] the column has no more entries */
    uint64_t group, row; /* of the next row; group: number of row groups opened */
    cJSON *record;
} parquet_reader;

static void close_columns(parquet_reader *r)
{
    for (uint64_t i = 0; r->columns != NULL && i < r->n_selected; i++)
        pq_column_close(&r->columns[i]);
}

static void close_parquet(void *self)
{
    parquet_reader *r = self;

    close_columns(r);
    sd_free(r->columns);
    sd_free(r->entries);
    sd_free(r->ends);
    sd_free(r->selected);
    cJSON_Delete(r->record);
    pq_file_close(&r->f);
    sd_free(r);
}

/* The top-level member of the record that a column belongs to. */
static const pq_node *top_of(const pq_file *f, uint64_t column)
{
    const pq_node *n = &f->nodes[f->columns[column]];

    while (n->parent != 0)
        n = &f->nodes[n->parent];
    return n;
}

static void columns(const void *self, sd_str *out)
{
    const parquet_reader *r = self;
    const pq_node *before = NULL;

    for (uint64_t i = 0; i < r->f.n_columns; i++) {
        const pq_node *n = top_of(&r->f, i);

        if (n != before)
            sd_str_add(out, "%s%s", before != NULL ? ", " : "", n->name);
        before = n;
    }
}

static sd_status choose(parquet_reader *r, const field *needed)
{
    sd_str names = {0};
    sd_status st;

    SD_TRY(st, SD_NEW(&r->selected, r->f.n_columns));
    for (uint64_t i = 0; i < r->f.n_columns; i++)
        if (field_needs(needed, top_of(&r->f, i)->name))
            r->selected[r->n_selected++] = i;
    if (r->n_selected == 0) {
        columns(r, &names);
        st = SD_FAIL(SD_E_DATA, "%s: has none of the columns of the field; it has: %s; set the data entry's \"field\"", r->f.path,
                     names.text != NULL ? names.text : "none");
        goto out;
    }
    SD_TRY(st, SD_NEW(&r->columns, r->n_selected));
    SD_TRY(st, SD_NEW(&r->entries, r->n_selected));
    SD_TRY(st, SD_NEW(&r->ends, r->n_selected));
out:
    sd_str_free(&names);
    return st;
}

static sd_status open_parquet(void **self, const char *path, const reader_options *options)
{
    parquet_reader *r = NULL;
    sd_status st;

    *self = NULL;
    SD_TRY(st, SD_NEW(&r, 1));
    SD_TRY(st, pq_file_open(&r->f, path));
    SD_TRY(st, choose(r, options->field));
    *self = r;
    r = NULL;
out:
    if (r != NULL)
        close_parquet(r);
    return st;
}

/* At the end of a row group all its columns must be at their end. */
static sd_status end_group(parquet_reader *r)
{
    for (uint64_t i = 0; r->group > 0 && i < r->n_selected; i++)
        if (!r->ends[i])
            return pq_column_fail(r->columns[i], "the column has more rows than the row group");
    return SD_OK;
}

static sd_status begin_group(parquet_reader *r)
{
    sd_status st = SD_OK;

    close_columns(r);
    r->row = 0;
    r->group++;
    for (uint64_t i = 0; i < r->n_selected; i++) {
        SD_TRY(st, pq_column_open(&r->columns[i], &r->f, r->group - 1, r->selected[i]));
        SD_TRY(st, pq_column_next(r->columns[i], &r->entries[i], &r->ends[i]));
    }
out:
    return st;
}

static sd_status next_parquet(void *self, record *out, bool *end)
{
    parquet_reader *r = self;
    sd_status st = SD_OK;

    while (r->group == 0 || r->row == r->f.groups[r->group - 1].rows) {
        SD_TRY(st, end_group(r));
        *end = r->group == r->f.n_groups;
        if (*end)
            goto out;
        SD_TRY(st, begin_group(r));
    }
    cJSON_Delete(r->record);
    r->record = cJSON_CreateObject();
    if (r->record == NULL) {
        st = SD_FAIL(SD_E_ENV, "%s: out of memory for a row", r->f.path);
        goto out;
    }
    for (uint64_t i = 0; i < r->n_selected; i++)
        SD_TRY(st, pq_add_row(&r->f, r->selected[i], r->columns[i], &r->entries[i], &r->ends[i], r->record));
    r->row++;
    *end = false;
    *out = (record){.value = r->record};
out:
    return st;
}

static void locate(const void *self, const cJSON *item, sd_str *out)
{
    const parquet_reader *r = self;

    (void)item;
    sd_str_add(out, "%s: row group %llu, row %llu", r->f.path, (unsigned long long)r->group - 1, (unsigned long long)r->row - 1);
}

const reader_format reader_parquet = {"parquet", "record", open_parquet, next_parquet, locate, columns, close_parquet};

/* ---- inspecting a file */

bool sd_is_parquet(const char *path)
{
    uint64_t size;
    char magic[4];
    int fd = -1;
    bool is = sd_file_open_read(path, &fd, &size) == SD_OK && size >= sizeof magic &&
              sd_file_get(fd, path, 0, magic, sizeof magic) == SD_OK && memcmp(magic, "PAR1", sizeof magic) == 0;

    if (fd >= 0)
        close(fd);
    return is;
}

static void print_node(const pq_file *f, const pq_node *n, FILE *out)
{
    static const char *const repetition[] = {"required", "optional", "repeated"};
    static const char *const meaning[] = {"", " text", " list", " map", " decimal", " date", " time", " timestamp", " unsigned", " float16"};
    int depth = 1;

    for (const pq_node *above = n; above->parent != 0; above = &f->nodes[above->parent])
        depth++;
    fprintf(out, "%*s%s  %s %s%s\n", 2 * depth, "", n->name, repetition[n->repetition],
            n->children > 0 ? "group" : pq_type_name(n->type), meaning[n->meaning]);
}

static void print_chunk(const pq_file *f, uint64_t group, uint64_t column, FILE *out)
{
    const pq_chunk *chunk = &f->groups[group].chunks[column];
    sd_str name = {0};
    char bytes[32];

    pq_node_name(f, &f->nodes[f->columns[column]], &name);
    fprintf(out, "  %s  %llu values, %s, %s\n", name.text != NULL ? name.text : "", (unsigned long long)chunk->values,
            sd_str_bytes(bytes, sizeof bytes, (double)chunk->bytes), pq_codec_name(chunk->codec));
    sd_str_free(&name);
}

sd_status sd_parquet_inspect(const char *path, FILE *out)
{
    pq_file f;
    sd_status st;

    SD_TRY(st, pq_file_open(&f, path));
    fprintf(out, "%s: Parquet, %llu rows in %llu row groups, written by %s\n", path, (unsigned long long)f.rows,
            (unsigned long long)f.n_groups, f.writer != NULL && f.writer[0] != '\0' ? f.writer : "an unknown program");
    for (uint64_t i = 1; i < f.n_nodes; i++)
        print_node(&f, &f.nodes[i], out);
    for (uint64_t group = 0; group < f.n_groups; group++) {
        fprintf(out, "row group %llu: %llu rows\n", (unsigned long long)group, (unsigned long long)f.groups[group].rows);
        for (uint64_t column = 0; column < f.n_columns; column++)
            print_chunk(&f, group, column, out);
    }
out:
    pq_file_close(&f);
    return st;
}
