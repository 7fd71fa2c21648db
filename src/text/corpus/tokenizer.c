/* A byte-level BPE trained on the corpus: words are counted once, and the most frequent pair of adjacent symbols becomes one piece, until
 * the vocabulary is full (Sennrich, Haddow, Birch, "Neural machine translation of rare words with subword units", 2016). Ties: the pair
 * of lower ids. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "corpus.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "saediff/store/json.h"

enum { SPECIALS = 5, BYTES = 256, MAX_WORD = 32, SAMPLE = 1500, MAX_WORDS = 1 << 16, SLOTS = 1 << 17 };

static const char *const specials[SPECIALS] = {"<s>", "</s>", "<|user|>", "<|assistant|>", "<|end|>"};

/* The header of a message is the token of its role; its end is <|end|>. */
static const char chat_template[] =
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

typedef struct word {
    uint64_t count;
    uint32_t symbol[MAX_WORD]; /* ids without the specials */
    uint32_t length;
} word;

typedef struct bpe_trainer {
    word *words;
    uint64_t n_words;
    uint32_t *slot;  /* [SLOTS] index + 1 of a word with this hash */
    sd_str *piece;   /* [vocabulary] bytes of each id */
    uint64_t n_pieces, capacity;
    sd_str merges;   /* JSON */
} bpe_trainer;

static uint64_t hash(const uint32_t *symbol, uint32_t length)
{
    uint64_t h = 14695981039346656037u;

    for (uint32_t i = 0; i < length; i++)
        h = (h ^ symbol[i]) * 1099511628211u;
    return h;
}

static void count_word(bpe_trainer *l, const char *text, uint32_t length)
{
    uint32_t symbol[MAX_WORD];
    uint64_t at;

    for (uint32_t i = 0; i < length; i++)
        symbol[i] = (unsigned char)text[i];
    for (at = hash(symbol, length) % SLOTS; l->slot[at] != 0; at = (at + 1) % SLOTS) {
        word *w = &l->words[l->slot[at] - 1];

        if (w->length == length && memcmp(w->symbol, symbol, length * sizeof *symbol) == 0) {
            w->count++;
            return;
        }
    }
    if (l->n_words == MAX_WORDS)
        return;
    l->words[l->n_words] = (word){.count = 1, .length = length};
    memcpy(l->words[l->n_words].symbol, symbol, length * sizeof *symbol);
    l->slot[at] = (uint32_t)++l->n_words;
}

/* A word is a run of letters with the space before it; every other character is alone. */
static void count_text(bpe_trainer *l, const char *text)
{
    while (*text) {
        const char *end = text + 1;

        if (*text == ' ' && isalpha((unsigned char)text[1]))
            end++;
        while (isalpha((unsigned char)end[-1]) && isalpha((unsigned char)*end) && end - text < MAX_WORD)
            end++;
        if (end - text > 1)
            count_word(l, text, (uint32_t)(end - text));
        text = end;
    }
}

static sd_status count_corpus(bpe_trainer *l, const sd_corpus_spec *spec)
{
    sd_status st = SD_OK;

    for (int domain = 0; domain < CORPUS_DOMAINS; domain++)
        for (uint64_t i = 0; i < spec->documents && i < SAMPLE; i++) {
            sd_str text = {0};
            corpus_doc d;

            corpus_make(&d, spec->seed, domain, i);
            st = corpus_text(&d, domain, &text);
            if (st == SD_OK) {
                count_text(l, text.text);
                count_text(l, d.question.text);
            }
            corpus_free(&d);
            sd_str_free(&text);
            SD_TRY(st, st);
        }
out:
    return st;
}

typedef struct pair {
    uint32_t left, right;
    uint64_t count;
} pair;

/* Counts of every pair, in a table indexed by left · vocabulary + right. */
static pair most_frequent(const bpe_trainer *l, uint64_t *counts)
{
    pair best = {0};

    memset(counts, 0, l->capacity * l->capacity * sizeof *counts);
    for (uint64_t w = 0; w < l->n_words; w++)
        for (uint32_t i = 0; i + 1 < l->words[w].length; i++)
            counts[l->words[w].symbol[i] * l->capacity + l->words[w].symbol[i + 1]] += l->words[w].count;
    for (uint64_t p = 0; p < l->n_pieces; p++)
        for (uint64_t q = 0; q < l->n_pieces; q++)
            if (counts[p * l->capacity + q] > best.count)
                best = (pair){(uint32_t)p, (uint32_t)q, counts[p * l->capacity + q]};
    return best;
}

static void apply(bpe_trainer *l, pair p, uint32_t id)
{
    for (uint64_t w = 0; w < l->n_words; w++) {
        word *at = &l->words[w];
        uint32_t to = 0;

        for (uint32_t i = 0; i < at->length; i++) {
            bool joins = i + 1 < at->length && at->symbol[i] == p.left && at->symbol[i + 1] == p.right;

            at->symbol[to++] = joins ? id : at->symbol[i];
            i += joins;
        }
        at->length = to;
    }
}

/* The character that represents a byte in byte-level vocabularies, as in GPT-2. */
static uint32_t character_of(unsigned byte)
{
    uint32_t next = 256;

    for (unsigned b = 0; b < BYTES; b++) {
        bool plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;

        if (b == byte)
            return plain ? b : next;
        next += !plain;
    }
    return next;
}

static void add_character(sd_str *to, uint32_t c)
{
    char utf8[2] = {(char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f))};

    if (c < 0x80)
        sd_str_add(to, "%c", (char)c);
    else
        sd_str_add_bytes(to, utf8, 2);
}

