#include "saediff/text/tokenize.h"

#include <string.h>

#include <cjson/cJSON.h>

#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"

/* Documents that one rank encodes before the ranks look whether max_tokens is reached. The result does not depend on it. */
enum { ROUND = 2048 };

/* Bytes that grow. */
typedef struct bytes {
    char *data;
    uint64_t count, room;
} bytes;

static sd_status add_bytes(bytes *b, const void *data, uint64_t count)
{
    char *grown;
    uint64_t room = 2 * (b->count + count);
    sd_status st = SD_OK;

    if (b->count + count > b->room) {
        SD_TRY(st, SD_NEW(&grown, room));
        if (b->count > 0)
            memcpy(grown, b->data, b->count);
        sd_free(b->data);
        b->data = grown;
        b->room = room;
    }
    if (count > 0)
        memcpy(b->data + b->count, data, count);
    b->count += count;
out:
    return st;
}

/* What is kept of one document beside its tokens. */
typedef struct doc {
    uint64_t kept, whole; /* tokens after and before the cut */
    uint64_t second_bos;
} doc;

/* Tokens of documents one after another: doc[], int32_t[], uint64_t[][2]. */
typedef struct batch {
    bytes docs, ids, spans;
} batch;

static void free_batch(batch *b)
{
    sd_free(b->docs.data);
    sd_free(b->ids.data);
    sd_free(b->spans.data);
    *b = (batch){0};
}

typedef struct job {
    const sd_par *par;
    const sd_tokenizer *tokenizer;
    const sd_tokenize_spec *spec;
    sd_dataset **sets;  /* [n_data] */
    uint64_t *first;    /* [n_data + 1] documents of the job before each entry */
    uint64_t total;     /* documents of the job */
    uint64_t dropped;
    batch found;        /* rank 0: of the documents encoded so far */
} job;

