/* Every artefact against the manifest, every block against its checksum. Artefacts are dealt to the ranks. */
#include <stdio.h>
#include <string.h>

#include "run_private.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "saediff/store/shard.h"

/* The format a path tells, NULL where there are no blocks to look at. */
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

sd_status sd_run_verify(const sd_par *par, const char *folder)
{
    sd_manifest *manifest = NULL;
    uint64_t damaged[1] = {0}, count = 0, bytes = 0, length = 0, before, total;
    sd_str lines = {0};
    char *all = NULL;
    sd_span mine;
    sd_status st;

    SD_TRY(st, sd_manifest_look(&manifest, par, folder));
    count = sd_manifest_count(manifest);
    mine = sd_par_split(count, par->rank, par->size);
    for (uint64_t i = 0; i < count; i++) {
        const sd_record *record = sd_manifest_at(manifest, i);

        bytes += record->bytes;
        if (i < mine.first || i >= mine.first + mine.count || verify_one(manifest, record) == SD_OK)
            continue;
        damaged[0]++;
        sd_str_add(&lines, "damaged: %s\n", sd_last_error());
    }
    length = lines.length;
    SD_TRY(st, sd_par_agree(par, lines.status));
    SD_TRY(st, sd_par_prefix_u64(par, length, &before, &total));
    st = par->rank == 0 ? SD_NEW(&all, total + 1) : SD_OK;
    SD_TRY(st, sd_par_agree(par, st));
    SD_TRY(st, sd_par_gather(par, lines.text, length, all, total));
    SD_TRY(st, sd_par_sum_u64(par, damaged, 1));
    if (par->rank == 0) {
        char size[32];

        fputs(all, stdout);
        printf("%llu artefacts, %s: %llu damaged\n", (unsigned long long)count, sd_str_bytes(size, sizeof size, (double)bytes),
               (unsigned long long)damaged[0]);
        fflush(stdout);
    }
    if (damaged[0] > 0)
        st = SD_FAIL(SD_E_DATA, "%s: %llu of %llu artefacts are damaged; run the job again to make those anew", folder,
                     (unsigned long long)damaged[0], (unsigned long long)count);
out:
    sd_str_free(&lines);
    sd_free(all);
    sd_manifest_close(&manifest);
    return st;
}
