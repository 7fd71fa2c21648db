/* Batches from activation shards. One window of rows lies in host memory in the files' own type, already in training
 * order, so that a batch is one contiguous upload; rows are gathered from the files in rising order. */
#include "saediff/flow/source.h"

#include <stdlib.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/shard.h"

static const char DATASET[] = "activations";

enum { VERSION = 1, OPEN_SHARDS = 128, RUN_ROWS = 1024, GAP_ROWS = 16 };

typedef struct shard {
    char *path;
    sd_shard_reader *reader; /* NULL while closed */
    uint64_t first, rows, used;
} shard;

/* Row `row` of the stream belongs at `place` of the window. */
typedef struct pick {
    uint64_t row, place;
} pick;

struct sd_source {
    sd_dev *dev;
    sd_order *order;
    shard *shards;
    uint64_t n_shards, n_open, uses;
    uint64_t d_model, row_bytes;
    sd_dtype type;
    uint64_t epoch, window, count; /* what `rows` holds; count 0 for nothing yet */
    char *rows;                    /* [window rows, d_model] */
    char *run;                     /* [RUN_ROWS, d_model] */
    uint64_t *order_rows;          /* [window rows] */
    pick *picks;                   /* [window rows] */
    sd_buf *batch, *head;
    sd_transform filter; /* apply NULL: none */
};

/* Closes the shard that was used longest ago; one at least is open. */
static void close_one(sd_source *s)
{
    uint64_t i, oldest = UINT64_MAX;

    for (i = 0; i < s->n_shards; i++)
        if (s->shards[i].reader != NULL && (oldest == UINT64_MAX || s->shards[i].used < s->shards[oldest].used))
            oldest = i;
    sd_shard_close(&s->shards[oldest].reader);
    s->n_open--;
}

static sd_status open_one(sd_source *s, shard *one)
{
    sd_status st = SD_OK;

    one->used = ++s->uses;
    if (one->reader != NULL)
        return SD_OK;
    if (s->n_open == OPEN_SHARDS)
        close_one(s);
    SD_TRY(st, sd_shard_open(&one->reader, one->path, SD_ACTIVATIONS_FORMAT, VERSION));
    s->n_open++;
out:
    return st;
}

/* Opens shard i and checks it against those before it; rows before it are `first`. */
static sd_status check_shard(sd_source *s, uint64_t i, uint64_t first)
{
    shard *one = &s->shards[i];
    uint64_t shape[SD_ARRAY_DIMS], rows = 0;
    sd_dtype type;
    int dims;
    sd_status st;

    SD_TRY(st, open_one(s, one));
    SD_TRY(st, sd_shard_attr_u64(one->reader, "first_row", &one->first));
    SD_TRY(st, sd_shard_attr_u64(one->reader, "rows", &rows));
    SD_TRY(st, sd_shard_shape(one->reader, DATASET, &type, &dims, shape));
    if (dims != 2 || shape[0] != rows || shape[1] == 0 ||
        (type != SD_F32 && type != SD_F64 && type != SD_F16 && type != SD_BF16)) {
        st = SD_FAIL(SD_E_DATA, "%s: '%s' is not a table of floating-point numbers with the %llu rows of its attributes",
                     one->path, DATASET, (unsigned long long)rows);
        goto out;
    }
    if (one->first != first) {
        st = SD_FAIL(SD_E_DATA, "%s: begins at row %llu of the token stream; the shard before it ends at %llu", one->path,
                     (unsigned long long)one->first, (unsigned long long)first);
        goto out;
    }
    if (i > 0 && (type != s->type || shape[1] != s->d_model)) {
        st = SD_FAIL(SD_E_DATA, "%s: has rows of %llu %s, %s has rows of %llu %s", one->path, (unsigned long long)shape[1],
                     sd_dtype_name(type), s->shards[0].path, (unsigned long long)s->d_model, sd_dtype_name(s->type));
        goto out;
    }
    s->type = type;
    s->d_model = shape[1];
    s->row_bytes = shape[1] * sd_dtype_size(type);
    one->rows = rows;
out:
    return st;
}

static sd_status make_room(sd_source *s)
{
    uint64_t window = sd_order_window(s->order);
    sd_status st;

    /* An epoch shorter than a window never fills more than itself. */
    if (window > sd_order_rows(s->order))
        window = sd_order_rows(s->order);
    SD_TRY(st, sd_alloc_bytes((void **)&s->rows, window, s->row_bytes));
    SD_TRY(st, sd_alloc_bytes((void **)&s->run, RUN_ROWS, s->row_bytes));
    SD_TRY(st, SD_NEW(&s->order_rows, window));
    SD_TRY(st, SD_NEW(&s->picks, window));
    SD_TRY(st, sd_buf_create(&s->batch, s->dev, SD_REAL, sd_order_batch(s->order) * s->d_model));
out:
    return st;
}

