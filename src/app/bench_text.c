/* Rate of the tokenizer on a text of the user's, cut at line ends into documents as in runs, compared with one document of all of it. */
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "saediff/text/tokenizer.h"

enum { DOCUMENT = 4096 }; /* bytes, to the end of the line */
#define MAX_TEXT ((uint64_t)1 << 30)

typedef struct turn {
    const sd_tokenizer *tokenizer;
    const char *text;
    uint64_t length, tokens, document;
} turn;

/* Local: every rank reads the same. */
static sd_status encode_all(void *self)
{
    turn *t = self;
    sd_status st = SD_OK;

    t->tokens = 0;
    for (uint64_t at = 0, end; at < t->length; at = end) {
        const char *line;
        sd_encoding e;

        end = t->length - at > t->document ? at + t->document : t->length;
        line = memchr(t->text + end, '\n', t->length - end);
        end = line != NULL ? (uint64_t)(line - t->text) + 1 : t->length;
        SD_TRY(st, sd_tokenizer_encode(t->tokenizer, t->text + at, end - at, true, &e));
        t->tokens += e.count;
        sd_encoding_free(&e);
    }
out:
    return st;
}

sd_status bench_tokenize(bench *b)
{
    const app_options *o = b->options;
    sd_tokenizer *tokenizer = NULL;
    char *text = NULL, size[32], rate[32], tokens[32], whole[32];
    uint64_t length = 0;
    double began, opened, seconds[2] = {0, 0};
    turn t;
    sd_status st = SD_OK;

    if (o->model == NULL || o->file == NULL)
        return SD_OK;
    began = sd_now();
    st = sd_tokenizer_open(&tokenizer, o->model);
    opened = sd_now() - began;
    if (st == SD_OK)
        st = sd_file_read(o->file, MAX_TEXT, &text, &length);
    SD_TRY(st, sd_par_agree(b->par, st));
    t = (turn){tokenizer, text, length, 0, length};
    SD_TRY(st, bench_median(b, encode_all, &t, &seconds[1]));
    t.document = DOCUMENT;
    SD_TRY(st, bench_median(b, encode_all, &t, &seconds[0]));
    if (b->par->rank == 0)
        printf("%-8s %s/s and %stokens/s per rank in documents of %d bytes, %s/s in one document of %s; tokenizer opened in %.2f s\n", "tokenize",
               sd_str_bytes(rate, sizeof rate, (double)length / seconds[0]),
               sd_str_count(tokens, sizeof tokens, (double)t.tokens / seconds[0]), (int)DOCUMENT,
               sd_str_bytes(whole, sizeof whole, (double)length / seconds[1]), sd_str_bytes(size, sizeof size, (double)length), opened);
out:
    sd_tokenizer_close(&tokenizer);
    sd_free(text);
    return st;
}
