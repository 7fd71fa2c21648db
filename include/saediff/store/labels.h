/* What is known about the documents of a token stream: the labels their records carry, as labels.h5 beside tokens.h5.
 *
 * A value is a text under a field: "finance" under "domain". A document has any number of values of a field, none where its record has no
 * such member.
 *
 * labels.h5, format "saediff.labels" version 1 (a bundle, see bundle.h):
 *   doc_start  u64 [docs + 1]             first entry of each document in doc_value; the last entry is their number
 *   doc_value  u32 [doc_start[docs]]      values of the document, rising
 *   field      u32 [values]               which field each value is of
 *   values     u8  [bytes]                JSON list of the values' texts; by field, then by bytes
 * attribute: fields (JSON list of names). */
#ifndef SAEDIFF_STORE_LABELS_H
#define SAEDIFF_STORE_LABELS_H

#include "saediff/store/bundle.h"

typedef struct sd_labels {
    uint64_t docs, fields, values;
    char **field;        /* [fields] names */
    char **value;        /* [values] texts */
    uint32_t *of_field;  /* [values] */
    uint64_t *doc_start; /* [docs + 1] */
    uint32_t *doc_value; /* [doc_start[docs]] */
} sd_labels;

void sd_labels_destroy(sd_labels **labels);

/* Local. The file is committed before this returns. */
SD_MUST_CHECK sd_status sd_labels_write(const sd_labels *labels, const char *path);
/* Local. Every offset and index is checked against the others. */
SD_MUST_CHECK sd_status sd_labels_read(sd_labels **labels, const char *path);

/* Local, for files that carry labels with their own numbers: a list of texts as JSON, *out for sd_free(); and back, [*count] of them, each
 * and the list for sd_free(). `what` is for messages. */
SD_MUST_CHECK sd_status sd_texts_to_json(char *const *texts, uint64_t count, char **out);
SD_MUST_CHECK sd_status sd_texts_from_json(const char *what, const char *json, char ***texts, uint64_t *count);
/* The same from a u8 dataset of a bundle that lies at `path`. */
SD_MUST_CHECK sd_status sd_texts_from_bundle(sd_bundle *bundle, const char *path, const char *name, char ***texts, uint64_t *count);
void sd_texts_free(char **texts, uint64_t count);

#endif
