/* The footer of a Parquet file: schema, row groups and the offsets of their columns. Every value is checked against the file before use. */
#include <string.h>
#include <unistd.h>

#include "parquet.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "thrift.h"

enum { MAGIC = 4, LENGTH = 4, MAX_SCALE = 64 };

typedef struct footer {
    pq_file *f;
    thrift t;
    const uint8_t *begin;
    uint64_t offset; /* offset of `begin` in the file */
} footer;

const char *pq_type_name(pq_type type)
{
    static const char *const names[PQ_TYPES] = {"BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY",
                                                "FIXED_LEN_BYTE_ARRAY"};

    return names[type];
}

const char *pq_codec_name(pq_codec codec)
{
    static const char *const names[PQ_CODECS] = {"UNCOMPRESSED", "SNAPPY", "GZIP", "LZO", "BROTLI", "LZ4", "ZSTD", "LZ4_RAW"};

    return names[codec];
}

static sd_status fail_file(const pq_file *f, const char *what)
{
    return SD_FAIL(SD_E_DATA, "%s: %s", f->path, what);
}

static sd_status fail_footer(const footer *r, const char *what)
{
    return SD_FAIL(SD_E_DATA, "%s: the footer is damaged at byte %llu of the file: %s", r->f->path,
                   (unsigned long long)(r->offset + (uint64_t)(r->t.at - r->begin)), what);
}

/* ---- schema */

/* A schema element as stored, before levels and targets are assigned. */
typedef struct element {
    int64_t type, length, repetition, children, converted, scale;
    bool grouped; /* num_children is present */
    const char *name;
    uint64_t name_length;
    pq_meaning meaning;
    int unit;
} element;

static void read_integer(thrift *t, element *e)
{
    for (thrift_field f = {0}; thrift_next(t, &f);) {
        if (f.id == 2)
            e->meaning = thrift_bool(t, &f) ? PQ_ITSELF : PQ_UNSIGNED;
        else
            thrift_skip(t, &f);
    }
}

static void read_decimal(thrift *t, element *e)
{
    e->meaning = PQ_DECIMAL;
    for (thrift_field f = {0}; thrift_next(t, &f);) {
        if (f.id == 1)
            e->scale = thrift_int(t, &f);
        else
            thrift_skip(t, &f);
    }
}

/* The unit is a union of empty structs. */
static void read_timestamp(thrift *t, element *e)
{
    e->meaning = PQ_TIMESTAMP;
    for (thrift_field f = {0}; thrift_next(t, &f);) {
        if (f.id != 2 || !thrift_struct(t, &f)) {
            thrift_skip(t, &f);
            continue;
        }
        for (thrift_field unit = {0}; thrift_next(t, &unit);) {
            e->unit = unit.id == 1 ? 3 : unit.id == 2 ? 6 : 9;
            thrift_skip(t, &unit);
        }
    }
}

static void read_logical(thrift *t, element *e)
{
    static const pq_meaning plain[16] = {[1] = PQ_TEXT, [2] = PQ_MAP,  [3] = PQ_LIST, [4] = PQ_TEXT,
                                         [6] = PQ_DATE, [7] = PQ_TIME, [12] = PQ_TEXT, [15] = PQ_FLOAT16};

    for (thrift_field f = {0}; thrift_next(t, &f);) {
        if (f.id == 5 && thrift_struct(t, &f)) {
            read_decimal(t, e);
        } else if (f.id == 8 && thrift_struct(t, &f)) {
            read_timestamp(t, e);
        } else if (f.id == 10 && thrift_struct(t, &f)) {
            read_integer(t, e);
        } else {
            e->meaning = f.id > 0 && f.id < 16 ? plain[f.id] : PQ_ITSELF;
            thrift_skip(t, &f);
        }
    }
}

