/* Job files: one table of keys fills an sd_job, words the help and writes the effective configuration. All Local.
 *
 * A job is a JSON object of sections. A stage runs when its section is there, be it empty. Members whose name begins with "//" are
 * comments, at any level. In every text value ${NAME} is replaced by the environment variable NAME, and ${NAME:-other} by `other`
 * where NAME is not set. Paths are relative to the job file. */
#ifndef SAEDIFF_APP_KEYS_H
#define SAEDIFF_APP_KEYS_H

#include <stdio.h>

#include "saediff/core/status.h"
#include "saediff/run/job.h"

/* sets: "section.key=value", "data.0.limit=10", on top of the file; lists as JSON or separated by commas. Each key once.
 * SD_E_USAGE with "job.json:line:column: " or "--set key=value: " before the message. End with sd_job_destroy(). */
SD_MUST_CHECK sd_status sd_job_read(sd_job **job, const char *path, const char *const *sets, uint64_t n_sets);

/* The job with every key of its stages, defaults filled in: a job file again, in one canonical form. Paths as
 * the user wrote them; without `out`, so that it does not depend on where results go. *json: sd_free(). `job` comes from
 * sd_job_read(). */
SD_MUST_CHECK sd_status sd_job_effective(const sd_job *job, char **json);

/* All keys by section with type, default, range and meaning, 100 columns wide. */
void sd_keys_help(FILE *out);

#endif
