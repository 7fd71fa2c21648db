/* Shared declarations of the grammars. A document is generated from left to right; every choice draws the next number of its own stream. */
#ifndef SAEDIFF_TEXT_CORPUS_PRIVATE_H
#define SAEDIFF_TEXT_CORPUS_PRIVATE_H

#include "saediff/core/random.h"
#include "saediff/core/str.h"
#include "saediff/text/corpus.h"

enum { CORPUS_DOMAINS = 3, CORPUS_ENTITIES = 6, CORPUS_VALUES = 8 };

typedef struct corpus_doc {
    sd_key key;
    uint64_t drawn;
    const char *kind;
    sd_str question, answer;
    sd_str entity[CORPUS_ENTITIES];
    uint64_t n_entities;
    int64_t value[CORPUS_VALUES];
    uint64_t n_values;
} corpus_doc;

/* The next number of the document's stream, in 0 … n−1. */
uint64_t corpus_draw(corpus_doc *d, uint64_t n);
/* One of `count` words. */
const char *corpus_word(corpus_doc *d, const char *const *words, uint64_t count);
#define CORPUS_PICK(d, words) corpus_word(d, words, sizeof(words) / sizeof *(words))

/* Adds a sentence: {0} … {5} are replaced by entities, {a} … {h} by values; the first letter is capitalised. */
void corpus_sentence(corpus_doc *d, sd_str *to, const char *sentence);
void corpus_entity(corpus_doc *d, const char *text);
void corpus_value(corpus_doc *d, int64_t value);

/* Each sets question, answer, kind, entities and values. */
void corpus_general(corpus_doc *d);
void corpus_finance(corpus_doc *d);
void corpus_arithmetic(corpus_doc *d);

/* Generates document i of a domain; free with corpus_free(). */
void corpus_make(corpus_doc *d, uint64_t seed, int domain, uint64_t i);
void corpus_free(corpus_doc *d);
/* The text of the document: question and answer of a problem, else the answer. */
SD_MUST_CHECK sd_status corpus_text(const corpus_doc *d, int domain, sd_str *text);

#endif