/* The older names of the same; a logical type takes precedence. */
static void apply_converted(element *e)
{
    static const pq_meaning meaning[22] = {[0] = PQ_TEXT,      [1] = PQ_MAP,       [2] = PQ_MAP,       [3] = PQ_LIST,
                                           [4] = PQ_TEXT,      [5] = PQ_DECIMAL,   [6] = PQ_DATE,      [7] = PQ_TIME,
                                           [8] = PQ_TIME,      [9] = PQ_TIMESTAMP, [10] = PQ_TIMESTAMP, [11] = PQ_UNSIGNED,
                                           [12] = PQ_UNSIGNED, [13] = PQ_UNSIGNED, [14] = PQ_UNSIGNED, [19] = PQ_TEXT};

    if (e->meaning != PQ_ITSELF || e->converted < 0 || e->converted >= 22)
        return;
    e->meaning = meaning[e->converted];
    if (e->converted == 9 || e->converted == 10)
        e->unit = e->converted == 9 ? 3 : 6;
}

static void read_element(thrift *t, element *e)
{
    *e = (element){.type = -1, .converted = -1, .name = ""};
    for (thrift_field f = {0}; thrift_next(t, &f);) {
        switch (f.id) {
        case 1:
            e->type = thrift_int(t, &f);
            break;
        case 2:
            e->length = thrift_int(t, &f);
            break;
        case 3:
            e->repetition = thrift_int(t, &f);
            break;
        case 4:
            e->name = thrift_text(t, &f, &e->name_length);
            break;
        case 5:
            e->children = thrift_int(t, &f);
            e->grouped = true;
            break;
        case 6:
            e->converted = thrift_int(t, &f);
            break;
        case 7:
            e->scale = thrift_int(t, &f);
            break;
        case 10:
            if (thrift_struct(t, &f))
                read_logical(t, e);
            break;
        default:
            thrift_skip(t, &f);
        }
    }
    apply_converted(e);
}

static const char *check_element(const element *e, bool root)
{
    size_t bad;

    if (e->repetition < 0 || e->repetition > 2 || (e->grouped ? e->children < 0 : e->type < 0 || e->type >= PQ_TYPES))
        return "an entry of the schema is neither a column nor a group";
    if (!root && e->grouped && e->children == 0)
        return "a group of the schema has no column";
    if (e->type == PQ_FIXED && (e->length <= 0 || e->length > 1 << 30))
        return "a fixed-length column has no length";
    if (e->scale < 0 || e->scale > MAX_SCALE)
        return "the scale of a decimal is out of range";
    if (!sd_utf8_valid(e->name, e->name_length, &bad) || memchr(e->name, '\0', e->name_length) != NULL)
        return "a column's name is not UTF-8";
    return NULL;
}

static sd_status set_node(footer *r, uint64_t at, const element *e)
{
    pq_node *n = &r->f->nodes[at];
    sd_status st;

    SD_TRY(st, SD_NEW(&n->name, e->name_length + 1));
    memcpy(n->name, e->name, e->name_length);
    n->children = e->grouped ? (uint32_t)(e->children < UINT32_MAX ? e->children : UINT32_MAX) : 0;
    n->repetition = at == 0 ? PQ_REQUIRED : e->repetition == 0 ? PQ_REQUIRED : e->repetition == 1 ? PQ_OPTIONAL : PQ_REPEATED;
    n->type = e->grouped ? PQ_TYPES : (pq_type)e->type;
    n->length = (uint32_t)e->length;
    n->meaning = e->meaning == PQ_DATE && n->type != PQ_INT32 ? PQ_ITSELF : e->meaning; /* days are 32 bits */
    n->scale = e->meaning == PQ_TIMESTAMP ? e->unit : (int)e->scale;
    r->f->n_nodes = at + 1;
out:
    return st;
}

