/* Shared by the two attention kernels: rows are cut into tiles that begin at the document's first row, so that other documents in the batch do
 * not change them. */
#ifndef SAEDIFF_DEV_CUDA_ATTENTION_H
#define SAEDIFF_DEV_CUDA_ATTENTION_H

#include "cuda.h"

/* Tile i has rows first[i] … first[i + 1] − 1, all of one start; a row whose start is not valid is a tile by itself. */
struct sd_tiles {
    uint32_t *count; /* 1 */
    uint32_t *first; /* [rows + 1] */
};

/* The work of an attention kernel, a thread block each: all heads of all tiles; the last tiles of a document, which have the most keys, first. */
template <typename T> struct sd_attend {
    sd_view<T> q, k, v, y;
    const int32_t *start;
    sd_tiles tiles;
    uint64_t head, heads, group, window;
    sd_real scale;
};

struct sd_work {
    uint64_t first, rows, start; /* of the tile */
    uint64_t column, kv_column;  /* of the head in q and y, in k and v */
    bool valid;
};

template <typename T> __device__ inline bool sd_find_work(const sd_attend<T> &a, uint64_t i, sd_work *w)
{
    uint64_t count = *a.tiles.count, tile, h = i % a.heads;
    int64_t start;

    if (i >= count * a.heads)
        return false;
    tile = count - 1 - i / a.heads;
    w->first = a.tiles.first[tile];
    w->rows = a.tiles.first[tile + 1] - w->first;
    start = a.start[w->first];
    w->valid = start >= 0 && (uint64_t)start <= w->first;
    w->start = w->valid ? (uint64_t)start : 0;
    w->column = h * a.head;
    w->kv_column = h / a.group * a.head;
    return true;
}

/* The first row that row t of a document attends to. */
__device__ inline uint64_t sd_first_seen(uint64_t start, uint64_t t, uint64_t window)
{
    return window > 0 && t - start >= window ? t + 1 - window : start;
}

/* Cuts all rows into tiles of at most `tile` rows; the lists are in scratch memory. */
sd_status sd_cuda_cut(sd_dev *dev, sd_mat start, uint32_t tile, sd_tiles *tiles);

/* On tensor cores: bf16 and f16 with heads of 32, 64, 96 and 128 components, and rows that begin at multiples of 16 bytes. */
bool sd_cuda_has_mma(const sd_attention *a);
sd_status sd_cuda_attention_mma(sd_dev *dev, const sd_attention *a);

/* The argument of both kernels. */
template <typename T> sd_attend<T> sd_attend_of(const sd_attention *a, sd_tiles tiles)
{
    sd_attend<T> job = {sd_view_of<T>(a->q), sd_view_of<T>(a->k), sd_view_of<T>(a->v), sd_view_of<T>(a->y), sd_view_of<int32_t>(a->start).at,
                        tiles, a->head, a->q.cols / a->head, a->q.cols / a->k.cols, a->window, (sd_real)(1 / sqrt((double)a->head))};

    return job;
}

#endif
