/* Writing a shard. Each rank keeps, per run of rows it wrote inside one block, the checksum of those bytes (a piece);
 * rank 0 puts the pieces of all ranks in order, which shows rows written twice or never, and joins them to the block
 * checksums. */
#include <string.h>
#include <unistd.h>

#include "h5.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"
#include "shard_io.h"

enum { SKIP_BYTES = 1 << 20 };

struct sd_shard {
    const sd_par *par;
    char *path, *temporary;
    uint64_t n;
    sd_array *arrays; /* [2n]: the datasets, then their checksum tables; owns the names */
    sd_h5_set *sets;  /* [2n] */
    hid_t file, dxpl;
    sd_written_spans spans;
    uint32_t **tables; /* [n][blocks], filled on rank 0 */
};

static void release(sd_shard **shard)
{
    sd_shard *s = *shard;
    uint64_t i;

    if (s == NULL)
        return;
    sd_h5_close(&s->dxpl);
    for (i = 0; s->arrays != NULL && i < 2 * s->n; i++) {
        char *name = (char *)(uintptr_t)s->arrays[i].name;

        sd_free(name);
    }
    for (i = 0; s->tables != NULL && i < s->n; i++)
        sd_free(s->tables[i]);
    sd_free(s->tables);
    sd_free(s->spans.at);
    sd_free(s->sets);
    sd_free(s->arrays);
    sd_free(s->temporary);
    sd_free(s->path);
    sd_free(s);
    *shard = NULL;
}

static bool has_u64(const sd_shard_spec *spec, const char *name)
{
    uint64_t i;

    for (i = 0; i < spec->n_attrs; i++)
        if (strcmp(spec->attrs[i].name, name) == 0 && spec->attrs[i].kind == SD_ATTR_U64)
            return true;
    return false;
}

/* Local: the handle with its own copies; no file yet. */
static sd_status plan(sd_shard **shard, const sd_par *par, const sd_shard_spec *spec)
{
    const char *slash = strrchr(spec->path, '/'), *base = slash != NULL ? slash + 1 : spec->path;
    char *name = NULL;
    sd_shard *s;
    uint64_t i;
    sd_status st;

    if (!has_u64(spec, "first_row") || !has_u64(spec, "rows"))
        return SD_FAIL(SD_E_INTERNAL, "%s: a shard needs the attributes first_row and rows", spec->path);
    SD_TRY(st, SD_NEW(shard, 1));
    s = *shard;
    s->par = par;
    s->n = spec->n_datasets;
    s->file = s->dxpl = -1;
    SD_TRY(st, sd_str_copy(&s->path, spec->path));
    SD_TRY(st, sd_str_format(&s->temporary, "%.*s.tmp-%s", (int)(base - spec->path), spec->path, base));
    SD_TRY(st, SD_NEW(&s->arrays, 2 * s->n));
    SD_TRY(st, SD_NEW(&s->sets, 2 * s->n));
    SD_TRY(st, SD_NEW(&s->tables, s->n));
    for (i = 0; i < 2 * s->n; i++)
        s->sets[i] = (sd_h5_set){.id = -1, .type = -1};
    for (i = 0; i < s->n; i++) {
        const sd_array *a = &spec->datasets[i];

        SD_TRY(st, sd_str_copy(&name, a->name));
        s->arrays[i] = *a;
        s->arrays[i].name = name;
        name = NULL;
        SD_TRY(st, sd_str_format(&name, "%s_crc32c", a->name));
        s->arrays[s->n + i] = (sd_array){.name = name,
                                         .type = SD_U32,
                                         .dims = 1,
                                         .shape = {sd_shard_blocks(a->shape[0])},
                                         .unit = "1",
                                         .about = "CRC-32C of each block of 4096 rows of the raw bytes"};
        name = NULL;
        SD_TRY(st, SD_NEW(&s->tables[i], sd_shard_blocks(a->shape[0])));
    }
out:
    sd_free(name);
    return st;
}