/* "Backward-compatibility rules" of LogicalTypes.md: whether the repeated node of a list is its entry, or only wraps it. */
static bool wraps_entry(const pq_file *f, const pq_node *list, uint64_t repeated)
{
    const pq_node *n = &f->nodes[repeated];
    size_t length = strlen(list->name);

    if (n->children != 1 || repeated + 1 >= f->n_nodes || f->nodes[repeated + 1].repetition == PQ_REPEATED)
        return false;
    if (strcmp(n->name, "array") == 0)
        return false;
    return strncmp(n->name, list->name, length) != 0 || strcmp(n->name + length, "_tuple") != 0;
}

/* Assigns levels and targets once all nodes are read. */
static sd_status link_nodes(footer *r)
{
    pq_file *f = r->f;
    uint32_t open[PQ_DEPTH], left[PQ_DEPTH];
    int depth = 0;

    open[0] = 0;
    left[0] = f->nodes[0].children;
    for (uint32_t i = 1; i < f->n_nodes; i++) {
        pq_node *n = &f->nodes[i], *parent;
        bool of_list;

        while (depth > 0 && left[depth] == 0)
            depth--;
        if (left[depth] == 0)
            return fail_footer(r, "the schema has more entries than its groups");
        left[depth]--;
        n->parent = open[depth];
        parent = &f->nodes[n->parent];
        n->max_def = parent->max_def + (n->repetition != PQ_REQUIRED);
        n->max_rep = parent->max_rep + (n->repetition == PQ_REPEATED);
        of_list = parent->meaning == PQ_LIST || parent->meaning == PQ_MAP;
        if (n->repetition == PQ_REPEATED && of_list && parent->children == 1 && n->parent != 0)
            n->target = PQ_ENTRIES;
        else if (parent->target == PQ_ENTRIES && f->nodes[parent->parent].meaning == PQ_LIST &&
                 wraps_entry(f, &f->nodes[parent->parent], n->parent))
            n->target = PQ_SAME;
        if (n->children == 0) {
            n->column = (uint32_t)f->n_columns;
            f->columns[f->n_columns++] = i;
        } else {
            if (++depth == PQ_DEPTH)
                return fail_footer(r, "the schema is nested too deeply");
            open[depth] = i;
            left[depth] = n->children;
        }
    }
    while (depth > 0 && left[depth] == 0)
        depth--;
    return left[depth] == 0 ? SD_OK : fail_footer(r, "the schema has fewer entries than its groups");
}

static sd_status read_schema(footer *r, const thrift_field *field)
{
    uint64_t count = thrift_structs(&r->t, field);
    sd_status st;

    if (r->t.wrong != NULL || count == 0 || r->f->nodes != NULL)
        return fail_footer(r, r->t.wrong != NULL ? r->t.wrong : "it has no schema, or more than one");
    SD_TRY(st, SD_NEW(&r->f->nodes, count));
    SD_TRY(st, SD_NEW(&r->f->columns, count));
    for (uint64_t i = 0; i < count; i++) {
        element e;
        const char *wrong;

        read_element(&r->t, &e);
        wrong = r->t.wrong != NULL ? r->t.wrong : i == 0 && !e.grouped ? "the schema does not begin with a group" : check_element(&e, i == 0);
        if (wrong != NULL) {
            st = fail_footer(r, wrong);
            goto out;
        }
        SD_TRY(st, set_node(r, i, &e));
    }
    st = link_nodes(r);
out:
    return st;
}

/* ---- row groups */

typedef struct chunk_text {
    int64_t type, codec, values, bytes, data, dictionary;
    bool elsewhere, encrypted, whole;
} chunk_text;

static void read_chunk_data(thrift *t, chunk_text *c)
{
    c->whole = true;
    for (thrift_field f = {0}; thrift_next(t, &f);) {
        int64_t *into = f.id == 1    ? &c->type
                        : f.id == 4  ? &c->codec
                        : f.id == 5  ? &c->values
                        : f.id == 7  ? &c->bytes
                        : f.id == 9  ? &c->data
                        : f.id == 11 ? &c->dictionary
                                     : NULL;

        if (into != NULL)
            *into = thrift_int(t, &f);
        else
            thrift_skip(t, &f);
    }
}

