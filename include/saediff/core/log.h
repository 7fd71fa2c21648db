/* Logging: messages for the user on standard error, and the same messages as JSON lines in a file
 * ({"seconds": since sd_log_open(), "level": "info" | "warning" | "error", "text": ...}). One rank logs; the
 * others are switched off with sd_log_open(). All Local, to be called from one thread. */
#ifndef SAEDIFF_CORE_LOG_H
#define SAEDIFF_CORE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "saediff/core/status.h"

typedef struct sd_log_spec {
    bool enabled; /* this rank logs; false: it writes nothing */
    bool quiet;   /* standard error gets warnings and errors only; the file still gets everything */
    const char
        *path; /* JSON lines are appended to this file; NULL for none; read during sd_log_open() only */
} sd_log_spec;

/* SD_E_ENV if the file cannot be opened for appending. Before this call every rank logs to standard error
 * only. */
SD_MUST_CHECK sd_status sd_log_open(const sd_log_spec *spec);
/* Closes the file. Standard error stays in use. */
void sd_log_close(void);

/* Messages are cut off at 2 * SD_ERROR_TEXT bytes. */
void sd_say(const char *format, ...) SD_PRINTF(1, 2);   /* level "info", printed without a prefix */
void sd_warn(const char *format, ...) SD_PRINTF(1, 2);  /* printed as "warning: ..." */
void sd_error(const char *format, ...) SD_PRINTF(1, 2); /* printed as "error: ..." */

/* Progress of one stage on standard error: a bar with rate and time left on a terminal (at most ten updates a
 * second), a plain line every ten seconds otherwise, nothing where logging is disabled or quiet. */
typedef struct sd_progress {
    const char *what, *unit;     /* "extract base", "tokens"; borrowed */
    uint64_t done, total, first; /* in units; first = done before this run began, excluded from the rate */
    double began, shown;         /* sd_now() at the start and at the last update */
} sd_progress;

/* `what` and `unit` are borrowed until sd_progress_end(). done: units finished before this run (after a
 * restart). */
void sd_progress_begin(sd_progress *p, const char *what, const char *unit, uint64_t done, uint64_t total);
/* done: units finished by now, including those before this run. */
void sd_progress_set(sd_progress *p, uint64_t done);
/* Logs one final line with amount, time and rate, and `note` (may be NULL) after it. */
void sd_progress_end(sd_progress *p, const char *note);

/* Seconds on the monotonic clock, from an arbitrary origin. */
double sd_now(void);

#endif
