/* Reduce-scatter and all-gather over slices, in rounds of a bounded chunk of every slice. */
#include "group.h"
#include "saediff/dev/dense.h"

/* Elements first … first+count−1 of a buffer; the start of an empty chunk has no meaning. */
static sd_mat part(sd_buf *buf, sd_span elements)
{
    return (sd_mat){.buf = buf, .offset = elements.count > 0 ? elements.first : 0, .rows = 1, .cols = elements.count, .stride = elements.count};
}

/* The chunk of a slice that is exchanged in a round. */
static sd_span chunk(sd_span slice, uint64_t round)
{
    return sd_span_intersect(slice, (sd_span){slice.first + round * SD_GROUP_CHUNK, SD_GROUP_CHUNK});
}

static uint64_t longest(const sd_group *g, const sd_span *slice)
{
    uint64_t most = 0;

    for (int r = 0; r < g->par->size; r++)
        most = slice[r].count > most ? slice[r].count : most;
    return most;
}

static uint64_t rounds_of(const sd_group *g, const sd_span *slice)
{
    return (longest(g, slice) + SD_GROUP_CHUNK - 1) / SD_GROUP_CHUNK;
}

/* Collective. Runs rounds of the transfers that `list` makes, and `after` each of them. On every rank the first round needs the most memory, so a
 * lack of it is detected before anything is sent. */
typedef struct rounds {
    uint64_t (*list)(const sd_group *g, const void *args, uint64_t round); /* fills g->list, returns its length */
    sd_status (*after)(sd_group *g, const void *args, uint64_t round);     /* may be NULL */
    const void *args;
    uint64_t count;
} rounds;

/* st: status of this rank's preparations. A rank whose work between two rounds fails still takes part in the remaining ones. */
static sd_status go(sd_group *g, const rounds *r, sd_status st)
{
    sd_status moved = SD_OK;

    if (st == SD_OK && r->count > 0)
        st = group_prepare(g, g->list, r->list(g, r->args, 0));
    SD_TRY(st, sd_par_agree(g->par, st));
    for (uint64_t i = 0; moved == SD_OK && i < r->count; i++) {
        moved = sd_group_exchange(g, g->list, r->list(g, r->args, i));
        if (moved == SD_OK && st == SD_OK && r->after != NULL)
            st = r->after(g, r->args, i);
    }
    st = sd_par_agree(g->par, st != SD_OK ? st : moved);
out:
    g->broken = st != SD_OK;
    return st;
}

/* ---- reduce-scatter */

typedef struct sum_args {
    sd_buf *vector, *sum;
    const sd_span *slice;
    int sources;
    bool fresh;
} sum_args;

/* Where the chunk from `source` is received: the first of a fresh sum directly in `sum`, the others in `parts`. */
static sd_mat arrival(const sd_group *g, const sum_args *a, int source, uint64_t round)
{
    sd_span mine = chunk(a->slice[g->par->rank], round);

    if (a->fresh && source == 0)
        return part(a->sum, (sd_span){round * SD_GROUP_CHUNK, mine.count});
    return part(g->parts, (sd_span){(uint64_t)source * (sd_buf_count(g->parts) / (uint64_t)a->sources), mine.count});
}

static uint64_t list_sum(const sd_group *g, const void *args, uint64_t round)
{
    const sum_args *a = args;
    int me = g->par->rank;
    uint64_t n = 0;

    for (int r = 0; r < g->par->size; r++) {
        if (r != me && me < a->sources)
            g->list[n++] = (sd_transfer){.what = part(a->vector, chunk(a->slice[r], round)), .peer = r};
        if (r != me && r < a->sources)
            g->list[n++] = (sd_transfer){.what = arrival(g, a, r, round), .peer = r, .arrives = true};
    }
    return n;
}

static sd_status add_round(sd_group *g, const void *args, uint64_t round)
{
    const sum_args *a = args;
    sd_span mine = chunk(a->slice[g->par->rank], round);
    sd_mat to = part(a->sum, (sd_span){round * SD_GROUP_CHUNK, mine.count});
    sd_status st = SD_OK;

    for (int s = 0; mine.count > 0 && s < a->sources; s++) {
        bool own = s == g->par->rank, first = a->fresh && s == 0;
        sd_mat from = own ? part(a->vector, mine) : arrival(g, a, s, round);

        if (first && own)
            SD_TRY(st, sd_dev_scale(g->dev, &(sd_scale){.x = from, .y = to, .scale = 1}));
        else if (!first)
            SD_TRY(st, sd_dev_axpy(g->dev, &(sd_axpy){.x = from, .y = to, .scale = 1}));
    }
out:
    return st;
}

/* Adds the chunk of each source. */
static sd_status make_parts(sd_group *g, const sum_args *a)
{
    uint64_t most = longest(g, a->slice), need = (uint64_t)a->sources * (most < SD_GROUP_CHUNK ? most : SD_GROUP_CHUNK);

    if (g->par->size == 1 || (g->parts != NULL && sd_buf_count(g->parts) >= need))
        return SD_OK;
    sd_buf_destroy(&g->parts);
    return sd_buf_create(&g->parts, g->dev, SD_REAL, need);
}

sd_status sd_group_sum(sd_group *g, sd_buf *vector, int sources, const sd_span *slice, bool fresh, sd_buf *sum)
{
    const sum_args a = {vector, sum, slice, sources, fresh};

    return go(g, &(rounds){list_sum, add_round, &a, rounds_of(g, slice)}, make_parts(g, &a));
}

/* ---- all-gather */

typedef struct collect_args {
    sd_buf *vector;
    const sd_span *slice;
} collect_args;

/* Sends of one array are adjacent in the list, so that it is staged once. */
static uint64_t list_collect(const sd_group *g, const void *args, uint64_t round)
{
    const collect_args *a = args;
    int me = g->par->rank;
    uint64_t n = 0;

    for (int r = 0; r < g->par->size; r++)
        if (r != me)
            g->list[n++] = (sd_transfer){.what = part(a->vector, chunk(a->slice[me], round)), .peer = r};
    for (int r = 0; r < g->par->size; r++)
        if (r != me)
            g->list[n++] = (sd_transfer){.what = part(a->vector, chunk(a->slice[r], round)), .peer = r, .arrives = true};
    return n;
}

sd_status sd_group_collect(sd_group *g, sd_buf *vector, const sd_span *slice)
{
    const collect_args a = {vector, slice};

    return go(g, &(rounds){list_collect, NULL, &a, rounds_of(g, slice)}, SD_OK);
}
