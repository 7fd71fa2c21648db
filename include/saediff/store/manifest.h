/* The manifest of a run folder: which artefacts are whole, and what made them.
 *
 * manifest.log is append-only: one record per line,
 *     <crc32c of the rest, 8 hex digits> <JSON object>\n
 * with the members path, bytes, crc32c, skip_first, skip_bytes, key, and "more", the number of records of the same commit
 * that follow (absent for none). A torn last line is dropped, and the earlier lines of its commit with it; a damaged line
 * before the end is SD_E_DATA. The last record of a path counts. {"path": ..., "gone": true} withdraws one. Records carry no times,
 * hosts or rank counts. An artefact is finished if and only if its record is there; whatever else lies in the folder is not
 * looked at.
 *
 * `key` is a SHA-256 over the stage's effective configuration and the keys of its inputs: a changed job makes another key,
 * and the artefact is made anew. */
#ifndef SAEDIFF_STORE_MANIFEST_H
#define SAEDIFF_STORE_MANIFEST_H

#include <stdbool.h>

#include "saediff/par/par.h"

typedef struct sd_manifest sd_manifest;

typedef struct sd_record {
    const char *path; /* relative to the folder */
    const char *key;
    uint64_t bytes;
    uint32_t crc32c; /* of the file's bytes outside `skip`; blocks inside carry their own checksums */
    sd_span skip;
} sd_record;

/* Collective. For writing: makes the folder if need be, takes its lock (SD_E_ENV naming host, process and batch job of a run that
 * holds it; the lock ends with the process that holds it, however it ends); rank 0 reads manifest.log, removes temporaries that a killed run left, and all ranks get
 * the records. */
SD_MUST_CHECK sd_status sd_manifest_open(sd_manifest **manifest, const sd_par *par, const char *folder);
/* Collective. To look only: no lock is taken, nothing is made or removed; a folder without manifest.log is SD_E_USAGE. */
SD_MUST_CHECK sd_status sd_manifest_open_readonly(sd_manifest **manifest, const sd_par *par, const char *folder);
/* Local. Gives the lock back. */
void sd_manifest_close(sd_manifest **manifest);
const char *sd_manifest_folder(const sd_manifest *manifest);

/* Local. The record of `path` (relative), or NULL. Valid until the next add or withdraw. */
const sd_record *sd_manifest_find(const sd_manifest *manifest, const char *path);
uint64_t sd_manifest_count(const sd_manifest *manifest);
/* In order of path. */
const sd_record *sd_manifest_at(const sd_manifest *manifest, uint64_t i);

/* Collective. True on all ranks if `path` is recorded with `key` and the file is there with the recorded size and checksum (rank 0
 * looks). A recorded file that fails is reported as a warning, and counts as not there. */
SD_MUST_CHECK sd_status sd_manifest_has(sd_manifest *manifest, const char *path, const char *key, bool *has);

/* Collective. Rank 0 measures the `count` files (relative paths, already under their final names; skips[i] excluded from the checksum, NULL
 * for none), appends one record each in one write, and flushes; then all ranks know them. Of several artefacts either all are
 * recorded or none. */
SD_MUST_CHECK sd_status sd_manifest_add(sd_manifest *manifest, const char *const *paths, const sd_span *skips, uint64_t count,
                                        const char *key);
/* Collective. Withdraws the record, then rank 0 deletes the file. Fine if either is not there. */
SD_MUST_CHECK sd_status sd_manifest_withdraw(sd_manifest *manifest, const char *path);
/* Collective. Rank 0 deletes the files whose path begins with `prefix` (a folder, and how their names begin) and that have no record: those
 * that a kill left between a file and its record. */
SD_MUST_CHECK sd_status sd_manifest_sweep(sd_manifest *manifest, const char *prefix);

/* Local. Compares the file with its record: SD_OK, or SD_E_DATA naming path, expected and found. */
SD_MUST_CHECK sd_status sd_manifest_check(const sd_manifest *manifest, const sd_record *record);

#endif