static sd_status read_chunk(footer *r, const pq_node *node, pq_chunk *chunk)
{
    chunk_text c = {.type = -1, .codec = -1, .values = -1, .bytes = -1, .data = -1};
    uint64_t first, end = r->offset;
    const char *wrong = NULL;

    for (thrift_field f = {0}; thrift_next(&r->t, &f);) {
        uint64_t length = 0;

        if (f.id == 3 && thrift_struct(&r->t, &f)) {
            read_chunk_data(&r->t, &c);
            continue;
        }
        if (f.id == 1)
            thrift_text(&r->t, &f, &length);
        else
            thrift_skip(&r->t, &f);
        c.elsewhere |= length > 0;
        c.encrypted |= f.id == 8;
    }
    first = (uint64_t)(c.dictionary > 0 && c.dictionary < c.data ? c.dictionary : c.data);
    if (r->t.wrong != NULL)
        wrong = r->t.wrong;
    else if (c.encrypted)
        wrong = "a column is encrypted, which is not supported";
    else if (c.elsewhere)
        wrong = "a column is in another file, which is not supported";
    else if (!c.whole || c.type != (int64_t)node->type || c.codec < 0 || c.codec >= PQ_CODECS || c.values < 0)
        wrong = "a column of a row group does not match the schema, or has an unknown codec";
    else if (c.data < MAGIC || c.bytes < 0 || first > end || (uint64_t)c.bytes > end - first)
        wrong = "a column of a row group is outside the file";
    if (wrong != NULL)
        return fail_footer(r, wrong);
    *chunk = (pq_chunk){(pq_codec)c.codec, (uint64_t)c.values, first, (uint64_t)c.bytes};
    return SD_OK;
}

static sd_status read_chunks(footer *r, const thrift_field *field, pq_group *group)
{
    pq_file *f = r->f;
    uint64_t count = thrift_structs(&r->t, field);
    sd_status st;

    if (r->t.wrong != NULL || count != f->n_columns || group->chunks != NULL)
        return fail_footer(r, r->t.wrong != NULL ? r->t.wrong : "the columns of a row group differ from the schema");
    SD_TRY(st, SD_NEW(&group->chunks, count));
    for (uint64_t i = 0; i < count; i++)
        SD_TRY(st, read_chunk(r, &f->nodes[f->columns[i]], &group->chunks[i]));
out:
    return st;
}

static sd_status read_group(footer *r, pq_group *group)
{
    int64_t rows = -1;
    sd_status st = SD_OK;

    for (thrift_field f = {0}; thrift_next(&r->t, &f);) {
        if (f.id == 1)
            SD_TRY(st, read_chunks(r, &f, group));
        else if (f.id == 3)
            rows = thrift_int(&r->t, &f);
        else
            thrift_skip(&r->t, &f);
    }
    if (r->t.wrong != NULL || rows < 0 || group->chunks == NULL) {
        st = fail_footer(r, r->t.wrong != NULL ? r->t.wrong : "a row group has no columns or no row count");
        goto out;
    }
    group->rows = (uint64_t)rows;
out:
    return st;
}

static sd_status read_groups(footer *r, const thrift_field *field)
{
    pq_file *f = r->f;
    uint64_t count = thrift_structs(&r->t, field);
    sd_status st;

    if (r->t.wrong != NULL || f->nodes == NULL || f->groups != NULL)
        return fail_footer(r, r->t.wrong != NULL ? r->t.wrong : "row groups are before the schema, or repeated");
    SD_TRY(st, SD_NEW(&f->groups, count));
    while (f->n_groups < count)
        SD_TRY(st, read_group(r, &f->groups[f->n_groups++]));
out:
    return st;
}

