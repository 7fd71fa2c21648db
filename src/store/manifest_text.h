/* The text of manifest.log: records to lines and lines to records. Private to the manifest. All Local. */
#ifndef SAEDIFF_STORE_MANIFEST_TEXT_H
#define SAEDIFF_STORE_MANIFEST_TEXT_H

#include "saediff/core/str.h"
#include "saediff/store/manifest.h"

/* One record with its own copies of the texts; sorted by path. */
typedef struct sd_records {
    sd_record *at;
    uint64_t count, capacity;
} sd_records;

void sd_records_free(sd_records *records);
/* NULL if there is none. */
const sd_record *sd_records_find(const sd_records *records, const char *path);

/* A relative path without "..": it stays inside the run's folder. */
bool sd_records_inside(const char *path);

/* Adds lines to `text`: `record` with `more` further records of the same commit behind it; a withdrawal. */
void sd_records_put(sd_str *text, const sd_record *record, uint64_t more);
void sd_records_put_gone(sd_str *text, const char *path);

/* Applies the lines of `text` to the records. *good = bytes of whole commits; what follows was torn and is ignored.
 * Damage before the last line is SD_E_DATA naming `name` and the line. */
SD_MUST_CHECK sd_status sd_records_apply(sd_records *records, const char *name, const char *text, uint64_t length,
                                         uint64_t *good);

#endif