sd_status sd_source_open_shards(sd_source **source, sd_dev *dev, sd_order *order, uint64_t tokens, const char *const *paths,
                                uint64_t count)
{
    sd_source *s = NULL;
    uint64_t i, rows = 0;
    sd_status st;

    *source = NULL;
    SD_TRY(st, SD_NEW(&s, 1));
    s->dev = dev;
    s->order = order;
    SD_TRY(st, SD_NEW(&s->shards, count));
    s->n_shards = count;
    for (i = 0; i < count; i++) {
        SD_TRY(st, sd_str_copy(&s->shards[i].path, paths[i]));
        SD_TRY(st, check_shard(s, i, rows));
        SD_TRY(st, sd_add_u64(rows, s->shards[i].rows, &rows, paths[i]));
    }
    if (rows != tokens || count == 0) {
        st = SD_FAIL(SD_E_DATA, "%s: the %llu shards hold %llu rows of the token stream, which has %llu",
                     count > 0 ? paths[0] : "no file", (unsigned long long)count, (unsigned long long)rows,
                     (unsigned long long)tokens);
        goto out;
    }
    SD_TRY(st, make_room(s));
    *source = s;
    s = NULL;
out:
    sd_source_close(&s);
    return st;
}

void sd_source_close(sd_source **source)
{
    sd_source *s = *source;
    uint64_t i;

    if (s == NULL)
        return;
    sd_buf_destroy(&s->head);
    sd_buf_destroy(&s->batch);
    for (i = 0; s->shards != NULL && i < s->n_shards; i++) {
        sd_shard_close(&s->shards[i].reader);
        sd_free(s->shards[i].path);
    }
    sd_free(s->shards);
    sd_free(s->picks);
    sd_free(s->order_rows);
    sd_free(s->run);
    sd_free(s->rows);
    sd_free(s);
    *source = NULL;
}

static int by_row(const void *left, const void *right)
{
    const pick *a = left, *b = right;

    return a->row < b->row ? -1 : a->row > b->row;
}

/* Reads the picks first … of one shard as far as they lie close together; *taken of them. Rows of small gaps are read and
 * passed over: that is cheaper than another read. */
static sd_status read_run(sd_source *s, shard *one, const pick *picks, uint64_t count, uint64_t *taken)
{
    uint64_t base = picks[0].row, n = 1, i;
    sd_status st;

    while (n < count && picks[n].row - picks[n - 1].row <= GAP_ROWS && picks[n].row - base < RUN_ROWS &&
           picks[n].row < one->first + one->rows)
        n++;
    SD_TRY(st, open_one(s, one));
    SD_TRY(st, sd_shard_read(one->reader, DATASET, (sd_span){base - one->first, picks[n - 1].row - base + 1}, s->run));
    for (i = 0; i < n; i++)
        memcpy(s->rows + picks[i].place * s->row_bytes, s->run + (picks[i].row - base) * s->row_bytes, s->row_bytes);
    *taken = n;
out:
    return st;
}

static sd_status load(sd_source *s, uint64_t epoch, uint64_t window)
{
    uint64_t count = 0, i, n = 0, at = 0;
    sd_status st;

    if (s->count > 0 && s->epoch == epoch && s->window == window)
        return SD_OK;
    s->count = 0;
    SD_TRY(st, sd_order_fill(s->order, epoch, window, s->order_rows, &count));
    for (i = 0; i < count; i++)
        s->picks[i] = (pick){s->order_rows[i], i};
    qsort(s->picks, count, sizeof *s->picks, by_row);
    for (i = 0; i < count; i += n) {
        while (at < s->n_shards && s->picks[i].row >= s->shards[at].first + s->shards[at].rows)
            at++;
        if (at == s->n_shards) {
            st = SD_FAIL(SD_E_INTERNAL, "row %llu of the data order is in no shard", (unsigned long long)s->picks[i].row);
            goto out;
        }
        SD_TRY(st, read_run(s, &s->shards[at], &s->picks[i], count - i, &n));
    }
    s->epoch = epoch;
    s->window = window;
    s->count = count;
out:
    return st;
}

void sd_source_transform(sd_source *source, sd_transform filter)
{
    source->filter = filter;
}

static sd_status filter(sd_source *s, sd_mat rows)
{
    return s->filter.apply == NULL ? SD_OK : s->filter.apply(s->filter.self, s->dev, rows);
}

sd_status sd_source_batch(sd_source *source, uint64_t step, sd_mat *x)
{
    uint64_t batch = sd_order_batch(source->order), steps = sd_order_steps_per_epoch(source->order);
    uint64_t per_window = sd_order_window(source->order) / batch, in_epoch = step % steps;
    sd_mat to = sd_mat_of(source->batch, batch, source->d_model);
    sd_status st;

    SD_TRY(st, load(source, step / steps, in_epoch / per_window));
    SD_TRY(st, sd_dev_upload_as(source->dev, source->rows + in_epoch % per_window * batch * source->row_bytes, source->type,
                                to));
    SD_TRY(st, filter(source, to));
    *x = to;
out:
    return st;
}

sd_status sd_source_head(sd_source *source, uint64_t rows, sd_mat *x)
{
    sd_mat to;
    sd_status st;

    SD_TRY(st, load(source, 0, 0));
    if (rows == 0 || rows > source->count) {
        st = SD_FAIL(SD_E_INTERNAL, "%llu rows asked for at the head of an order whose first window has %llu",
                     (unsigned long long)rows, (unsigned long long)source->count);
        goto out;
    }
    sd_buf_destroy(&source->head);
    SD_TRY(st, sd_buf_create(&source->head, source->dev, SD_REAL, rows * source->d_model));
    to = sd_mat_of(source->head, rows, source->d_model);
    SD_TRY(st, sd_dev_upload_as(source->dev, source->rows, source->type, to));
    SD_TRY(st, filter(source, to));
    *x = to;
out:
    return st;
}
