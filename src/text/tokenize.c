#include "saediff/text/tokenize.h"

#include <string.h>

#include <cjson/cJSON.h>

#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"

/* Documents per round: distributed over the ranks, then gathered. A constant, so that how far the texts are read, and which error in
 * them is met first, does not depend on the number of ranks. */
enum { ROUND = 256 };

/* A growing byte buffer. */
typedef struct bytes {
    char *data;
    uint64_t count, capacity;
} bytes;

static sd_status add_bytes(bytes *b, const void *data, uint64_t count)
{
    char *grown;
    uint64_t capacity = 2 * (b->count + count);
    sd_status st = SD_OK;

    if (b->count + count > b->capacity) {
        SD_TRY(st, SD_NEW(&grown, capacity));
        if (b->count > 0)
            memcpy(grown, b->data, b->count);
        sd_free(b->data);
        b->data = grown;
        b->capacity = capacity;
    }
    if (count > 0)
        memcpy(b->data + b->count, data, count);
    b->count += count;
out:
    return st;
}

/* Metadata of one document beside its tokens. */
typedef struct doc {
    uint64_t kept, whole; /* tokens after and before truncation */
    uint64_t second_bos;
    uint64_t entry, row; /* data entry and record */
    uint64_t unusable;   /* 1: a chat without a question, or truncated before a named position; it has no tokens then */
    int32_t position[SD_POSITIONS];
} doc;

/* Tokens of documents one after another: doc[], int32_t[], uint64_t[][2], uint8_t[]. */
typedef struct batch {
    bytes docs, ids, spans, roles;
} batch;

static void free_batch(batch *b)
{
    sd_free(b->docs.data);
    sd_free(b->ids.data);
    sd_free(b->spans.data);
    sd_free(b->roles.data);
    *b = (batch){0};
}

typedef struct counters {
    uint64_t taken, docs, tokens, cut, second_bos, unusable; /* taken: documents read; docs: documents with tokens */
    uint64_t entry_tokens; /* tokens of the current entry */
} counters;

typedef struct job {
    const sd_par *par;
    const sd_tokenizer *tokenizer;
    const sd_tokenize_spec *spec;
    sd_dataset **sets;  /* [n_data] */
    uint64_t entry;     /* the current one */
    sd_sha256 text;     /* digest of length and bytes of the documents taken */
    sd_sha256 *after;   /* [ROUND] the same after each document of the round */
    sd_tokens head;     /* rank 0: attributes shared by all chunks of the stream */
    sd_tokens_writer *writer; /* rank 0 */
    counters n;         /* rank 0 */
    batch found;        /* rank 0: documents of the round */
} job;

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

/* Writes the attributes known before the first document. */
static sd_status begin_stream(job *j, const char *path)
{
    sd_tokens *head = &j->head;
    sd_status st;

    memcpy(head->tokenizer_sha256, sd_tokenizer_sha256(j->tokenizer), SD_SHA256_HEX);
    if (j->spec->encoder != NULL) {
        strcpy(head->template_sha256, sd_chat_template_sha256(j->spec->encoder));
        strcpy(head->date, sd_chat_date(j->spec->encoder));
    }
    head->context = j->spec->context;
    head->vocabulary = sd_tokenizer_vocabulary(j->tokenizer);
    SD_TRY(st, source_names(j->spec, &head->sources));
    SD_TRY(st, sd_tokens_writer_open(&j->writer, path));
out:
    return st;
}

static sd_status open_data(job *j)
{
    sd_status st;

    SD_TRY(st, SD_NEW(&j->after, ROUND));
    SD_TRY(st, SD_NEW(&j->sets, j->spec->n_data));
    for (uint64_t i = 0; i < j->spec->n_data; i++)
        SD_TRY(st, sd_dataset_open(&j->sets[i], &j->spec->data[i]));
    sd_sha256_begin(&j->text);
out:
    return st;
}

static uint64_t count_dropped(const job *j)
{
    uint64_t dropped = 0;

    for (uint64_t i = 0; i < j->spec->n_data; i++)
        dropped += sd_dataset_dropped(j->sets[i]);
    return dropped;
}