static sd_status read_writer(footer *r, const thrift_field *field)
{
    uint64_t length;
    const char *text = thrift_text(&r->t, field, &length);
    size_t bad;

    if (r->t.wrong != NULL || !sd_utf8_valid(text, length, &bad) || r->f->writer != NULL)
        return SD_OK;
    if (SD_NEW(&r->f->writer, length + 1) != SD_OK)
        return SD_E_ENV;
    memcpy(r->f->writer, text, length);
    return SD_OK;
}

static sd_status read_footer(footer *r)
{
    uint64_t total = 0;
    int64_t rows = -1;
    sd_status st = SD_OK;

    for (thrift_field f = {0}; thrift_next(&r->t, &f);) {
        if (f.id == 2)
            SD_TRY(st, read_schema(r, &f));
        else if (f.id == 3)
            rows = thrift_int(&r->t, &f);
        else if (f.id == 4)
            SD_TRY(st, read_groups(r, &f));
        else if (f.id == 6)
            SD_TRY(st, read_writer(r, &f));
        else
            thrift_skip(&r->t, &f);
    }
    for (uint64_t i = 0; i < r->f->n_groups; i++)
        SD_TRY(st, sd_add_u64(total, r->f->groups[i].rows, &total, "rows of a Parquet file"));
    if (r->t.wrong != NULL || r->f->nodes == NULL || rows < 0 || total != (uint64_t)rows)
        st = fail_footer(r, r->t.wrong != NULL ? r->t.wrong : "the rows of its row groups do not add up to the rows of the file");
    r->f->rows = total;
out:
    return st;
}

sd_status pq_file_open(pq_file *f, const char *path)
{
    uint8_t *bytes = NULL, tail[LENGTH + MAGIC];
    uint64_t length, max_length;
    footer r = {.f = f};
    sd_status st;

    *f = (pq_file){.path = path, .fd = -1};
    SD_TRY(st, sd_file_open_read(path, &f->fd, &f->size));
    if (f->size < MAGIC + sizeof tail) {
        st = fail_file(f, "the file is too short for Parquet");
        goto out;
    }
    max_length = f->size - MAGIC - sizeof tail;
    SD_TRY(st, sd_file_get(f->fd, path, f->size - sizeof tail, tail, sizeof tail));
    length = (uint64_t)tail[0] | (uint64_t)tail[1] << 8 | (uint64_t)tail[2] << 16 | (uint64_t)tail[3] << 24;
    if (memcmp(tail + LENGTH, "PAR1", MAGIC) != 0 || length > max_length) {
        st = fail_file(f, memcmp(tail + LENGTH, "PARE", MAGIC) == 0 ? "encrypted Parquet files are not supported; decrypt it first"
                          : memcmp(tail + LENGTH, "PAR1", MAGIC) == 0 ? "the footer is longer than the file"
                                                                      : "the file does not end with the magic number of Parquet; it may be truncated");
        goto out;
    }
    SD_TRY(st, SD_NEW(&bytes, length));
    r.offset = f->size - sizeof tail - length;
    SD_TRY(st, sd_file_get(f->fd, path, r.offset, bytes, length));
    r.begin = bytes;
    r.t = (thrift){.at = bytes, .end = bytes + length};
    st = read_footer(&r);
out:
    sd_free(bytes);
    return st;
}

void pq_file_close(pq_file *f)
{
    for (uint64_t i = 0; i < f->n_nodes; i++)
        sd_free(f->nodes[i].name);
    for (uint64_t i = 0; i < f->n_groups; i++)
        sd_free(f->groups[i].chunks);
    sd_free(f->nodes);
    sd_free(f->columns);
    sd_free(f->groups);
    sd_free(f->writer);
    if (f->fd >= 0)
        close(f->fd);
    *f = (pq_file){.fd = -1};
}

void pq_node_name(const pq_file *f, const pq_node *node, sd_str *out)
{
    if (node->parent != 0)
        pq_node_name(f, &f->nodes[node->parent], out);
    sd_str_add(out, "%s%s", node->parent != 0 ? "." : "", node->name);
}
