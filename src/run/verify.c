/* Checks every artefact against the manifest, and every block against its checksum. Artefacts are distributed over the ranks. */
#include <stdio.h>
#include <string.h>

#include "run_private.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "saediff/store/shard.h"

/* The format by the path; NULL if the file has no block checksums. */
static const char *shard_format(const char *path)
{
    if (strstr(path, "/shard-") == NULL)
        return NULL;
    if (strncmp(path, "codes/", 6) == 0)
        return "saediff.codes";
    return strstr(path, "/loss/") != NULL ? "saediff.loss" : "saediff.activations";
}

static sd_status verify_one(const sd_manifest *manifest, const sd_record *record)
{
    const char *format = shard_format(record->path);
    sd_shard_reader *reader = NULL;
    char *path = NULL;
    sd_status st;

    SD_TRY(st, sd_manifest_check(manifest, record));
    if (format == NULL)
        goto out;
    SD_TRY(st, sd_path_join(&path, sd_manifest_folder(manifest), record->path));
    SD_TRY(st, sd_shard_open(&reader, path, format, UINT64_MAX));
    st = sd_shard_verify(reader);
out:
    sd_shard_close(&reader);
    sd_free(path);
    return st;
}

/* Collective. Withdraws the damaged artefacts, so that the next run rebuilds just those; not while a run holds the lock, nor if the folder is not
 * writable. */
static sd_status withdraw_damaged(const sd_par *par, const char *folder, const char *const *paths, uint64_t count)
{
    sd_manifest *manifest = NULL;
    sd_status st = sd_manifest_open(&manifest, par, folder);

    if (st != SD_OK) {
        sd_warn("%s; the damaged files are still recorded: run verify again later", sd_last_error());
        return SD_OK;
    }
    for (uint64_t i = 0; i < count; i++) {
        SD_TRY(st, sd_manifest_withdraw(manifest, paths[i]));
        /* The report is written as a whole; README.md is its record. */
        if (strncmp(paths[i], "report/", 7) == 0)
            SD_TRY(st, sd_manifest_withdraw(manifest, "report/README.md"));
    }
out:
    sd_manifest_close(&manifest);
    return st;
}

/* Collective. Rank 0 prints the lines of all ranks, in rank order. */
static sd_status print_lines(const sd_par *par, const sd_str *lines)
{
    uint64_t before, total;
    char *all = NULL;
    sd_status st;

    SD_TRY(st, sd_par_prefix_u64(par, lines->length, &before, &total));
    SD_TRY(st, sd_par_agree(par, par->rank == 0 ? SD_NEW(&all, total + 1) : SD_OK));
    SD_TRY(st, sd_par_gather(par, lines->text, lines->length, all, total));
    if (par->rank == 0)
        fputs(all, stdout);
out:
    sd_free(all);
    return st;
}

sd_status sd_run_verify(const sd_par *par, const char *folder)
{
    sd_manifest *manifest = NULL;
    uint64_t *damaged = NULL, count = 0, bad = 0, bytes = 0;
    const char **paths = NULL;
    sd_str lines = {0};
    char size[32];
    sd_span mine;
    sd_status st;

    SD_TRY(st, sd_manifest_open_readonly(&manifest, par, folder));
    count = sd_manifest_count(manifest);
    st = SD_NEW(&damaged, count);
    if (st == SD_OK)
        st = SD_NEW(&paths, count);
    SD_TRY(st, sd_par_agree(par, st));
    mine = sd_par_split(count, par->rank, par->size);
    for (uint64_t i = 0; i < count; i++) {
        const sd_record *record = sd_manifest_at(manifest, i);

        bytes += record->bytes;
        if (i < mine.first || i >= mine.first + mine.count || verify_one(manifest, record) == SD_OK)
            continue;
        damaged[i] = 1;
        sd_str_add(&lines, "damaged: %s\n", sd_last_error());
    }
    SD_TRY(st, sd_par_agree(par, lines.status));
    SD_TRY(st, print_lines(par, &lines));
    SD_TRY(st, sd_par_sum_u64(par, damaged, count));
    for (uint64_t i = 0; i < count; i++)
        if (damaged[i])
            paths[bad++] = sd_manifest_at(manifest, i)->path;
    if (par->rank == 0) {
        printf("%llu artefacts, %s: %llu damaged\n", (unsigned long long)count, sd_str_bytes(size, sizeof size, (double)bytes),
               (unsigned long long)bad);
        fflush(stdout);
    }
    if (bad > 0) {
        SD_TRY(st, withdraw_damaged(par, folder, paths, bad));
        st = SD_FAIL(SD_E_DATA, "%s: %llu of %llu artefacts are damaged; run the job again to rebuild them", folder,
                     (unsigned long long)bad, (unsigned long long)count);
    }
out:
    sd_str_free(&lines);
    sd_free(damaged);
    sd_free(paths);
    sd_manifest_close(&manifest);
    return st;
}
