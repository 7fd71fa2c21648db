#include "set_aside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/store/scratch_file.h"

typedef struct entry {
    uint64_t end, row; /* end of the document's text in the file; its record */
} entry;

struct set_aside {
    sd_scratch_file *texts;
    entry *entries;
    uint64_t count, capacity;
};

static sd_status fail_more(sd_status st)
{
    char words[SD_ERROR_TEXT];

    snprintf(words, sizeof words, "%s", sd_last_error());
    return SD_FAIL(st, "shuffling documents: %s; set TMPDIR to a folder with enough space", words);
}

sd_status set_aside_create(set_aside **out)
{
    const char *folder = getenv("TMPDIR");
    set_aside *s = NULL;
    sd_status st;

    *out = NULL;
    SD_TRY(st, SD_NEW(&s, 1));
    st = sd_scratch_file_create(&s->texts, folder != NULL && folder[0] != '\0' ? folder : "/tmp");
    if (st != SD_OK) {
        st = fail_more(st);
        goto out;
    }
    *out = s;
    s = NULL;
out:
    set_aside_destroy(&s);
    return st;
}

void set_aside_destroy(set_aside **out)
{
    set_aside *s = *out;

    *out = NULL;
    if (s == NULL)
        return;
    sd_scratch_file_destroy(&s->texts);
    sd_free(s->entries);
    sd_free(s);
}

sd_status set_aside_add(set_aside *s, const char *text, uint64_t length, uint64_t row)
{
    uint64_t capacity = s->capacity == 0 ? 1024 : 2 * s->capacity, begin = s->count > 0 ? s->entries[s->count - 1].end : 0;
    entry *grown;
    sd_status st = SD_OK;

    if (s->count == s->capacity) {
        SD_TRY(st, SD_NEW(&grown, capacity));
        if (s->count > 0)
            memcpy(grown, s->entries, s->count * sizeof *grown);
        sd_free(s->entries);
        s->entries = grown;
        s->capacity = capacity;
    }
    st = sd_scratch_file_add(s->texts, text, length);
    if (st != SD_OK) {
        st = fail_more(st);
        goto out;
    }
    s->entries[s->count++] = (entry){begin + length, row};
out:
    return st;
}

uint64_t set_aside_count(const set_aside *s)
{
    return s->count;
}

sd_status set_aside_get(set_aside *s, uint64_t i, sd_str *text, uint64_t *row)
{
    uint64_t begin = i > 0 ? s->entries[i - 1].end : 0;
    const void *all = NULL;
    sd_status st = sd_scratch_file_view(s->texts, &all);

    if (st != SD_OK)
        return fail_more(st);
    text->length = 0;
    if (all != NULL)
        sd_str_add_bytes(text, (const char *)all + begin, s->entries[i].end - begin);
    *row = s->entries[i].row;
    return text->status;
}
