#include "saediff/store/manifest.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lock.h"
#include "manifest_text.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"

static const uint64_t LOG_LIMIT = (uint64_t)1 << 30;

struct sd_manifest {
    const sd_par *par;
    char *folder, *log;
    sd_records records;
    uint64_t good; /* bytes of whole commits in manifest.log */
    bool torn;     /* something follows them, to be cut off before the next append */
    int lock;      /* rank 0 of a writer: descriptor of run.lock; else −1 */
};

/* Collective. Rank 0's text to all, each applies it. `mine` is rank 0's result in making it. */
static sd_status share(sd_manifest *m, sd_status mine, const sd_str *text)
{
    uint64_t length = text->length, good = 0;
    char *copy = NULL;
    sd_status st;

    SD_TRY(st, sd_par_agree(m->par, mine));
    SD_TRY(st, sd_par_bcast(m->par, &length, sizeof length, 0));
    st = SD_NEW(&copy, length + 1);
    SD_TRY(st, sd_par_agree(m->par, st));
    if (m->par->rank == 0 && length > 0)
        memcpy(copy, text->text, length);
    SD_TRY(st, sd_par_bcast(m->par, copy, length, 0));
    st = sd_records_apply(&m->records, m->log, copy, length, &good);
    SD_TRY(st, sd_par_agree(m->par, st));
    m->good += good;
    m->torn = good < length;
out:
    sd_free(copy);
    return st;
}

/* Rank 0. */
static sd_status read_log(const sd_manifest *m, sd_str *text)
{
    char *data = NULL;
    uint64_t size = 0;
    sd_status st;

    if (!sd_file_exists(m->log))
        return SD_OK;
    SD_TRY(st, sd_file_read(m->log, LOG_LIMIT, &data, &size));
    sd_str_add_bytes(text, data, size);
    st = text->status;
out:
    sd_free(data);
    return st;
}

/* Rank 0. */
static sd_status take_folder(sd_manifest *m)
{
    sd_status st;

    SD_TRY(st, sd_file_make_dirs(m->folder));
    SD_TRY(st, sd_lock_take(m->folder, &m->lock));
    SD_TRY(st, sd_file_remove_temporaries(m->folder));
out:
    return st;
}

static sd_status begin(sd_manifest **manifest, const sd_par *par, const char *folder)
{
    sd_manifest *m;
    sd_status st;

    SD_TRY(st, SD_NEW(manifest, 1));
    m = *manifest;
    m->par = par;
    m->lock = -1;
    SD_TRY(st, sd_str_copy(&m->folder, folder));
    SD_TRY(st, sd_path_join(&m->log, folder, "manifest.log"));
out:
    return st;
}

static sd_status open_as(sd_manifest **manifest, const sd_par *par, const char *folder, bool writes)
{
    sd_manifest *m = NULL;
    sd_str text = {0};
    sd_status st = begin(&m, par, folder);

    *manifest = NULL;
    SD_TRY(st, sd_par_agree(par, st));
    if (par->rank == 0 && writes)
        st = take_folder(m);
    else if (par->rank == 0 && !sd_file_exists(m->log))
        st = SD_FAIL(SD_E_USAGE, "%s: no run folder: there is no manifest.log in it", folder);
    if (par->rank == 0 && st == SD_OK)
        st = read_log(m, &text);
    SD_TRY(st, share(m, st, &text));
    *manifest = m;
    m = NULL;
out:
    sd_str_free(&text);
    sd_manifest_close(&m);
    return st;
}

sd_status sd_manifest_open(sd_manifest **manifest, const sd_par *par, const char *folder)
{
    return open_as(manifest, par, folder, true);
}

sd_status sd_manifest_open_readonly(sd_manifest **manifest, const sd_par *par, const char *folder)
{
    return open_as(manifest, par, folder, false);
}

void sd_manifest_close(sd_manifest **manifest)
{
    sd_manifest *m = *manifest;

    if (m == NULL)
        return;
    sd_lock_give(&m->lock);
    sd_records_free(&m->records);
    sd_free(m->log);
    sd_free(m->folder);
    sd_free(m);
    *manifest = NULL;
}

const char *sd_manifest_folder(const sd_manifest *manifest)
{
    return manifest->folder;
}

const sd_record *sd_manifest_find(const sd_manifest *manifest, const char *path)
{
    return sd_records_find(&manifest->records, path);
}

uint64_t sd_manifest_count(const sd_manifest *manifest)
{
    return manifest->records.count;
}

const sd_record *sd_manifest_at(const sd_manifest *manifest, uint64_t i)
{
    return &manifest->records.at[i];
}

sd_status sd_manifest_check(const sd_manifest *manifest, const sd_record *record)
{
    char *path = NULL;
    uint64_t bytes = 0;
    uint32_t crc = 0;
    sd_status st;

    SD_TRY(st, sd_path_join(&path, manifest->folder, record->path));
    SD_TRY(st, sd_file_size(path, &bytes));
    if (bytes != record->bytes) {
        st = SD_FAIL(SD_E_DATA, "%s: has %llu bytes, the manifest says %llu; the file was changed after it was made", path,
                     (unsigned long long)bytes, (unsigned long long)record->bytes);
        goto out;
    }
    SD_TRY(st, sd_file_crc(path, record->skip, &crc));
    if (crc != record->crc32c)
        st = SD_FAIL(SD_E_DATA, "%s: its checksum is %08lx, the manifest says %08lx; the file was damaged or changed after it "
                                "was made",
                     path, (unsigned long)crc, (unsigned long)record->crc32c);
out:
    sd_free(path);
    return st;
}

