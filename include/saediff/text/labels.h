/* Document labels: members of the job's data records, joined to the documents of the token stream. Local.
 *
 * A label is a member of a record: a name or a path, as in dataset.h. A string is a value; a number, true or false is converted to its JSON
 * text; each entry of a list is a value. null, an empty string and an absent member give no value; an object is SD_E_DATA. A label that no
 * record of its data entry has is SD_E_DATA, and the message lists the members. More than SD_LABEL_VALUES distinct values of one field, or a
 * value of more than SD_LABEL_BYTES, is SD_E_DATA. */
#ifndef SAEDIFF_TEXT_LABELS_H
#define SAEDIFF_TEXT_LABELS_H

#include "saediff/store/labels.h"
#include "saediff/store/tokens.h"
#include "saediff/text/dataset.h"

enum { SD_LABEL_VALUES = 1000, SD_LABEL_BYTES = 200 };

typedef struct sd_labels_entry {
    const char *name;            /* of the data entry, for messages */
    const char *const *paths;    /* files or patterns, and their format, as for reading the documents */
    uint64_t n_paths;
    const char *format;
    const char *const *labels;   /* [n_labels] paths in a record */
    uint64_t n_labels;
} sd_labels_entry;

/* The labels of every document of `tokens`, joined by doc_source (an index into `entries`) and doc_row, independent of which documents were
 * dropped or skipped and of their order. Fields are in the order in which the entries first name them. Each file is read once per label, no
 * further than the first record with a value at or after that of the last document. SD_E_STOPPED soon after a signal. */
SD_MUST_CHECK sd_status sd_labels_find(const sd_labels_entry *entries, uint64_t n_entries, const sd_tokens *tokens, sd_labels **labels);

#endif
