/* Resolves file names and patterns. */
#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "saediff/text/dataset.h"

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static sd_status add_names(sd_dataset_files *f, const char *const *names, uint64_t count)
{
    char **grown;
    sd_status st;

    SD_TRY(st, SD_NEW(&grown, f->count + count));
    if (f->count > 0)
        memcpy(grown, f->path, f->count * sizeof *grown);
    sd_free(f->path);
    f->path = grown;
    for (uint64_t i = 0; i < count; i++) {
        SD_TRY(st, sd_str_copy(&f->path[f->count], names[i]));
        f->count++;
    }
out:
    return st;
}

/* A name that exists is a file, whatever characters it has; anything else is a pattern. */
static sd_status add_path(sd_dataset_files *f, const char *path)
{
    glob_t found = {0};
    uint64_t size;
    int result;
    sd_status st;

    if (sd_file_exists(path) || strpbrk(path, "*?[") == NULL) {
        SD_TRY(st, sd_file_size(path, &size));
        st = add_names(f, &path, 1);
        goto out;
    }
    result = glob(path, GLOB_NOSORT, NULL, &found);
    if (result == GLOB_NOSPACE) {
        st = SD_FAIL(SD_E_ENV, "%s: out of memory for the names of the files it matches", path);
    } else if (result != 0) {
        st = SD_FAIL(SD_E_DATA, "%s: no file matches this pattern", path);
    } else {
        qsort(found.gl_pathv, found.gl_pathc, sizeof *found.gl_pathv, compare_names);
        st = add_names(f, (const char *const *)found.gl_pathv, found.gl_pathc);
    }
out:
    globfree(&found);
    return st;
}

sd_status sd_dataset_find(sd_dataset_files *files, const char *const *paths, uint64_t n_paths)
{
    sd_status st = SD_OK;

    *files = (sd_dataset_files){0};
    for (uint64_t i = 0; i < n_paths; i++)
        SD_TRY(st, add_path(files, paths[i]));
    if (files->count == 0)
        st = SD_FAIL(SD_E_USAGE, "a dataset needs at least one file");
out:
    if (st != SD_OK)
        sd_dataset_files_free(files);
    return st;
}

void sd_dataset_files_free(sd_dataset_files *files)
{
    for (uint64_t i = 0; i < files->count; i++)
        sd_free(files->path[i]);
    sd_free(files->path);
    *files = (sd_dataset_files){0};
}