static sd_status train(bpe_trainer *l, uint64_t vocabulary)
{
    uint64_t *counts = NULL;
    sd_status st;

    l->capacity = vocabulary - SPECIALS;
    SD_TRY(st, SD_NEW(&l->piece, l->capacity));
    SD_TRY(st, SD_NEW(&counts, l->capacity * l->capacity));
    for (unsigned b = 0; b < BYTES; b++)
        add_character(&l->piece[l->n_pieces++], character_of(b));
    while (l->n_pieces < l->capacity) {
        pair p = most_frequent(l, counts);
        sd_str *made = &l->piece[l->n_pieces];

        if (p.count < 2)
            break;
        sd_str_add(&l->merges, "%s\n      [", l->merges.length > 0 ? "," : "");
        sd_json_quote(&l->merges, l->piece[p.left].text);
        sd_str_add(&l->merges, ", ");
        sd_json_quote(&l->merges, l->piece[p.right].text);
        sd_str_add(&l->merges, "]");
        sd_str_add(made, "%s%s", l->piece[p.left].text, l->piece[p.right].text);
        SD_TRY(st, made->status);
        apply(l, p, (uint32_t)l->n_pieces++);
    }
    st = l->merges.status;
out:
    sd_free(counts);
    return st;
}

/* ---- the files ---- */

static void add_special(sd_str *s, int id, const char *before)
{
    sd_str_add(s, "%s\n    {\"id\": %d, \"content\": \"%s\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, "
                  "\"special\": true}", before, id, specials[id]);
}

static sd_status write_tokenizer(const char *dir, const bpe_trainer *l)
{
    char *path = NULL;
    sd_str s = {0};
    sd_status st;

    sd_str_add(&s, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [");
    for (int i = 0; i < SPECIALS; i++)
        add_special(&s, i, i > 0 ? "," : "");
    sd_str_add(&s, "\n  ],\n  \"normalizer\": null,\n  \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Digits\", "
                   "\"individual_digits\": true},\n    {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": false, \"use_regex\": "
                   "true}]},\n  \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": "
                   "0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}],\n    \"pair\": [{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}}, "
                   "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"B\", \"type_id\": 0}}],\n    \"special_tokens\": "
                   "{\"<s>\": {\"id\": \"<s>\", \"ids\": [0], \"tokens\": [\"<s>\"]}}},\n  \"decoder\": {\"type\": \"ByteLevel\", "
                   "\"add_prefix_space\": false, \"trim_offsets\": false, \"use_regex\": true},\n  \"model\": {\"type\": \"BPE\", \"dropout\": null, "
                   "\"unk_token\": null, \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null, \"fuse_unk\": false, "
                   "\"byte_fallback\": false, \"ignore_merges\": false,\n    \"vocab\": {");
    for (uint64_t i = 0; i < SPECIALS + l->n_pieces; i++) {
        sd_str_add(&s, "%s\n      ", i > 0 ? "," : "");
        sd_json_quote(&s, i < SPECIALS ? specials[i] : l->piece[i - SPECIALS].text);
        sd_str_add(&s, ": %llu", (unsigned long long)i);
    }
    sd_str_add(&s, "\n    },\n    \"merges\": [%s\n    ]\n  }\n}\n", l->merges.text != NULL ? l->merges.text : "");
    SD_TRY(st, s.status);
    SD_TRY(st, sd_path_join(&path, dir, "tokenizer.json"));
    st = sd_file_write(path, s.text, s.length);
out:
    sd_free(path);
    sd_str_free(&s);
    return st;
}

static sd_status write_config(const char *dir)
{
    char *path = NULL;
    sd_str s = {0};
    sd_status st;

    sd_str_add(&s, "{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\",\n  \"bos_token\": \"<s>\",\n  \"eos_token\": \"</s>\",\n  \"chat_template\": ");
    sd_json_quote(&s, chat_template);
    sd_str_add(&s, "\n}\n");
    SD_TRY(st, s.status);
    SD_TRY(st, sd_path_join(&path, dir, "tokenizer_config.json"));
    st = sd_file_write(path, s.text, s.length);
out:
    sd_free(path);
    sd_str_free(&s);
    return st;
}

sd_status sd_corpus_write_tokenizer(const char *dir, const sd_corpus_spec *spec)
{
    bpe_trainer l = {0};
    sd_status st;

    if (spec->vocabulary < BYTES + SPECIALS + 1 || spec->vocabulary > 1 << 14)
        return SD_FAIL(SD_E_USAGE, "a vocabulary of %llu tokens is out of range; it must be %d to %d", (unsigned long long)spec->vocabulary,
                       BYTES + SPECIALS + 1, 1 << 14);
    SD_TRY(st, SD_NEW(&l.words, MAX_WORDS));
    SD_TRY(st, SD_NEW(&l.slot, SLOTS));
    SD_TRY(st, count_corpus(&l, spec));
    SD_TRY(st, train(&l, spec->vocabulary));
    SD_TRY(st, sd_file_make_dirs(dir));
    SD_TRY(st, write_tokenizer(dir, &l));
    st = write_config(dir);
out:
    for (uint64_t i = 0; l.piece != NULL && i < l.n_pieces; i++)
        sd_str_free(&l.piece[i]);
    sd_free(l.piece);
    sd_free(l.words);
    sd_free(l.slot);
    sd_str_free(&l.merges);
    return st;
}