static void add_u64(sd_sha256 *sha, uint64_t value)
{
    uint8_t little[8];

    for (int i = 0; i < 8; i++)
        little[i] = (uint8_t)(value >> 8 * i);
    sd_sha256_add(sha, little, sizeof little);
}

static bool is_chat(const job *j, uint64_t entry)
{
    return j->spec->entries != NULL && j->spec->entries[entry].chat;
}

/* Encodes a document; chat->role is NULL if it is not a chat. */
static sd_status encode_tokens(const job *j, const char *location, const sd_document *text, sd_chat *chat)
{
    sd_status st;

    if (is_chat(j, j->entry))
        return sd_chat_encode_text(j->spec->encoder, j->spec->entries[j->entry].prompt_format, location, text->text, text->length, chat);
    for (int i = 0; i < SD_POSITIONS; i++)
        chat->position[i] = -1;
    st = sd_tokenizer_encode(j->tokenizer, text->text, text->length, true, &chat->tokens);
    return st == SD_OK ? st : sd_fail_in(st, location);
}

static sd_status encode_document(const job *j, const sd_document *text, batch *out)
{
    int32_t bos = sd_tokenizer_bos(j->tokenizer);
    sd_chat chat = {0};
    const sd_encoding *e = &chat.tokens;
    doc d = {.entry = j->entry, .row = text->row};
    uint8_t *roles = NULL;
    char *location = NULL;
    sd_status st;

    SD_TRY(st, sd_str_format(&location, "%s, record %llu", j->spec->names[j->entry], (unsigned long long)text->row));
    SD_TRY(st, encode_tokens(j, location, text, &chat));
    d.whole = d.kept = e->count;
    if (j->spec->context > 0 && d.kept > j->spec->context)
        d.kept = j->spec->context;
    if (is_chat(j, j->entry) && !sd_chat_is_usable(&chat, d.kept)) {
        d.unusable = 1;
        d.whole = d.kept = 0;
    }
    memcpy(d.position, chat.position, sizeof d.position);
    d.second_bos = d.kept > 1 && bos >= 0 && e->ids[0] == bos && e->ids[1] == bos;
    SD_TRY(st, SD_NEW(&roles, d.kept));
    if (chat.role != NULL)
        memcpy(roles, chat.role, d.kept);
    SD_TRY(st, add_bytes(&out->docs, &d, sizeof d));
    SD_TRY(st, add_bytes(&out->ids, e->ids, d.kept * sizeof *e->ids));
    SD_TRY(st, add_bytes(&out->spans, e->span, 2 * d.kept * sizeof *e->span));
    SD_TRY(st, add_bytes(&out->roles, roles, d.kept));
out:
    sd_chat_free(&chat);
    sd_free(roles);
    sd_free(location);
    return st;
}

/* Reads the documents of one round, *count of them, all of one entry, and encodes this rank's share; *end after the entry's last. */
static sd_status encode_share(job *j, batch *out, uint64_t *count, bool *end)
{
    sd_span share = sd_par_split(ROUND, j->par->rank, j->par->size);
    sd_sha256 sha = j->text;
    sd_status st = SD_OK;

    *end = false;
    for (*count = 0; *count < ROUND; ++*count) {
        sd_document text;

        SD_TRY(st, sd_dataset_next(j->sets[j->entry], &text, end));
        if (*end)
            goto out;
        add_u64(&sha, text.length);
        sd_sha256_add(&sha, text.text, text.length);
        j->after[*count] = sha;
        if (*count >= share.first && *count - share.first < share.count)
            SD_TRY(st, encode_document(j, &text, out));
    }
out:
    return st;
}

/* Collective. Appends every rank's batch, in rank order, to `all` of rank 0. */
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

/* The base model's id for `id`: substituted if the job says so. */
static int32_t base_id(const job *j, uint64_t entry, int32_t id)
{
    if (is_chat(j, entry) && j->spec->entries[entry].prompt_format == SD_SUBSTITUTED)
        for (uint64_t i = 0; i < j->spec->n_substitute; i++)
            if (j->spec->substitute[2 * i] == id)
                return j->spec->substitute[2 * i + 1];
    return id;
}

