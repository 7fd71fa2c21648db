#include <stdlib.h>
#include <string.h>

#include "h5.h"
#include "saediff/core/hash.h"
#include "saediff/core/mem.h"
#include "shard_io.h"

uint64_t sd_shard_blocks(uint64_t rows)
{
    return rows / SD_BLOCK_ROWS + (rows % SD_BLOCK_ROWS != 0);
}

static sd_status add(sd_written_spans *spans, const sd_written_span *p, const void *bytes, uint64_t size)
{
    sd_written_span *last = spans->count > 0 ? &spans->at[spans->count - 1] : NULL, *more = NULL;
    sd_status st = SD_OK;

    if (last != NULL && last->dataset == p->dataset && last->first + last->rows == p->first &&
        last->first / SD_BLOCK_ROWS == p->first / SD_BLOCK_ROWS) {
        last->crc = sd_crc32c(last->crc, bytes, size);
        last->rows += p->rows;
        return SD_OK;
    }
    if (spans->count == spans->capacity) {
        uint64_t capacity = spans->capacity == 0 ? 64 : 2 * spans->capacity;

        SD_TRY(st, SD_NEW(&more, capacity));
        if (spans->count > 0)
            memcpy(more, spans->at, spans->count * sizeof *more);
        sd_free(spans->at);
        spans->at = more;
        spans->capacity = capacity;
    }
    spans->at[spans->count] = *p;
    spans->at[spans->count++].crc = sd_crc32c(0, bytes, size);
out:
    return st;
}

sd_status sd_written_spans_add(sd_written_spans *spans, uint64_t dataset, int rank, sd_span rows, const void *data, uint64_t row_bytes)
{
    uint64_t done = 0;
    sd_status st = SD_OK;

    while (done < rows.count) {
        sd_written_span p = {.dataset = dataset, .first = rows.first + done, .rank = (uint32_t)rank};

        p.rows = SD_BLOCK_ROWS - p.first % SD_BLOCK_ROWS;
        if (p.rows > rows.count - done)
            p.rows = rows.count - done;
        SD_TRY(st, add(spans, &p, (const char *)data + done * row_bytes, p.rows * row_bytes));
        done += p.rows;
    }
out:
    return st;
}

static int in_order(const void *left, const void *right)
{
    const sd_written_span *a = left, *b = right;

    if (a->dataset != b->dataset)
        return a->dataset < b->dataset ? -1 : 1;
    return a->first < b->first ? -1 : a->first > b->first;
}

sd_status sd_written_spans_join(sd_written_spans *spans, const char *path, const sd_array *arrays, uint64_t n, uint32_t *const *tables)
{
    uint64_t i = 0, d, row_bytes, bytes;
    sd_status st = SD_OK;

    qsort(spans->at, spans->count, sizeof *spans->at, in_order);
    for (d = 0; d < n; d++) {
        const sd_array *a = &arrays[d];
        uint64_t row = 0;

        SD_TRY(st, sd_h5_measure(path, a->name, a->type, a->dims, a->shape, &row_bytes, &bytes));
        for (; i < spans->count && spans->at[i].dataset == d; i++) {
            const sd_written_span *p = &spans->at[i];
            uint32_t *crc = &tables[d][p->first / SD_BLOCK_ROWS];

            if (p->first < row) {
                st = SD_FAIL(SD_E_INTERNAL, "%s: row %llu of '%s' was written twice, also by rank %lu", path,
                             (unsigned long long)p->first, a->name, (unsigned long)p->rank);
                goto out;
            }
            if (p->first > row)
                break;
            *crc = p->first % SD_BLOCK_ROWS == 0 ? p->crc : sd_crc32c_join(*crc, p->crc, p->rows * row_bytes);
            row += p->rows;
        }
        if (row != a->shape[0]) {
            st = SD_FAIL(SD_E_INTERNAL, "%s: row %llu of '%s', which has %llu, was not written by any rank", path,
                         (unsigned long long)row, a->name, (unsigned long long)a->shape[0]);
            goto out;
        }
    }
out:
    return st;
}

sd_status sd_written_spans_rechecks(const sd_written_spans *spans, uint64_t n, int ranks, sd_recheck **rechecks, uint64_t *count)
{
    uint64_t size = (uint64_t)ranks, i, w, found = 0;
    const sd_written_span **first = NULL, **last = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&first, n * size));
    SD_TRY(st, SD_NEW(&last, n * size));
    SD_TRY(st, SD_NEW(rechecks, 2 * n * size));
    for (i = 0; i < spans->count; i++) {
        w = spans->at[i].dataset * size + spans->at[i].rank;
        if (first[w] == NULL)
            first[w] = &spans->at[i];
        last[w] = &spans->at[i];
    }
    for (w = 0; w < n * size; w++) {
        uint64_t a = first[w] == NULL ? 0 : first[w]->first / SD_BLOCK_ROWS;
        uint64_t b = first[w] == NULL ? 0 : last[w]->first / SD_BLOCK_ROWS;

        if (first[w] == NULL)
            continue;
        (*rechecks)[found++] = (sd_recheck){w / size, a, (w % size + 1) % size};
        if (b != a)
            (*rechecks)[found++] = (sd_recheck){w / size, b, (w % size + 1) % size};
    }
    *count = found;
out:
    sd_free(last);
    sd_free(first);
    return st;
}
