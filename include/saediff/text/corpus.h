/* Synthetic texts with known structure, generated from a seed by small grammars: the features of a model trained on them are known. Local.
 *
 *   general.jsonl     short stories with people (by trade), animals, locations and objects
 *   finance.jsonl     company news: results, deals, ratings, dividends, with consistent figures
 *   arithmetic.jsonl  word problems in one or two steps, solved with calculator annotations: <<4*6=24>>24
 *
 * One JSON object per line: "text"; "domain"; "kind" (the plot, the event, the operation); "entities" (list of strings); "values" (list of
 * numbers, in the order of the text); "messages" (the same as a question and an answer of a chat). Document i of a file is a function of
 * seed and i alone. Everything is ASCII. */
#ifndef SAEDIFF_TEXT_CORPUS_H
#define SAEDIFF_TEXT_CORPUS_H

#include "saediff/core/status.h"
#include "saediff/core/types.h"

typedef struct sd_corpus_spec {
    uint64_t seed;
    uint64_t documents;  /* per file */
    uint64_t vocabulary; /* size of the tokenizer's vocabulary: 262 to 16384; smaller if the texts have no more pairs to merge */
} sd_corpus_spec;

/* Writes the three files to `dir`, which is created if needed; existing files of these names are replaced. */
SD_MUST_CHECK sd_status sd_corpus_write(const char *dir, const sd_corpus_spec *spec);

/* Writes tokenizer.json and tokenizer_config.json to `dir`: a byte-level BPE trained on the first documents of each file (Sennrich et al.
 * 2016), digits split one by one, with the special tokens <s> (0, prepended to every text), </s> (1), <|user|>, <|assistant|> and <|end|>,
 * and a chat template. */
SD_MUST_CHECK sd_status sd_corpus_write_tokenizer(const char *dir, const sd_corpus_spec *spec);

#endif
