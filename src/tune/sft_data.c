/* Reads and tokenizes SFT data, and computes the loss mask. */
#include "saediff/tune/sft_data.h"

#include <string.h>

#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"

typedef unsigned long long ull;

/* Separates prompt and completion while a record is read: U+FFFF, a noncharacter that no text holds. */
static const char border[] = "\xEF\xBF\xBF";
enum { BORDER = sizeof border - 1 };

sd_status sd_sft_data_create(sd_sft_data **sft_data, uint64_t docs, uint64_t tokens)
{
    sd_sft_data *l = NULL;
    sd_status st;

    *sft_data = NULL;
    SD_TRY(st, SD_NEW(&l, 1));
    l->docs = docs;
    l->tokens = tokens;
    SD_TRY(st, SD_NEW(&l->start, docs + 1));
    SD_TRY(st, SD_NEW(&l->ids, tokens));
    SD_TRY(st, SD_NEW(&l->supervised, tokens));
    l->start[docs] = tokens;
    *sft_data = l;
    l = NULL;
out:
    sd_sft_data_destroy(&l);
    return st;
}

void sd_sft_data_destroy(sd_sft_data **sft_data)
{
    if (*sft_data == NULL)
        return;
    sd_free((*sft_data)->start);
    sd_free((*sft_data)->ids);
    sd_free((*sft_data)->supervised);
    sd_free(*sft_data);
    *sft_data = NULL;
}

/* State of rank 0, which reads: data whose arrays grow, and counts. */
typedef struct reader {
    const sd_tokenizer *tokenizer;
    const sd_sft_spec *spec;
    sd_sft_data l;
    uint64_t capacity_docs, capacity_tokens;
    uint64_t supervised, cut, empty, dropped, silent; /* silent: chats without a message of the assistant */
} reader;

static sd_status grow(void **array, uint64_t used, uint64_t capacity, size_t size)
{
    void *grown = NULL;
    sd_status st = sd_alloc_bytes(&grown, capacity, size);

    if (st != SD_OK)
        return st;
    if (used > 0)
        memcpy(grown, *array, used * size);
    sd_free(*array);
    *array = grown;
    return SD_OK;
}

static sd_status grow_arrays(reader *r, uint64_t tokens)
{
    sd_sft_data *l = &r->l;
    sd_status st = SD_OK;

    if (l->docs + 2 > r->capacity_docs) {
        r->capacity_docs = 2 * (l->docs + 2);
        SD_TRY(st, grow((void **)&l->start, l->docs + (l->docs > 0), r->capacity_docs, sizeof *l->start));
    }
    if (l->tokens + tokens > r->capacity_tokens) {
        r->capacity_tokens = 2 * (l->tokens + tokens);
        SD_TRY(st, grow((void **)&l->ids, l->tokens, r->capacity_tokens, sizeof *l->ids));
        SD_TRY(st, grow((void **)&l->supervised, l->tokens, r->capacity_tokens, sizeof *l->supervised));
    }
out:
    return st;
}

/* Copies the document to `text` without the border. *prompt = length of the prompt in bytes, 0 without a border. */
static sd_status split(const sd_sft_entry *entry, const sd_document *doc, char *text, uint64_t *length, uint64_t *prompt)
{
    uint64_t found = 0;

    *length = *prompt = 0;
    for (uint64_t i = 0; i < doc->length;) {
        bool here = entry->completion != NULL && doc->length - i >= BORDER && memcmp(doc->text + i, border, BORDER) == 0;

        if (here) {
            *prompt = *length;
            found++;
            i += BORDER;
        } else {
            text[(*length)++] = doc->text[i++];
        }
    }
    if (entry->completion != NULL && found != 1)
        return SD_FAIL(SD_E_DATA, "%s, record %llu: the text holds U+FFFF, which is not a character; remove it", entry->name, (ull)doc->row);
    return SD_OK;
}

