/* Byte-pair merging of one pre-token of normalised text. The lowest rank is merged first, then the leftmost, as in Hugging Face's
 * tokenizers: a heap of (rank, position) over a linked list of symbols. An entry whose pair has changed since is dropped unless the
 * current pair makes the same token: the reference library compares the resulting id only. */
#include <string.h>

#include "saediff/core/mem.h"
#include "parts.h"

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

static void push(tok_work *w, uint64_t entry)
{
    uint64_t node = w->n_heap++;

    while (node > 0 && entry < w->heap[(node - 1) / 2]) {
        w->heap[node] = w->heap[(node - 1) / 2];
        node = (node - 1) / 2;
    }
    w->heap[node] = entry;
}

static uint64_t pop(tok_work *w)
{
    uint64_t top = w->heap[0];

    w->heap[0] = w->heap[--w->n_heap];
    if (w->n_heap > 0)
        sift_down(w->heap, w->n_heap, 0);
    return top;
}

static void add_symbol(tok_work *w, int32_t id, uint64_t length)
{
    uint32_t at = (uint32_t)w->n_symbols++;

    w->symbols[at] = (tok_symbol){id, at == 0 ? TOK_END : at - 1, TOK_END, (uint32_t)length};
    if (at > 0)
        w->symbols[at - 1].next = at;
}

/* A character outside the vocabulary as byte tokens, if the vocabulary has all of them. */
static bool add_bytes(const sd_tokenizer *t, tok_work *w, const char *bytes, uint64_t length)
{
    for (uint64_t i = 0; i < length; i++)
        if (t->byte_id[(uint8_t)bytes[i]] < 0)
            return false;
    for (uint64_t i = 0; i < length; i++)
        add_symbol(w, t->byte_id[(uint8_t)bytes[i]], 1);
    return true;
}

/* Characters to symbols. An unknown token is emitted before the next known character or at the end, after byte tokens in between, as in
 * the reference library. Without an unknown token the character is dropped, and its neighbours may merge. */
static void split(const sd_tokenizer *t, tok_work *w, const char *bytes, uint64_t count)
{
    uint64_t unk = 0; /* pending bytes of unknown characters */

    for (uint64_t at = 0, length; at < count; at += length) {
        uint32_t point = tok_code_point(bytes + at, &length);
        int32_t id = point < TOK_DIRECT ? t->direct_id[point] : tok_find(t, bytes + at, length);

        if (id < 0 && t->byte_fallback && add_bytes(t, w, bytes + at, length))
            continue;
        if (id < 0 && t->unk < 0)
            continue;
        if (unk > 0 && (id >= 0 || !t->fuse_unk)) {
            add_symbol(w, t->unk, unk);
            unk = 0;
        }
        if (id >= 0)
            add_symbol(w, id, length);
        else
            unk += length;
    }
    if (unk > 0)
        add_symbol(w, t->unk, unk);
}

static void push_pair(const sd_tokenizer *t, tok_work *w, uint32_t left)
{
    const tok_symbol *s = &w->symbols[left];
    const tok_merge *m = tok_merge_of(t, s->id, w->symbols[s->next].id);

    if (m != NULL)
        push(w, (uint64_t)m->rank << 32 | left);
}

static void merge(const sd_tokenizer *t, tok_work *w)
{
    while (w->n_heap > 0) {
        uint64_t top = pop(w);
        int32_t result = t->merges.result[top >> 32];
        uint32_t at = (uint32_t)top;
        tok_symbol *left = &w->symbols[at], *right;
        const tok_merge *m;

        if (left->id < 0 || left->next == TOK_END)
            continue;
        right = &w->symbols[left->next];
        m = tok_merge_of(t, left->id, right->id);
        if (m == NULL || m->result != result)
            continue;
        left->id = result;
        left->length += right->length;
        left->next = right->next;
        right->id = -1;
        if (left->next != TOK_END)
            w->symbols[left->next].prev = at;
        if (left->prev != TOK_END)
            push_pair(t, w, left->prev);
        if (left->next != TOK_END)
            push_pair(t, w, at);
    }
}

void tok_work_free(tok_work *work)
{
    sd_free(work->symbols);
    sd_free(work->heap);
    *work = (tok_work){0};
}

/* Each merge takes one entry and adds at most two, and there are fewer merges than symbols. */
static sd_status reserve(tok_work *w, uint64_t count)
{
    uint64_t capacity = count + count / 2 + 64;
    sd_status st;

    if (count <= w->capacity)
        return SD_OK;
    tok_work_free(w);
    SD_TRY(st, SD_NEW(&w->symbols, capacity + 1));
    SD_TRY(st, SD_NEW(&w->heap, 2 * capacity + 2));
    w->capacity = capacity;
out:
    return st;
}

sd_status tok_bpe(const sd_tokenizer *t, const char *bytes, uint64_t count, tok_work *w)
{
    int32_t whole;
    sd_status st;

    SD_TRY(st, reserve(w, count));
    w->n_symbols = w->n_heap = 0;
    whole = t->whole != NULL ? tok_find(t, bytes, count) : -1;
    if (whole >= 0 && t->whole[whole]) {
        add_symbol(w, whole, count);
        goto out;
    }
    split(t, w, bytes, count);
    for (uint64_t i = 0; i + 1 < w->n_symbols; i++)
        push_pair(t, w, (uint32_t)i);
    merge(t, w);
out:
    return st;
}
