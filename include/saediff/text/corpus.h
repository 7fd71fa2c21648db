/* Texts with known structure, made from a seed by small grammars: what can be found in a model trained on them is known beforehand. Local.
 *
 *   general.jsonl     short tales of people by their trade, animals, places and things
 *   finance.jsonl     news of companies: results, deals, ratings, dividends, with consistent figures
 *   arithmetic.jsonl  word problems in one or two steps, solved with calculator annotations: <<4*6=24>>24
 *
 * One JSON object a line: "text"; "domain"; "kind" (the plot, the event, the operation); "entities" (list of texts); "values" (list of
 * numbers, in the order of the text); "messages" (the same as a question and an answer of a chat). Document i of a file is a function of
 * seed and i alone. Everything is ASCII. */
#ifndef SAEDIFF_TEXT_CORPUS_H
#define SAEDIFF_TEXT_CORPUS_H

#include "saediff/core/status.h"
#include "saediff/core/types.h"

typedef struct sd_corpus_spec {
    uint64_t seed;
    uint64_t documents;  /* of each file */
    uint64_t vocabulary; /* tokens of the tokenizer: 262 to 16384; fewer where the texts have no more pairs to merge */
} sd_corpus_spec;

/* The three files in `dir`, which is made if need be; what is there under these names is replaced. */
SD_MUST_CHECK sd_status sd_corpus_write(const char *dir, const sd_corpus_spec *spec);

/* tokenizer.json and tokenizer_config.json in `dir`: a byte-level BPE learnt from the first documents of each file (Sennrich et al. 2016), digits
 * one by one, with the special tokens <s> (0, before every text), </s> (1), <|user|>, <|assistant|> and <|end|>, and a chat template. */
SD_MUST_CHECK sd_status sd_corpus_write_tokenizer(const char *dir, const sd_corpus_spec *spec);

#endif
