/* labels.h5: the labels of each document, next to the tokens. */
#include "run_private.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"
#include "saediff/text/labels.h"

bool run_has_labels(const run *r)
{
    bool has = false;

    for (uint64_t i = 0; i < r->job->n_data; i++)
        has = has || r->job->data[i].labels.count > 0;
    return has;
}

void run_labels_key(const run *r, char key[SD_SHA256_HEX])
{
    sd_sha256 sha;

    sd_sha256_begin(&sha);
    sd_sha256_add_text(&sha, "labels 1");
    sd_sha256_add_text(&sha, r->tokens_key);
    for (uint64_t i = 0; i < r->job->n_data; i++) {
        for (uint64_t l = 0; l < r->job->data[i].labels.count; l++)
            sd_sha256_add_text(&sha, r->job->data[i].labels.item[l]);
        sd_sha256_add_text(&sha, "");
    }
    sd_sha256_end(&sha, key);
}

/* Rank 0. */
static sd_status make_labels(const run *r, const char *path)
{
    sd_labels_entry *entries = NULL;
    sd_labels *labels = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&entries, r->job->n_data));
    for (uint64_t i = 0; i < r->job->n_data; i++) {
        const sd_job_data *d = &r->job->data[i];

        entries[i] = (sd_labels_entry){.name = d->name,
                                       .paths = (const char *const *)d->paths.item,
                                       .n_paths = d->paths.count,
                                       .format = d->format,
                                       .labels = (const char *const *)d->labels.item,
                                       .n_labels = d->labels.count};
    }
    SD_TRY(st, sd_labels_find(entries, r->job->n_data, r->tokens, &labels));
    SD_TRY(st, sd_file_make_parent(path));
    st = sd_labels_write(labels, path);
out:
    sd_labels_destroy(&labels);
    sd_free(entries);
    return st;
}

static sd_status run_labels(run *r)
{
    const char *relative = RUN_LABELS;
    char key[SD_SHA256_HEX], *path = NULL;
    bool has;
    sd_status st;

    run_labels_key(r, key);
    SD_TRY(st, sd_manifest_has(r->manifest, relative, key, &has));
    if (has)
        return SD_OK;
    SD_TRY(st, run_need_tokens(r));
    SD_TRY(st, sd_par_agree(r->par, run_full_path(r, relative, &path)));
    SD_TRY(st, sd_par_agree_or_stop(r->par, r->par->rank == 0 ? make_labels(r, path) : SD_OK));
    SD_TRY(st, sd_manifest_add(r->manifest, &relative, NULL, 1, key));
    r->made++;
out:
    sd_free(path);
    return st;
}

sd_status run_texts(run *r)
{
    sd_status st;

    SD_TRY(st, run_tokenize(r));
    if (run_has_labels(r))
        st = run_labels(r);
out:
    return st;
}