/* Collective. All ranks must mean the same file. */
static sd_status check_equal(const sd_par *par, const sd_shard_spec *spec)
{
    sd_str text = {0};
    uint64_t i;
    int d;
    sd_status st;

    sd_str_add(&text, "%llu attributes", (unsigned long long)spec->n_attrs);
    for (i = 0; i < spec->n_datasets; i++) {
        const sd_array *a = &spec->datasets[i];

        sd_str_add(&text, ", %s %s", a->name, sd_dtype_name(a->type));
        for (d = 0; d < a->dims && d < SD_ARRAY_DIMS; d++)
            sd_str_add(&text, "%s%llu", d == 0 ? " " : "x", (unsigned long long)a->shape[d]);
    }
    sd_str_add(&text, ", %s", spec->path);
    SD_TRY(st, sd_par_agree(par, text.status));
    SD_TRY(st, sd_par_equal(par, "the plan of a shard", text.text));
out:
    sd_str_free(&text);
    return st;
}

/* Rank 0: the temporary file with everything but the raw data. */
static sd_status lay_out(const sd_shard *s, const sd_shard_spec *spec)
{
    sd_h5_plan layout = {.path = s->path, .format = spec->format, .version = spec->version, .attrs = spec->attrs,
                         .n_attrs = spec->n_attrs, .arrays = s->arrays, .n_arrays = 2 * s->n};
    sd_status st;

    SD_TRY(st, sd_file_make_parent(s->path));
    SD_TRY(st, sd_h5_lay_out(s->temporary, &layout));
out:
    return st;
}

/* Collective. Opens the laid-out file with MPI-IO. A rank that could not open while others could cannot close with
 * them either: that ends the job. */
static sd_status open_shared(sd_shard *s)
{
    uint64_t opened;
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS);
    sd_status st = SD_OK;

    if (fapl < 0 || H5Pset_fapl_mpio(fapl, s->par->comm, MPI_INFO_NULL) < 0 ||
        H5Pset_libver_bounds(fapl, H5F_LIBVER_V18, H5F_LIBVER_V18) < 0 || H5Pset_coll_metadata_write(fapl, 1) < 0 ||
        (s->dxpl = H5Pcreate(H5P_DATASET_XFER)) < 0 || H5Pset_dxpl_mpio(s->dxpl, H5FD_MPIO_INDEPENDENT) < 0)
        st = sd_h5_fail(SD_E_ENV, s->path, "cannot be prepared for parallel writing");
    SD_TRY(st, sd_par_agree(s->par, st));
    s->file = H5Fopen(s->temporary, H5F_ACC_RDWR, fapl);
    if (s->file < 0)
        st = sd_h5_fail(SD_E_ENV, s->path, "cannot be opened for parallel writing");
    opened = s->file >= 0;
    if (sd_par_sum_u64(s->par, &opened, 1) != SD_OK || (opened != 0 && opened != (uint64_t)s->par->size)) {
        if (st == SD_OK)
            st = SD_FAIL(SD_E_ENV, "%s: could be opened for parallel writing on %llu of %d ranks only", s->path,
                         (unsigned long long)opened, s->par->size);
        sd_par_abort(s->par, st);
    }
    st = sd_par_agree(s->par, st);
out:
    sd_h5_close(&fapl);
    return st;
}

static sd_status open_sets(sd_shard *s)
{
    uint64_t i;
    sd_status st = SD_OK;

    for (i = 0; i < 2 * s->n; i++)
        SD_TRY(st, sd_h5_set_open(&s->sets[i], s->file, s->path, s->arrays[i].name));
out:
    return st;
}

/* Collective: every rank closes. HDF5 waits inside MPI without giving the core away, so the ranks meet before it. */
static sd_status close_shared(sd_shard *s, bool flush)
{
    uint64_t i;
    sd_status st = sd_par_barrier(s->par);

    for (i = 0; i < 2 * s->n; i++)
        sd_h5_set_close(&s->sets[i]);
    if (flush && H5Fflush(s->file, H5F_SCOPE_GLOBAL) < 0)
        st = sd_h5_fail(SD_E_ENV, s->path, "cannot be flushed");
    if (!sd_h5_close_file(&s->file) && st == SD_OK)
        st = sd_h5_fail(SD_E_ENV, s->path, "cannot be closed");
    sd_h5_close(&s->dxpl);
    return sd_par_agree(s->par, st);
}