/* Adds a document of `count` tokens with loss mask `mask` [count]; with `ends` the end token is appended. */
static sd_status add_tokens(reader *r, const int32_t *ids, const uint8_t *mask, uint64_t count, bool ends)
{
    sd_sft_data *l = &r->l;
    uint64_t context = r->spec->context, kept, supervised = 0;
    sd_status st = SD_OK;

    ends = ends && r->spec->end >= 0 && count < context;
    kept = count + ends < context ? count + ends : context;
    SD_TRY(st, grow_arrays(r, kept));
    for (uint64_t i = 0; i < kept; i++) {
        bool last = ends && i == kept - 1;

        l->ids[l->tokens + i] = last ? r->spec->end : ids[i];
        l->supervised[l->tokens + i] = i > 0 && (last || mask[i]);
        supervised += l->supervised[l->tokens + i];
    }
    if (supervised == 0) {
        r->empty++;
        goto out;
    }
    r->cut += count > context;
    r->supervised += supervised;
    l->start[l->docs] = l->tokens;
    l->tokens += kept;
    l->start[++l->docs] = l->tokens;
out:
    return st;
}

static sd_status add_text(reader *r, const sd_sft_entry *entry, const char *place, const sd_document *doc)
{
    sd_encoding e = {0};
    uint64_t length, prompt;
    uint8_t *mask = NULL;
    char *text = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&text, doc->length));
    SD_TRY(st, split(entry, doc, text, &length, &prompt));
    st = sd_tokenizer_encode(r->tokenizer, text, length, true, &e);
    if (st != SD_OK) {
        st = sd_fail_in(st, place);
        goto out;
    }
    SD_TRY(st, SD_NEW(&mask, e.count));
    for (uint64_t i = 0; i < e.count; i++)
        mask[i] = e.span[2 * i + 1] > 0 && e.span[2 * i] >= prompt;
    st = add_tokens(r, e.ids, mask, e.count, true);
out:
    sd_encoding_free(&e);
    sd_free(mask);
    sd_free(text);
    return st;
}

static bool ends_turn(const reader *r, int32_t id)
{
    return id == r->spec->end || (sd_tokenizer_is_special(r->tokenizer, id) && id != sd_tokenizer_bos(r->tokenizer));
}

/* Sets the mask of the assistant's messages; false if there are none. *open: the last turn is the assistant's and has no end token. */
static bool mask_answers(const reader *r, const sd_chat *chat, uint8_t *mask, bool *open)
{
    uint64_t count = chat->tokens.count;
    bool some = false;

    *open = false;
    for (uint64_t i = 0; i < count; i++) {
        int role = chat->role[i] & ((1 << SD_PART_SHIFT) - 1), part = chat->role[i] >> SD_PART_SHIFT;

        if (role == SD_ROLE_ASSISTANT && part == SD_PART_CONTENT) {
            mask[i] = 1;
            some = *open = true;
        } else if (role != SD_ROLE_NONE && !(role == SD_ROLE_ASSISTANT && part == SD_PART_TRAILER)) {
            *open = false; /* another turn */
        } else if (*open && ends_turn(r, chat->tokens.ids[i])) {
            *open = false;
            for (uint64_t k = i + 1; k-- > 0 && !mask[k];) /* back to the content */
                mask[k] = 1;
        }
    }
    return some;
}

static sd_status add_chat(reader *r, const sd_sft_entry *entry, const char *place, const sd_document *doc)
{
    sd_chat chat = {0};
    uint8_t *mask = NULL;
    bool open = false, answers;
    sd_status st;

    SD_TRY(st, sd_chat_encode_text(r->spec->encoder, SD_TEMPLATED, place, doc->text, doc->length, &chat));
    SD_TRY(st, SD_NEW(&mask, chat.tokens.count));
    answers = mask_answers(r, &chat, mask, &open);
    if (!answers && !entry->supervise_all) {
        r->silent++;
        goto out;
    }
    if (entry->supervise_all)
        memset(mask, 1, chat.tokens.count);
    st = add_tokens(r, chat.tokens.ids, mask, chat.tokens.count, open);
out:
    sd_chat_free(&chat);
    sd_free(mask);
    return st;
}

