#include "spool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saediff/core/mem.h"

typedef struct place {
    uint64_t end, row; /* of the document's text in the file; its record */
} place;

struct spool {
    FILE *file;
    char *name; /* that it had, for messages */
    place *places;
    uint64_t count, room;
};

sd_status spool_create(spool **out)
{
    const char *folder = getenv("TMPDIR");
    spool *s = NULL;
    int fd = -1;
    sd_status st;

    *out = NULL;
    SD_TRY(st, SD_NEW(&s, 1));
    SD_TRY(st, sd_str_format(&s->name, "%s/saediff-shuffle-XXXXXX", folder != NULL && folder[0] != '\0' ? folder : "/tmp"));
    fd = mkstemp(s->name);
    if (fd >= 0) {
        unlink(s->name);
        s->file = fdopen(fd, "w+b");
    }
    if (s->file == NULL) {
        st = SD_FAIL(SD_E_ENV, "%s: no file to shuffle documents in: %s; name a folder with space in TMPDIR", s->name, strerror(errno));
        if (fd >= 0)
            close(fd);
        goto out;
    }
    *out = s;
    s = NULL;
out:
    spool_destroy(&s);
    return st;
}

void spool_destroy(spool **out)
{
    spool *s = *out;

    *out = NULL;
    if (s == NULL)
        return;
    if (s->file != NULL)
        fclose(s->file);
    sd_free(s->name);
    sd_free(s->places);
    sd_free(s);
}

static sd_status fail_file(const spool *s, const char *what)
{
    return SD_FAIL(SD_E_ENV, "%s: the documents to shuffle cannot be %s: %s; name a folder with space in TMPDIR", s->name, what,
                   strerror(errno));
}

sd_status spool_add(spool *s, const char *text, uint64_t length, uint64_t row)
{
    uint64_t room = s->room == 0 ? 1024 : 2 * s->room, begin = s->count > 0 ? s->places[s->count - 1].end : 0;
    place *grown;
    sd_status st = SD_OK;

    if (s->count == s->room) {
        SD_TRY(st, SD_NEW(&grown, room));
        if (s->count > 0)
            memcpy(grown, s->places, s->count * sizeof *grown);
        sd_free(s->places);
        s->places = grown;
        s->room = room;
    }
    if (fwrite(text, 1, length, s->file) != length) {
        st = fail_file(s, "written");
        goto out;
    }
    s->places[s->count++] = (place){begin + length, row};
out:
    return st;
}

uint64_t spool_count(const spool *s)
{
    return s->count;
}

sd_status spool_get(spool *s, uint64_t i, sd_str *text, uint64_t *row)
{
    uint64_t begin = i > 0 ? s->places[i - 1].end : 0, left = s->places[i].end - begin;
    char block[8192];

    text->length = 0;
    /* Also where nothing else is done: between writing and reading a stream must be moved. */
    if (fseeko(s->file, (off_t)begin, SEEK_SET) != 0)
        return fail_file(s, "found again");
    while (left > 0) {
        size_t part = left < sizeof block ? (size_t)left : sizeof block;

        if (fread(block, 1, part, s->file) != part)
            return fail_file(s, "read again");
        sd_str_add_bytes(text, block, part);
        left -= part;
    }
    *row = s->places[i].row;
    return text->status;
}