static void fill_rows(const job *j, sd_tokens *t, uint64_t doc_index)
{
    int32_t bos = sd_tokenizer_bos(j->tokenizer);

    for (uint64_t row = t->doc_start[doc_index], position = 0; row < t->doc_start[doc_index + 1]; row++, position++) {
        bool context_only = sd_tokenizer_is_special(j->tokenizer, t->ids[row]) || t->ids[row] == bos;

        t->position[row] = (int32_t)position;
        t->mask[row] = !(j->spec->mask_special && context_only);
        t->ids_base[row] = base_id(j, t->doc_source[doc_index], t->ids[row]);
    }
}

static bool below_limit(const job *j)
{
    const sd_tokenize_spec *s = j->spec;

    return s->max_tokens == 0 || j->n.tokens < s->max_tokens;
}

static bool below_entry_limit(const job *j)
{
    uint64_t limit = j->spec->entries == NULL ? 0 : j->spec->entries[j->entry].max_tokens;

    return limit == 0 || j->n.entry_tokens < limit;
}

/* Rank 0. Takes documents of the round while the token limits are not reached: *taken documents, of which *docs have *tokens. */
static void count_taken(job *j, uint64_t count, uint64_t *taken, uint64_t *docs, uint64_t *tokens)
{
    const doc *d = (const doc *)(const void *)j->found.docs.data;
    counters *n = &j->n;

    *docs = *tokens = 0;
    for (*taken = 0; *taken < count && below_limit(j) && below_entry_limit(j); ++*taken, d++) {
        n->taken++;
        *docs += d->kept > 0;
        *tokens += d->kept;
        n->docs += d->kept > 0;
        n->tokens += d->kept;
        n->entry_tokens += d->kept;
        n->cut += d->kept < d->whole;
        n->second_bos += d->second_bos;
        n->unusable += d->unusable;
    }
}

/* Rank 0. Appends the documents taken to the stream as one chunk. */
static sd_status write_piece(job *j, uint64_t taken, uint64_t n_docs, uint64_t tokens)
{
    const doc *docs = (const doc *)(const void *)j->found.docs.data;
    sd_tokens *t = NULL;
    uint64_t at = 0;
    sd_status st = SD_OK;

    if (n_docs == 0)
        goto out;
    SD_TRY(st, sd_tokens_create(&t, n_docs, tokens));
    memcpy(t->ids, j->found.ids.data, tokens * sizeof *t->ids);
    memcpy(t->span, j->found.spans.data, 2 * tokens * sizeof *t->span);
    memcpy(t->role, j->found.roles.data, tokens);
    for (uint64_t i = 0; i < taken; i++) {
        if (docs[i].kept == 0)
            continue;
        t->doc_start[at + 1] = t->doc_start[at] + docs[i].kept;
        t->doc_source[at] = (uint32_t)docs[i].entry;
        t->doc_row[at] = docs[i].row;
        t->doc_length[at] = docs[i].whole;
        memcpy(t->doc_position + at * SD_POSITIONS, docs[i].position, sizeof docs[i].position);
        fill_rows(j, t, at);
        at++;
    }
    t->context = j->head.context;
    t->vocabulary = j->head.vocabulary;
    SD_TRY(st, sd_str_copy(&t->sources, j->head.sources));
    st = sd_tokens_writer_add(j->writer, t);
out:
    sd_tokens_destroy(&t);
    return st;
}

/* Collective. One round; *more: another round may give documents. */
static sd_status encode_round(job *j, bool *more)
{
    batch mine = {0};
    uint64_t count, taken[2] = {0, 0}; /* documents; 0: the limit is reached, 1: this entry is done, 2: more to read */
    bool end;
    sd_status st;

    SD_TRY(st, sd_par_agree(j->par, encode_share(j, &mine, &count, &end)));
    free_batch(&j->found);
    SD_TRY(st, gather(j->par, &mine.docs, &j->found.docs));
    SD_TRY(st, gather(j->par, &mine.ids, &j->found.ids));
    SD_TRY(st, gather(j->par, &mine.spans, &j->found.spans));
    SD_TRY(st, gather(j->par, &mine.roles, &j->found.roles));
    if (j->par->rank == 0) {
        uint64_t docs, tokens;

        count_taken(j, count, &taken[0], &docs, &tokens);
        taken[1] = !below_limit(j) ? 0 : end || !below_entry_limit(j) ? 1 : 2;
        st = write_piece(j, taken[0], docs, tokens);
    }
    SD_TRY(st, sd_par_agree_or_stop(j->par, st));
    SD_TRY(st, sd_par_bcast(j->par, taken, sizeof taken, 0));
    if (taken[0] > 0)
        j->text = j->after[taken[0] - 1];
    if (taken[1] == 1) {
        j->entry++;
        j->n.entry_tokens = 0;
    }
    *more = taken[1] > 0 && j->entry < j->spec->n_data;
out:
    free_batch(&mine);
    return st;
}

