/* Byte-pair merging of one piece of normalised text. The lowest rank goes first, then the leftmost, as in Hugging Face's tokenizers:
 * a heap of (rank, position) over a linked list of symbols. An entry whose pair has changed since is dropped unless the pair that
 * stands there now makes the same token: the reference library compares the resulting id only. */
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "parts.h"

#define NONE UINT32_MAX

typedef struct symbol {
    int32_t id; /* −1 once merged into its left neighbour */
    uint32_t prev, next;
    uint32_t begin, end; /* bytes of the piece */
} symbol;

typedef struct work {
    symbol *symbols;
    uint64_t *heap; /* rank · 2^32 + position */
    uint64_t n_symbols, n_heap;
} work;

static void sift_down(uint64_t *heap, uint64_t count, uint64_t node)
{
    uint64_t moving = heap[node];

    for (uint64_t child; (child = 2 * node + 1) < count; node = child) {
        if (child + 1 < count && heap[child + 1] < heap[child])
            child++;
        if (moving <= heap[child])
            break;
        heap[node] = heap[child];
    }
    heap[node] = moving;
}

static void push(work *w, uint64_t entry)
{
    uint64_t node = w->n_heap++;

    while (node > 0 && entry < w->heap[(node - 1) / 2]) {
        w->heap[node] = w->heap[(node - 1) / 2];
        node = (node - 1) / 2;
    }
    w->heap[node] = entry;
}

static uint64_t pop(work *w)
{
    uint64_t top = w->heap[0];

    w->heap[0] = w->heap[--w->n_heap];
    if (w->n_heap > 0)
        sift_down(w->heap, w->n_heap, 0);
    return top;
}

static void add_symbol(work *w, int32_t id, uint64_t begin, uint64_t end)
{
    uint32_t at = (uint32_t)w->n_symbols++;

    w->symbols[at] = (symbol){id, at == 0 ? NONE : at - 1, NONE, (uint32_t)begin, (uint32_t)end};
    if (at > 0)
        w->symbols[at - 1].next = at;
}

/* A character outside the vocabulary as byte tokens, if the vocabulary has all of them. */
static bool add_bytes(const sd_tokenizer *t, work *w, const char *bytes, uint64_t at, uint64_t length)
{
    for (uint64_t i = 0; i < length; i++)
        if (t->byte_id[(uint8_t)bytes[at + i]] < 0)
            return false;
    for (uint64_t i = 0; i < length; i++)
        add_symbol(w, t->byte_id[(uint8_t)bytes[at + i]], at + i, at + i + 1);
    return true;
}

/* Characters to symbols. An unknown token waits for the next known character or the end, and byte tokens pass it by: so does the
 * reference library. Without an unknown token the character is dropped, and its neighbours may merge. */
static void split(const sd_tokenizer *t, work *w, const char *bytes, uint64_t count)
{
    uint64_t unk_begin = 0, unk_end = 0;

    for (uint64_t at = 0, length; at < count; at += length) {
        int32_t id;

        length = sd_utf8_length(bytes + at, count - at);
        length = length == 0 ? 1 : length;
        id = tok_find(t, bytes + at, length);
        if (id < 0 && t->byte_fallback && add_bytes(t, w, bytes, at, length))
            continue;
        if (id < 0 && t->unk < 0)
            continue;
        if (unk_end > unk_begin && (id >= 0 || !t->fuse_unk)) {
            add_symbol(w, t->unk, unk_begin, unk_end);
            unk_end = unk_begin;
        }
        if (id >= 0) {
            add_symbol(w, id, at, at + length);
        } else {
            unk_begin = unk_end > unk_begin ? unk_begin : at;
            unk_end = at + length;
        }
    }
    if (unk_end > unk_begin)
        add_symbol(w, t->unk, unk_begin, unk_end);
}

static void offer(const sd_tokenizer *t, work *w, uint32_t left)
{
    const symbol *s = &w->symbols[left];
    uint32_t rank = tok_rank(t, s->id, w->symbols[s->next].id);

    if (rank != UINT32_MAX)
        push(w, (uint64_t)rank << 32 | left);
}

static void merge(const sd_tokenizer *t, work *w)
{
    while (w->n_heap > 0) {
        uint64_t top = pop(w);
        int32_t result = t->merges.result[top >> 32];
        uint32_t at = (uint32_t)top, rank;
        symbol *left = &w->symbols[at], *right;

        if (left->id < 0 || left->next == NONE)
            continue;
        right = &w->symbols[left->next];
        rank = tok_rank(t, left->id, right->id);
        if (rank == UINT32_MAX || t->merges.result[rank] != result)
            continue;
        left->id = result;
        left->begin = right->begin < left->begin ? right->begin : left->begin;
        left->end = right->end > left->end ? right->end : left->end;
        left->next = right->next;
        right->id = -1;
        if (left->next != NONE)
            w->symbols[left->next].prev = at;
        if (left->prev != NONE)
            offer(t, w, left->prev);
        if (left->next != NONE)
            offer(t, w, at);
    }
}

sd_status tok_bpe(const sd_tokenizer *t, const tok_text *text, uint64_t first, uint64_t count, tok_out *out)
{
    work w = {0};
    sd_status st = SD_OK;

    if (count == 0)
        goto out;
    /* Each merge takes one entry and adds at most two, and there are fewer merges than symbols. */
    SD_TRY(st, SD_NEW(&w.symbols, count + 1));
    SD_TRY(st, SD_NEW(&w.heap, 2 * count + 2));
    split(t, &w, text->bytes + first, count);
    for (uint64_t i = 0; i + 1 < w.n_symbols; i++)
        offer(t, &w, (uint32_t)i);
    merge(t, &w);
    for (uint32_t at = w.n_symbols ? 0 : NONE; at != NONE; at = w.symbols[at].next) {
        const symbol *s = &w.symbols[at];

        SD_TRY(st, tok_out_add(out, s->id, text->begin[first + s->begin], text->end[first + s->end - 1]));
    }
out:
    sd_free(w.symbols);
    sd_free(w.heap);
    return st;
}