sd_status sd_shard_create(sd_shard **shard, const sd_par *par, const sd_shard_spec *spec)
{
    sd_shard *s = NULL;
    bool laid_out = false;
    sd_status st, closed;

    *shard = NULL;
    sd_h5_begin();
    st = plan(&s, par, spec);
    SD_TRY(st, sd_par_agree(par, st));
    SD_TRY(st, check_equal(par, spec));
    st = par->rank == 0 ? lay_out(s, spec) : SD_OK;
    SD_TRY(st, sd_par_agree(par, st));
    laid_out = true;
    SD_TRY(st, open_shared(s));
    st = open_sets(s);
    SD_TRY(st, sd_par_agree(par, st));
    *shard = s;
    s = NULL;
out:
    if (s != NULL && s->file >= 0) {
        closed = close_shared(s, false);
        st = st != SD_OK ? st : closed;
    }
    if (s != NULL && laid_out && par->rank == 0)
        unlink(s->temporary);
    release(&s);
    return st;
}

sd_status sd_shard_write(sd_shard *shard, uint64_t dataset, sd_span rows, const void *data)
{
    const sd_h5_set *set;
    sd_status st;

    if (dataset >= shard->n)
        return SD_FAIL(SD_E_INTERNAL, "%s: there is no dataset %llu", shard->path, (unsigned long long)dataset);
    set = &shard->sets[dataset];
    SD_TRY(st, sd_h5_set_write(set, shard->dxpl, rows, data));
    SD_TRY(st, sd_written_spans_add(&shard->spans, dataset, shard->par->rank, rows, data, set->row_bytes));
out:
    return st;
}

/* Collective. All pieces on rank 0, from them the tables; then what is to be read back, on all ranks. */
static sd_status combine(sd_shard *s, sd_recheck **checks, uint64_t *n_checks)
{
    sd_written_spans all = {0};
    uint64_t before = 0;
    sd_status st;

    SD_TRY(st, sd_par_prefix_u64(s->par, s->spans.count, &before, &all.count));
    st = s->par->rank == 0 ? SD_NEW(&all.at, all.count) : SD_OK;
    SD_TRY(st, sd_par_agree(s->par, st));
    SD_TRY(st, sd_par_gather(s->par, s->spans.at, s->spans.count * sizeof *s->spans.at, all.at,
                             all.count * sizeof *all.at));
    if (s->par->rank == 0) {
        st = sd_written_spans_join(&all, s->path, s->arrays, s->n, s->tables);
        if (st == SD_OK)
            st = sd_written_spans_rechecks(&all, s->n, s->par->size, checks, n_checks);
    }
    SD_TRY(st, sd_par_agree(s->par, st));
    SD_TRY(st, sd_par_bcast(s->par, n_checks, sizeof *n_checks, 0));
    if (s->par->rank != 0)
        st = SD_NEW(checks, *n_checks);
    SD_TRY(st, sd_par_agree(s->par, st));
    SD_TRY(st, sd_par_bcast(s->par, *checks, *n_checks * sizeof **checks, 0));
out:
    sd_free(all.at);
    return st;
}

static sd_status write_tables(sd_shard *s)
{
    uint64_t d;
    sd_status st = SD_OK;

    for (d = 0; d < s->n; d++)
        SD_TRY(st, sd_h5_set_write(&s->sets[s->n + d], s->dxpl, (sd_span){0, s->arrays[s->n + d].shape[0]}, s->tables[d]));
out:
    return st;
}