/* Collective. Rounds until the documents end or the token limit is reached; the digest of the text taken, on every rank. */
static sd_status encode_all(job *j)
{
    bool more = j->spec->n_data > 0;
    sd_status st = SD_OK;

    while (more)
        SD_TRY(st, encode_round(j, &more));
    sd_sha256_end(&j->text, j->head.text_sha256);
    st = sd_par_equal(j->par, "the text of the job's data", j->head.text_sha256);
out:
    return st;
}

/* Rank 0: completes the stream. */
static sd_status end_stream(job *j)
{
    const counters *n = &j->n;

    if (n->taken == 0)
        return SD_FAIL(SD_E_DATA, "the job's %llu data entries have no document: %llu were dropped as empty or shorter than "
                       "min_chars; first file: %s", (unsigned long long)j->spec->n_data, (unsigned long long)count_dropped(j),
                       j->spec->n_data > 0 ? j->spec->data[0].paths[0] : "none");
    if (n->docs == 0 && n->unusable > 0)
        return SD_FAIL(SD_E_DATA, "none of the %llu chats is usable: they have no user message, or the context of %llu tokens truncates them "
                       "before the header or the end of the last answer", (unsigned long long)n->unusable, (unsigned long long)j->spec->context);
    if (n->docs == 0)
        return SD_FAIL(SD_E_DATA, "none of the %llu documents has a token: their characters are not in the vocabulary",
                       (unsigned long long)n->taken);
    return sd_tokens_writer_finish(j->writer, &j->head);
}

static void report(const job *j)
{
    const char *bos = sd_tokenizer_piece(j->tokenizer, sd_tokenizer_bos(j->tokenizer));
    const counters *n = &j->n;

    sd_say("%llu documents, %llu tokens, %llu truncated to context %llu, %llu dropped", (unsigned long long)n->docs,
           (unsigned long long)n->tokens, (unsigned long long)n->cut, (unsigned long long)j->spec->context,
           (unsigned long long)(count_dropped(j) + n->taken - n->docs));
    if (n->unusable > 0)
        sd_warn("%llu of the dropped documents are chats without a user message, or truncated by the context before the header or the end of "
                "their last answer", (unsigned long long)n->unusable);
    if (n->second_bos > 0)
        sd_warn("%llu documents have '%s' at the start of their text and thus begin with two BOS tokens; models are trained with one: "
                "remove it from the text", (unsigned long long)n->second_bos, bos == NULL ? "BOS" : bos);
}

static void close_job(job *j)
{
    for (uint64_t i = 0; j->sets != NULL && i < j->spec->n_data; i++)
        sd_dataset_close(&j->sets[i]);
    sd_free(j->sets);
    sd_free(j->after);
    sd_free(j->head.sources);
    sd_tokens_writer_close(&j->writer);
    free_batch(&j->found);
}

sd_status sd_tokenize(const sd_par *par, const sd_tokenizer *tokenizer, const sd_tokenize_spec *spec, const char *path)
{
    job j = {.par = par, .tokenizer = tokenizer, .spec = spec};
    sd_status st;

    st = open_data(&j);
    if (st == SD_OK && par->rank == 0)
        st = begin_stream(&j, path);
    SD_TRY(st, sd_par_agree(par, st));
    SD_TRY(st, encode_all(&j));
    SD_TRY(st, sd_par_agree(par, par->rank == 0 ? end_stream(&j) : SD_OK));
    if (par->rank == 0)
        report(&j);
out:
    close_job(&j);
    return st;
}
