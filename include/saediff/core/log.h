/* What the user reads on standard error, and the same as JSON lines in a file. One rank speaks:
 * the others are switched off with sd_log_open(). All Local. */
#ifndef SAEDIFF_CORE_LOG_H
#define SAEDIFF_CORE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "saediff/core/status.h"

typedef struct sd_log_spec {
    bool speaks;      /* this rank writes at all */
    bool quiet;       /* warnings and errors only */
    const char *path; /* JSON lines to this file too; NULL for none */
} sd_log_spec;

/* Errors are printed by the rank that speaks only. */
SD_MUST_CHECK sd_status sd_log_open(const sd_log_spec *spec);
void sd_log_close(void);

void sd_say(const char *format, ...) SD_PRINTF(1, 2);   /* what happens */
void sd_warn(const char *format, ...) SD_PRINTF(1, 2);  /* "warning: ..." */
void sd_error(const char *format, ...) SD_PRINTF(1, 2); /* "error: ..." */

/* Progress of one stage: a bar with rate and time left on a terminal, a plain line every ten
 * seconds otherwise, nothing where the rank is silent or quiet. */
typedef struct sd_progress {
    const char *what, *unit; /* "extract base", "tokens"; borrowed */
    uint64_t done, total, first; /* first = what was there before this run began */
    double began, shown;
} sd_progress;

void sd_progress_begin(sd_progress *p, const char *what, const char *unit, uint64_t done, uint64_t total);
void sd_progress_set(sd_progress *p, uint64_t done);
/* One closing line: amount, time, rate. `note` may be NULL. */
void sd_progress_end(sd_progress *p, const char *note);

/* Seconds on a clock that only goes forward. */
double sd_now(void);

#endif