/* The data entry of document `i` of the job. */
static uint64_t entry_of(const job *j, uint64_t i)
{
    uint64_t low = 0, high = j->spec->n_data;

    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;

        if (j->first[middle] <= i)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static sd_document document(const job *j, uint64_t i)
{
    uint64_t entry = entry_of(j, i);

    return sd_dataset_at(j->sets[entry], i - j->first[entry]);
}

static sd_status open_data(job *j)
{
    sd_status st;

    SD_TRY(st, SD_NEW(&j->sets, j->spec->n_data));
    SD_TRY(st, SD_NEW(&j->first, j->spec->n_data + 1));
    for (uint64_t i = 0; i < j->spec->n_data; i++) {
        SD_TRY(st, sd_dataset_open(&j->sets[i], &j->spec->data[i]));
        j->first[i + 1] = j->first[i] + sd_dataset_count(j->sets[i]);
        j->dropped += sd_dataset_dropped(j->sets[i]);
    }
    j->total = j->first[j->spec->n_data];
    if (j->total == 0)
        st = SD_FAIL(SD_E_DATA, "the job's %llu data entries hold no document: %llu were dropped as empty or shorter than "
                     "min_chars; first file: %s", (unsigned long long)j->spec->n_data, (unsigned long long)j->dropped,
                     j->spec->n_data > 0 ? j->spec->data[0].path : "none");
out:
    return st;
}

static void add_u64(sd_sha256 *sha, uint64_t value)
{
    uint8_t little[8];

    for (int i = 0; i < 8; i++)
        little[i] = (uint8_t)(value >> 8 * i);
    sd_sha256_add(sha, little, sizeof little);
}

/* Length and bytes of the first `count` documents. */
static void text_digest(const job *j, uint64_t count, char hex[SD_SHA256_HEX])
{
    sd_sha256 sha;

    sd_sha256_begin(&sha);
    for (uint64_t i = 0; i < count; i++) {
        sd_document d = document(j, i);

        add_u64(&sha, d.length);
        sd_sha256_add(&sha, d.text, d.length);
    }
    sd_sha256_end(&sha, hex);
}

static sd_status encode_document(const job *j, uint64_t i, batch *out)
{
    sd_document text = document(j, i);
    int32_t bos = sd_tokenizer_bos(j->tokenizer);
    sd_encoding e = {0};
    doc d;
    char *place = NULL;
    sd_status st = sd_tokenizer_encode(j->tokenizer, text.text, text.length, true, &e);

    if (st != SD_OK) {
        if (sd_str_format(&place, "%s, record %llu", j->spec->data[entry_of(j, i)].path,
                          (unsigned long long)text.row) == SD_OK)
            st = sd_fail_in(st, place);
        goto out;
    }
    d.whole = d.kept = e.count;
    if (j->spec->context > 0 && d.kept > j->spec->context)
        d.kept = j->spec->context;
    d.second_bos = bos >= 0 && e.count > 1 && e.ids[0] == bos && e.ids[1] == bos;
    SD_TRY(st, add_bytes(&out->docs, &d, sizeof d));
    SD_TRY(st, add_bytes(&out->ids, e.ids, d.kept * sizeof *e.ids));
    SD_TRY(st, add_bytes(&out->spans, e.span, 2 * d.kept * sizeof *e.span));
out:
    sd_encoding_free(&e);
    sd_free(place);
    return st;
}

static sd_status encode_share(const job *j, sd_span share, batch *out)
{
    sd_status st = SD_OK;

    for (uint64_t i = share.first; i < share.first + share.count; i++)
        SD_TRY(st, encode_document(j, i, out));
out:
    return st;
}

/* Collective. Appends every rank's piece, in rank order, to `all` of rank 0. */
static sd_status gather(const sd_par *par, const bytes *mine, bytes *all)
{
    uint64_t before, total;
    char *received = NULL;
    sd_status st;

    SD_TRY(st, sd_par_prefix_u64(par, mine->count, &before, &total));
    SD_TRY(st, sd_par_agree(par, par->rank == 0 ? SD_NEW(&received, total) : SD_OK));
    SD_TRY(st, sd_par_gather(par, mine->data, mine->count, received, par->rank == 0 ? total : 0));
    SD_TRY(st, sd_par_agree(par, par->rank == 0 ? add_bytes(all, received, total) : SD_OK));
out:
    sd_free(received);
    return st;
}

/* Collective. One round: documents `round`, shared among the ranks. *tokens = what they kept. */
static sd_status encode_round(job *j, sd_span round, uint64_t *tokens)
{
    sd_span share = sd_par_split(round.count, j->par->rank, j->par->size);
    batch mine = {0};
    uint64_t before;
    sd_status st;

    share.first += round.first;
    SD_TRY(st, sd_par_agree(j->par, encode_share(j, share, &mine)));
    SD_TRY(st, sd_par_prefix_u64(j->par, mine.ids.count / sizeof(int32_t), &before, tokens));
    SD_TRY(st, gather(j->par, &mine.docs, &j->found.docs));
    SD_TRY(st, gather(j->par, &mine.ids, &j->found.ids));
    SD_TRY(st, gather(j->par, &mine.spans, &j->found.spans));
out:
    free_batch(&mine);
    return st;
}

/* Collective. Rounds until the documents or the wanted tokens are there; *encoded documents were. */
static sd_status encode_all(job *j, uint64_t *encoded)
{
    uint64_t tokens = 0, wanted = j->spec->max_tokens, step = (uint64_t)ROUND * (uint64_t)j->par->size, more;
    sd_status st = SD_OK;

    *encoded = 0;
    while (*encoded < j->total && (wanted == 0 || tokens < wanted)) {
        sd_span round = {*encoded, j->total - *encoded < step ? j->total - *encoded : step};

        SD_TRY(st, encode_round(j, round, &more));
        *encoded += round.count;
        tokens += more;
    }
out:
    return st;
}

static sd_status source_names(const sd_tokenize_spec *spec, char **names)
{
    cJSON *list = cJSON_CreateArray();
    char *text = NULL;
    bool whole = list != NULL;
    sd_status st;

    for (uint64_t i = 0; whole && i < spec->n_data; i++)
        whole = cJSON_AddItemToArray(list, cJSON_CreateString(spec->names[i]));
    text = whole ? cJSON_PrintUnformatted(list) : NULL;
    st = text == NULL ? SD_FAIL(SD_E_ENV, "out of memory while the names of the data were written")
                      : sd_str_copy(names, text);
    cJSON_free(text);
    cJSON_Delete(list);
    return st;
}

typedef struct tally {
    uint64_t taken, docs, tokens, cut, second_bos; /* taken: documents of the job looked at; docs: those with tokens */
} tally;

/* Documents are taken while the tokens before the next are fewer than wanted. */
static tally count_taken(const job *j, uint64_t encoded)
{
    const doc *docs = (const doc *)(const void *)j->found.docs.data;
    uint64_t wanted = j->spec->max_tokens;
    tally n = {0};

    for (; n.taken < encoded && (wanted == 0 || n.tokens < wanted); n.taken++) {
        n.docs += docs[n.taken].kept > 0;
        n.tokens += docs[n.taken].kept;
        n.cut += docs[n.taken].kept < docs[n.taken].whole;
        n.second_bos += docs[n.taken].second_bos;
    }
    return n;
}

static void fill_rows(const job *j, sd_tokens *t, uint64_t doc_index)
{
    int32_t bos = sd_tokenizer_bos(j->tokenizer);

    for (uint64_t row = t->doc_start[doc_index], position = 0; row < t->doc_start[doc_index + 1]; row++, position++) {
        bool context_only = sd_tokenizer_is_special(j->tokenizer, t->ids[row]) || t->ids[row] == bos;

        t->position[row] = (int32_t)position;
        t->mask[row] = !(j->spec->mask_special && context_only);
        t->role[row] = 0;
    }
}

/* Rank 0: the stream as it is stored. */
static sd_status assemble(const job *j, const tally *n, sd_tokens **tokens)
{
    const doc *docs = (const doc *)(const void *)j->found.docs.data;
    sd_tokens *t = NULL;
    uint64_t at = 0;
    sd_status st;

    if (n->docs == 0) {
        st = SD_FAIL(SD_E_DATA, "none of the %llu documents has a token: the tokenizer knows none of their characters",
                     (unsigned long long)n->taken);
        goto out;
    }
    SD_TRY(st, sd_tokens_create(&t, n->docs, n->tokens));
    memcpy(t->ids, j->found.ids.data, n->tokens * sizeof *t->ids);
    memcpy(t->span, j->found.spans.data, 2 * n->tokens * sizeof *t->span);
    for (uint64_t i = 0; i < n->taken; i++) {
        uint64_t entry = entry_of(j, i);

        if (docs[i].kept == 0)
            continue;
        t->doc_start[at + 1] = t->doc_start[at] + docs[i].kept;
        t->doc_source[at] = (uint32_t)entry;
        t->doc_row[at] = document(j, i).row;
        t->doc_length[at] = docs[i].whole;
        fill_rows(j, t, at);
        at++;
    }
    text_digest(j, n->taken, t->text_sha256);
    memcpy(t->tokenizer_sha256, sd_tokenizer_sha256(j->tokenizer), SD_SHA256_HEX);
    t->context = j->spec->context;
    t->vocabulary = sd_tokenizer_vocabulary(j->tokenizer);
    SD_TRY(st, source_names(j->spec, &t->sources));
    *tokens = t;
    t = NULL;
out:
    sd_tokens_destroy(&t);
    return st;
}

static void report(const job *j, const tally *n)
{
    const char *bos = sd_tokenizer_piece(j->tokenizer, sd_tokenizer_bos(j->tokenizer));

    sd_say("%llu documents, %llu tokens, %llu cut at context %llu, %llu dropped", (unsigned long long)n->docs,
           (unsigned long long)n->tokens, (unsigned long long)n->cut, (unsigned long long)j->spec->context,
           (unsigned long long)(j->dropped + n->taken - n->docs));
    if (n->second_bos > 0)
        sd_warn("%llu documents begin with '%s' in their text and so with a second BOS; models are trained with one",
                (unsigned long long)n->second_bos, bos == NULL ? "BOS" : bos);
}

static void close_job(job *j)
{
    for (uint64_t i = 0; j->sets != NULL && i < j->spec->n_data; i++)
        sd_dataset_close(&j->sets[i]);
    sd_free(j->sets);
    sd_free(j->first);
    free_batch(&j->found);
}

sd_status sd_tokenize(const sd_par *par, const sd_tokenizer *tokenizer, const sd_tokenize_spec *spec,
                      sd_tokens **tokens)
{
    job j = {.par = par, .tokenizer = tokenizer, .spec = spec};
    tally n = {0};
    char digest[SD_SHA256_HEX];
    uint64_t encoded;
    sd_status st;

    *tokens = NULL;
    SD_TRY(st, sd_par_agree(par, open_data(&j)));
    text_digest(&j, j.total, digest);
    SD_TRY(st, sd_par_equal(par, "the text of the job's data", digest));
    SD_TRY(st, encode_all(&j, &encoded));
    if (par->rank == 0)
        n = count_taken(&j, encoded);
    SD_TRY(st, sd_par_agree(par, par->rank == 0 ? assemble(&j, &n, tokens) : SD_OK));
    if (par->rank == 0)
        report(&j, &n);
out:
    close_job(&j);
    return st;
}
