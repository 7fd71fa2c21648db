#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "parts.h"
#include "saediff/core/mem.h"

enum { BLOCK = 1 << 16 };

struct arena_block {
    struct arena_block *next;
    uint64_t at, size;
};

sd_status chat_alloc(arena *a, void **out, uint64_t count, uint64_t size)
{
    uint64_t bytes, capacity = 0;
    char *block = NULL;
    sd_status st;

    *out = NULL;
    SD_TRY(st, sd_mul_u64(count, size, &bytes, "bytes of a chat"));
    if (bytes > a->limit || a->used > a->limit - bytes)
        return SD_FAIL(SD_E_DATA, "a chat template needs more than %llu bytes of memory: its text grows without bound",
                       (unsigned long long)a->limit);
    bytes = (bytes + 15) / 16 * 16;
    if (a->block == NULL || a->block->size - a->block->at < bytes) {
        capacity = bytes > BLOCK / 4 ? bytes : BLOCK;
        SD_TRY(st, sd_alloc_bytes((void **)&block, sizeof(struct arena_block) + 16 + capacity, 1));
        ((struct arena_block *)(void *)block)->next = a->block;
        ((struct arena_block *)(void *)block)->size = capacity;
        a->block = (struct arena_block *)(void *)block;
    }
    *out = (char *)a->block + (sizeof(struct arena_block) + 15) / 16 * 16 + a->block->at;
    a->block->at += bytes;
    a->used += bytes;
out:
    return st;
}

void chat_arena_free(arena *a)
{
    while (a->block != NULL) {
        struct arena_block *next = a->block->next;

        sd_free(a->block);
        a->block = next;
    }
    a->used = 0;
}

sd_status chat_fail(const machine *m, const char *file, int line, const char *format, ...)
{
    char words[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    return sd_fail(SD_E_DATA, file, line, "%s:%u: %s", m->name, (unsigned)m->line, words);
}

sd_status chat_spend(machine *m, uint64_t count)
{
    if (count > m->steps)
        return CHAT_FAIL(m, "the template does not finish within %d steps", (int)CHAT_STEPS);
    m->steps -= count;
    return SD_OK;
}

static sd_status reserve(machine *m, buffer *b, uint64_t more)
{
    uint64_t capacity = b->length + more;
    char *bytes;
    uint32_t *mark;
    sd_status st = SD_OK;

    if (capacity <= b->capacity)
        return SD_OK;
    capacity = capacity < 64 ? 64 : 2 * capacity;
    SD_TRY(st, CHAT_NEW(&m->memory, &bytes, capacity));
    SD_TRY(st, CHAT_NEW(&m->memory, &mark, capacity));
    if (b->length > 0) {
        memcpy(bytes, b->bytes, b->length);
        memcpy(mark, b->mark, b->length * sizeof *mark);
    }
    b->bytes = bytes;
    b->mark = mark;
    b->capacity = capacity;
out:
    return st;
}

sd_status chat_add(machine *m, buffer *b, const char *bytes, const uint32_t *mark, uint64_t length)
{
    sd_status st = SD_OK;

    if (length == 0)
        return SD_OK;
    SD_TRY(st, chat_spend(m, 1 + length / 64));
    SD_TRY(st, reserve(m, b, length));
    memcpy(b->bytes + b->length, bytes, length);
    if (mark != NULL)
        memcpy(b->mark + b->length, mark, length * sizeof *mark);
    else
        memset(b->mark + b->length, 0, length * sizeof *mark);
    b->marked |= mark != NULL;
    b->length += length;
out:
    return st;
}

sd_status chat_add_words(machine *m, buffer *b, const char *words)
{
    return chat_add(m, b, words, NULL, strlen(words));
}

sd_status chat_add_part(machine *m, buffer *b, const str *t, uint64_t first, uint64_t end)
{
    return chat_add(m, b, t->bytes + first, t->mark != NULL ? t->mark + first : NULL, end - first);
}

static sd_status new_text(machine *m, str t, value *out)
{
    str *made;
    sd_status st;

    SD_TRY(st, CHAT_NEW(&m->memory, &made, 1));
    *made = t;
    *out = (value){.kind = V_TEXT, .as.text = made};
out:
    return st;
}

sd_status chat_take(machine *m, const buffer *b, value *out)
{
    return new_text(m, (str){b->length > 0 ? b->bytes : "", b->marked ? b->mark : NULL, b->length}, out);
}

sd_status chat_part(machine *m, const str *t, uint64_t first, uint64_t end, value *out)
{
    return new_text(m, (str){t->bytes + first, t->mark != NULL ? t->mark + first : NULL, end - first}, out);
}

sd_status chat_text(machine *m, const char *bytes, uint64_t length, uint32_t mark, value *out)
{
    char *copy;
    uint32_t *marks = NULL;
    sd_status st;

    SD_TRY(st, CHAT_NEW(&m->memory, &copy, length + 1));
    memcpy(copy, bytes, length);
    if (mark != 0) {
        SD_TRY(st, CHAT_NEW(&m->memory, &marks, length));
        for (uint64_t i = 0; i < length; i++)
            marks[i] = mark;
    }
    st = new_text(m, (str){copy, marks, length}, out);
out:
    return st;
}
