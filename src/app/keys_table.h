/* The table of keys of app/keys.h. Private to app. */
#ifndef SAEDIFF_APP_KEYS_TABLE_H
#define SAEDIFF_APP_KEYS_TABLE_H

#include <stddef.h>

#include "saediff/run/job.h"

typedef enum key_type {
    KEY_U64,
    KEY_F64,
    KEY_BOOL,
    KEY_TEXT,
    KEY_PATH,   /* resolved relative to the job file */
    KEY_PATHS,  /* one or a list of them */
    KEY_CHOICE, /* one of the words of `choices` */
    KEY_SEED,   /* u64, kept as its digits too */
    KEY_LIST,   /* of texts */
    KEY_NUMBERS, /* one whole number or a list of them */
    KEY_TYPES
} key_type;

typedef struct key_row {
    const char *name; /* "sae.k"; within an entry of data only "limit" */
    key_type type;
    size_t offset;    /* in sd_job, or in sd_job_data */
    const char *dflt; /* text for the type's parser; NULL: the key is required */
    double lo, hi;    /* U64, F64, each of NUMBERS */
    const char *choices; /* "json|text" */
    const char *help;
} key_row;

enum { KEY_NAME = 64 }; /* longer than any key's name */

extern const key_row sd_job_keys[];
extern const size_t sd_job_key_count;
/* A section that is a list of objects, whose entries are sd_job_data. */
typedef struct list_row {
    const char *name;
    const key_row *keys;
    size_t n_keys;
    size_t entries, count; /* in sd_job: sd_job_data *, uint64_t */
} list_row;

enum { KEY_LISTS = 2 };
extern const list_row sd_job_lists[KEY_LISTS];
/* NULL for a section that is no list. */
const list_row *sd_job_list_of(const char *section);

typedef struct section_row {
    const char *name;
    int stage; /* sd_stage_id, −1 for a section that is no stage */
    const char *help;
} section_row;

/* In the order of a job; the members of the job itself ("name") come first, under "". */
extern const section_row sd_job_sections[];
extern const size_t sd_job_section_count;

/* What sd_job_read() gives: the caller's job, and what its file said. */
typedef struct read_job {
    sd_job job; /* first, so that the caller's pointer leads here */
    char **raw_path;  /* [sd_job_key_count] KEY_PATH rows as written, else NULL */
    char **list_path[KEY_LISTS]; /* of each list, [entries]: `path` as written; a list as JSON */
} read_job;

#endif