sd_status sd_manifest_has(sd_manifest *manifest, const char *path, const char *key, bool *has)
{
    const sd_record *record = sd_manifest_find(manifest, path);
    uint64_t sound = 0;
    sd_status st;

    /* Records are equal on all ranks, so all take the same way here. */
    if (record == NULL || strcmp(record->key, key) != 0) {
        *has = false;
        return SD_OK;
    }
    if (manifest->par->rank == 0) {
        sound = sd_manifest_check(manifest, record) == SD_OK;
        if (!sound)
            sd_warn("%s; it is made anew", sd_last_error());
    }
    st = sd_par_bcast(manifest->par, &sound, sizeof sound, 0);
    if (st == SD_OK)
        *has = sound != 0;
    return st;
}

/* Rank 0. */
static sd_status append(sd_manifest *m, const sd_str *text)
{
    sd_status st;

    if (text->status != SD_OK)
        return text->status;
    if (m->torn && truncate(m->log, (off_t)m->good) != 0 && errno != ENOENT)
        return SD_FAIL(SD_E_ENV, "%s: its torn end cannot be cut off: %s", m->log, strerror(errno));
    st = sd_file_append(m->log, text->text, text->length);
    m->torn = st != SD_OK;
    return st;
}

static sd_status measure(const sd_manifest *m, const char *const *paths, const sd_span *skips, uint64_t count,
                         const char *key, sd_str *text)
{
    char *path = NULL;
    uint64_t i;
    sd_status st = SD_OK;

    for (i = 0; i < count; i++) {
        sd_record record = {.path = paths[i], .key = key};

        if (skips != NULL)
            record.skip = skips[i];
        sd_free(path);
        path = NULL;
        if (!sd_records_inside(paths[i])) {
            st = SD_FAIL(SD_E_INTERNAL, "%s: '%s' is not inside the folder", m->folder, paths[i]);
            goto out;
        }
        SD_TRY(st, sd_path_join(&path, m->folder, paths[i]));
        SD_TRY(st, sd_file_size(path, &record.bytes));
        SD_TRY(st, sd_file_crc(path, record.skip, &record.crc32c));
        sd_records_put(text, &record, count - 1 - i);
    }
out:
    sd_free(path);
    return st;
}

/* Collective. Makes `text` of rank 0 part of the log and of everyone's records. */
static sd_status commit(sd_manifest *m, sd_status mine, const sd_str *text)
{
    if (m->par->rank == 0 && mine == SD_OK)
        mine = append(m, text);
    return share(m, mine, text);
}

sd_status sd_manifest_add(sd_manifest *manifest, const char *const *paths, const sd_span *skips, uint64_t count,
                          const char *key)
{
    sd_str text = {0};
    sd_status st = SD_OK;

    if (count == 0)
        return SD_OK;
    if (manifest->par->rank == 0)
        st = measure(manifest, paths, skips, count, key, &text);
    st = commit(manifest, st, &text);
    sd_str_free(&text);
    return st;
}

sd_status sd_manifest_withdraw(sd_manifest *manifest, const char *path)
{
    sd_str text = {0};
    char *file = NULL;
    sd_status st = SD_OK;

    if (sd_manifest_find(manifest, path) != NULL) {
        if (manifest->par->rank == 0)
            sd_records_put_gone(&text, path);
        SD_TRY(st, commit(manifest, st, &text));
    }
    if (manifest->par->rank == 0) {
        st = sd_path_join(&file, manifest->folder, path);
        if (st == SD_OK)
            st = sd_file_remove(file);
    }
    st = sd_par_agree(manifest->par, st);
out:
    sd_free(file);
    sd_str_free(&text);
    return st;
}

typedef struct sweep {
    const sd_manifest *manifest;
    const char *prefix;
} sweep;

static sd_status sweep_name(void *self, const char *name)
{
    const sweep *s = self;
    const char *slash = strrchr(s->prefix, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash - s->prefix) + 1;
    char *relative = NULL, *path = NULL;
    sd_status st = SD_OK;

    if (strncmp(name, s->prefix + folder, strlen(s->prefix + folder)) != 0)
        return SD_OK;
    SD_TRY(st, sd_str_format(&relative, "%.*s%s", (int)folder, s->prefix, name));
    if (sd_manifest_find(s->manifest, relative) != NULL)
        goto out;
    SD_TRY(st, sd_path_join(&path, s->manifest->folder, relative));
    st = sd_file_remove(path);
out:
    sd_free(path);
    sd_free(relative);
    return st;
}

sd_status sd_manifest_sweep(sd_manifest *manifest, const char *prefix)
{
    sweep s = {manifest, prefix};
    const char *slash = strrchr(prefix, '/');
    char *folder = NULL;
    sd_status st = SD_OK;

    if (manifest->par->rank == 0) {
        st = sd_str_format(&folder, "%s/%.*s", manifest->folder, slash == NULL ? 0 : (int)(slash - prefix), prefix);
        if (st == SD_OK)
            st = sd_file_each(folder, sweep_name, &s);
    }
    st = sd_par_agree(manifest->par, st);
    sd_free(folder);
    return st;
}