/* Local. The reader compares each block with the table in the file. */
static sd_status read_back(const sd_shard *s, const sd_recheck *checks, uint64_t n_checks)
{
    sd_shard_reader *reader = NULL;
    char *block = NULL;
    uint64_t i;
    sd_status st = SD_OK;

    for (i = 0; i < n_checks; i++) {
        const sd_recheck *c = &checks[i];
        const sd_h5_set *set = &s->sets[c->dataset];
        sd_span rows = sd_span_intersect((sd_span){c->block * SD_BLOCK_ROWS, SD_BLOCK_ROWS}, (sd_span){0, set->shape[0]});

        if (c->rank != (uint64_t)s->par->rank)
            continue;
        if (reader == NULL)
            SD_TRY(st, sd_shard_open_any(&reader, s->temporary));
        sd_free(block);
        block = NULL;
        SD_TRY(st, SD_NEW(&block, rows.count * set->row_bytes));
        SD_TRY(st, sd_shard_read(reader, s->arrays[c->dataset].name, rows, block));
    }
out:
    sd_free(block);
    sd_shard_close(&reader);
    return st == SD_E_DATA ? sd_fail_in(SD_E_ENV, "the disk did not keep what was written") : st;
}

/* Rank 0. The raw bytes of the largest dataset, which its block checksums guard, are left out of the manifest's
 * checksum where they are many: checking a shard against the manifest stays cheap. */
static sd_status choose_skip(const sd_shard *s, sd_span *skip)
{
    sd_shard_reader *reader = NULL;
    uint64_t d, largest = 0;
    sd_status st = SD_OK;

    *skip = (sd_span){0, 0};
    for (d = 1; d < s->n; d++)
        if (s->sets[d].bytes > s->sets[largest].bytes)
            largest = d;
    if (s->n == 0 || s->sets[largest].bytes < SKIP_BYTES)
        return SD_OK;
    SD_TRY(st, sd_shard_open_any(&reader, s->temporary));
    SD_TRY(st, sd_shard_raw(reader, s->arrays[largest].name, skip));
out:
    sd_shard_close(&reader);
    return st;
}

/* The path as the manifest knows it; NULL if the shard is not in its folder. */
static const char *inside(const sd_manifest *manifest, const char *path)
{
    const char *folder = sd_manifest_folder(manifest);
    size_t length = strlen(folder);

    while (length > 0 && folder[length - 1] == '/')
        length--;
    return strncmp(path, folder, length) == 0 && path[length] == '/' ? path + length + 1 : NULL;
}

/* Collective. From the closed temporary file to the recorded shard. */
static sd_status publish(sd_shard *s, sd_manifest *manifest, const char *key)
{
    const char *name = inside(manifest, s->path);
    sd_span skip = {0, 0};
    sd_status st;

    if (name == NULL)
        return SD_FAIL(SD_E_INTERNAL, "%s: is not inside the manifest's folder %s", s->path, sd_manifest_folder(manifest));
    st = s->par->rank == 0 ? choose_skip(s, &skip) : SD_OK;
    if (st == SD_OK && s->par->rank == 0)
        st = sd_file_commit(s->temporary, s->path);
    SD_TRY(st, sd_par_agree(s->par, st));
    SD_TRY(st, sd_manifest_add(manifest, &name, &skip, 1, key));
out:
    return st;
}

sd_status sd_shard_commit(sd_shard **shard, sd_manifest *manifest, const char *key, sd_status mine)
{
    sd_shard *s = *shard;
    sd_recheck *checks = NULL;
    uint64_t n_checks = 0;
    sd_status st, closed;

    SD_TRY(st, sd_par_agree(s->par, mine));
    SD_TRY(st, combine(s, &checks, &n_checks));
    st = s->par->rank == 0 ? write_tables(s) : SD_OK;
    SD_TRY(st, sd_par_agree(s->par, st));
    SD_TRY(st, close_shared(s, true));
    st = read_back(s, checks, n_checks);
    SD_TRY(st, sd_par_agree(s->par, st));
    SD_TRY(st, publish(s, manifest, key));
out:
    if (s->file >= 0) {
        closed = close_shared(s, false);
        st = st != SD_OK ? st : closed;
    }
    if (st != SD_OK && s->par->rank == 0)
        unlink(s->temporary);
    sd_free(checks);
    release(shard);
    return st;
}