static sd_status add_document(reader *r, const sd_sft_entry *entry, const sd_document *doc)
{
    char *place = NULL;
    sd_status st;

    SD_TRY(st, sd_str_format(&place, "%s, record %llu", entry->name, (ull)doc->row));
    st = entry->chat ? add_chat(r, entry, place, doc) : add_text(r, entry, place, doc);
out:
    sd_free(place);
    return st;
}

/* The brace that makes a column or path into a part of a template. */
static const char *brace(const char *part, bool open)
{
    return strchr(part, '{') != NULL ? "" : open ? "{" : "}";
}

static sd_status read_entry(reader *r, const sd_sft_entry *entry)
{
    sd_dataset_spec spec = entry->data;
    sd_dataset *data = NULL;
    char *field = NULL;
    bool end = false;
    sd_status st = SD_OK;

    if (entry->completion != NULL) {
        const char *p = entry->prompt, *c = entry->completion;

        SD_TRY(st, sd_str_format(&field, "%s%s%s%s%s%s%s", brace(p, true), p, brace(p, false), border, brace(c, true), c,
                                 brace(c, false)));
        spec.field = field;
    }
    SD_TRY(st, sd_dataset_open(&data, &spec));
    while (!end) {
        sd_document doc;

        SD_TRY(st, sd_dataset_next(data, &doc, &end));
        if (!end)
            SD_TRY(st, add_document(r, entry, &doc));
    }
    r->dropped += sd_dataset_dropped(data);
out:
    sd_dataset_close(&data);
    sd_free(field);
    return st;
}

static sd_status read_all(reader *r)
{
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < r->spec->n_entries; i++)
        SD_TRY(st, read_entry(r, &r->spec->entries[i]));
    if (r->l.docs == 0) {
        st = SD_FAIL(SD_E_DATA, "'finetune.data' has no token to supervise: %llu documents were empty or too short, %llu had no token to "
                                "predict within the context of %llu, %llu were chats without a message of the assistant",
                     (ull)r->dropped, (ull)r->empty, (ull)r->spec->context, (ull)r->silent);
        goto out;
    }
    sd_say("supervised fine-tuning data: %llu documents, %llu tokens, %llu of them supervised; "
           "%llu truncated to the context of %llu, %llu without a supervised token, %llu dropped",
           (ull)r->l.docs, (ull)r->l.tokens, (ull)r->supervised, (ull)r->cut, (ull)r->spec->context, (ull)r->empty, (ull)r->dropped);
    if (r->silent > 0)
        sd_warn("%llu chats have no message of the assistant and were dropped", (ull)r->silent);
out:
    return st;
}

sd_status sd_sft_data_read(sd_sft_data **sft_data, const sd_par *par, const sd_tokenizer *tokenizer, const sd_sft_spec *spec)
{
    reader r = {.tokenizer = tokenizer, .spec = spec};
    uint64_t size[2] = {0, 0};
    sd_sft_data *l = NULL;
    sd_status st;

    *sft_data = NULL;
    SD_TRY(st, sd_par_agree(par, par->rank == 0 ? read_all(&r) : SD_OK));
    size[0] = r.l.docs;
    size[1] = r.l.tokens;
    SD_TRY(st, sd_par_bcast(par, size, sizeof size, 0));
    SD_TRY(st, sd_par_agree(par, sd_sft_data_create(&l, size[0], size[1])));
    if (par->rank == 0) {
        memcpy(l->start, r.l.start, (size[0] + 1) * sizeof *l->start);
        memcpy(l->ids, r.l.ids, size[1] * sizeof *l->ids);
        memcpy(l->supervised, r.l.supervised, size[1] * sizeof *l->supervised);
    }
    SD_TRY(st, sd_par_bcast(par, l->start, (size[0] + 1) * sizeof *l->start, 0));
    SD_TRY(st, sd_par_bcast(par, l->ids, size[1] * sizeof *l->ids, 0));
    SD_TRY(st, sd_par_bcast(par, l->supervised, size[1] * sizeof *l->supervised, 0));
    *sft_data = l;
    l = NULL;
out:
    sd_sft_data_destroy(&l);
    sd_free(r.l.start);
    sd_free(r.l.ids);
    sd_free(r.l.supervised);
    return st;
}
