/* The stage `extract`: one forward pass of each model serves every site. The unit of work is a shard: its packed batches are distributed over the ranks, or
 * over pipelines of ranks; each rank writes the rows of its batches at the sites of its stage. A batch that crosses the boundary of two shards is
 * computed for both, so that each shard can be rebuilt alone. While a device computes a batch, the rows of the previous one are checked and
 * written. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "run_private.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/model/pipeline.h"
#include "saediff/store/file.h"
#include "saediff/store/shard.h"

static const char loss_site[] = "loss"; /* a pseudo-site: nll f64 [rows] */

enum { SETS = 2 };

/* One output of the pass: a site or the loss. */
typedef struct output {
    struct pump *pump;
    const char *name; /* site name or "loss" */
    bool is_loss;
    sd_site site;
    char key[SD_SHA256_HEX];
    bool *missing;   /* [shards] */
    sd_shard *shard; /* open for writing */
} output;

typedef struct pump {
    run *r;
    int m;
    output *outputs;
    uint64_t n_outputs;
    run_batch *batches;
    uint64_t n_batches, most_rows;
    sd_pipeline *model;
    sd_span shard;      /* rows of the shard being made */
    const run_batch *at; /* the batch being computed */
    uint64_t sets;      /* sets of fetches: SETS if the device computes asynchronously, else 1 */
    uint64_t set;       /* set that the current batch fills */
    const run_batch *held[SETS]; /* batch whose rows a set holds; NULL: none */
    sd_fetch **fetches; /* [sets, n_outputs], rows of one batch in the stored type */
    uint64_t n_fetches;
    double *logp;       /* [most_rows] */
    int32_t *target, *best;
    sd_progress progress;
    uint64_t done; /* tokens of finished shards */
} pump;

static bool finite_row(const void *x, sd_dtype type, uint64_t count)
{
    const uint16_t exponent = type == SD_BF16 ? 0x7f80 : 0x7c00, *bits = x;
    const float *number = x;
    bool finite = true;

    if (type == SD_F32)
        for (uint64_t i = 0; i < count; i++)
            finite &= isfinite(number[i]) != 0;
    else
        for (uint64_t i = 0; i < count; i++)
            finite &= (bits[i] & exponent) != exponent;
    return finite;
}

/* Writes rows `at` of the stream, in the stored type. */
static sd_status check_finite(const output *o, sd_span at, const void *rows)
{
    const run *r = o->pump->r;
    uint64_t d = r->config[o->pump->m].d_model;
    size_t size = sd_dtype_size(r->dtype);

    for (uint64_t i = 0; i < at.count; i++) {
        const char *x = (const char *)rows + i * d * size;
        uint64_t row = at.first + i, c = 0;
        float value;

        if (finite_row(x, r->dtype, d))
            continue;
        while (finite_row(x + c * size, r->dtype, 1))
            c++;
        sd_convert(&value, SD_F32, x + c * size, r->dtype, 1);
        return SD_FAIL(SD_E_DATA, "%s: %s is %g at document %llu, position %d, component %llu: the model's weights or arithmetic overflow%s",
                       r->model_dir[o->pump->m], o->name, (double)value, (unsigned long long)sd_tokens_doc(r->tokens, row),
                       r->tokens->position[row], (unsigned long long)c,
                       r->dtype == SD_F16 ? ", or the value exceeds 65504, the maximum of extract.dtype f16; use bf16 or f32" : "");
    }
    return SD_OK;
}

/* Whether this rank computes the site. */
static bool is_here(const output *o)
{
    return !o->is_loss && sd_pipeline_has(o->pump->model, o->site);
}

static sd_fetch *fetch_of(const output *o, uint64_t set)
{
    const pump *p = o->pump;

    return p->fetches[p->sets == 1 ? 0 : set * p->n_outputs + (uint64_t)(o - p->outputs)];
}

/* Waits for the rows that a set holds of a site, checks and writes them. */
static sd_status write_rows(output *o, uint64_t set)
{
    const pump *p = o->pump;
    sd_span meet = sd_span_intersect((sd_span){p->held[set]->row, p->held[set]->rows}, p->shard);
    const void *rows;
    sd_status st;

    SD_TRY(st, sd_fetch_take(fetch_of(o, set), &rows));
    SD_TRY(st, check_finite(o, meet, rows));
    SD_TRY(st, sd_shard_write(o->shard, 0, (sd_span){meet.first - p->shard.first, meet.count}, rows));
out:
    return st;
}

/* The sink of a site: keeps the batch's rows that lie in the shard, or writes them at once if the device is synchronous. */
static sd_status put_rows(void *self, sd_dev *dev, sd_mat rows)
{
    output *o = self;
    const pump *p = o->pump;
    sd_span batch = {p->at->row, p->at->rows}, meet = sd_span_intersect(batch, p->shard);
    sd_status st;

    (void)dev;
    SD_TRY(st, sd_fetch_begin(fetch_of(o, p->set), sd_mat_rows(rows, meet.first - batch.first, meet.count)));
    if (p->sets == 1)
        SD_TRY(st, write_rows(o, p->set));
out:
    return st;
}

/* Writes the rows that the other set still holds. */
static sd_status write_held(pump *p)
{
    uint64_t set = SETS - 1 - p->set;
    sd_status st = SD_OK;

    if (p->sets == 1 || p->held[set] == NULL)
        goto out;
    for (uint64_t i = 0; i < p->n_outputs; i++)
        if (p->outputs[i].shard != NULL && is_here(&p->outputs[i]))
            SD_TRY(st, write_rows(&p->outputs[i], set));
    p->held[set] = NULL;
out:
    return st;
}

/* −log p of the next token of the same document; 0 at the last token of a document. */
static sd_status put_loss(pump *p, output *o)
{
    const sd_tokens *t = p->r->tokens;
    const run_batch *s = p->at;
    sd_span meet = sd_span_intersect((sd_span){s->row, s->rows}, p->shard);
    sd_status st;

    for (uint64_t i = 0; i < s->rows; i++) {
        uint64_t next = s->row + i + 1;
        bool last = next == s->row + s->rows || t->position[next] == 0;

        p->target[i] = last ? -1 : run_ids(p->r, p->m)[next];
    }
    SD_TRY(st, sd_model_score(sd_pipeline_model(p->model), p->target, p->logp, p->best));
    for (uint64_t i = 0; i < s->rows; i++)
        p->logp[i] = p->target[i] < 0 ? 0 : -p->logp[i];
    SD_TRY(st, sd_shard_write(o->shard, 0, (sd_span){meet.first - p->shard.first, meet.count},
                              p->logp + (meet.first - s->row)));
out:
    return st;
}

static sd_status run_batch_through(pump *p, const run_batch *batch, const uint64_t *doc_start)
{
    sd_tap *taps = NULL;
    uint64_t *start = NULL, n = 0;
    output *loss = NULL;
    sd_status st;

    p->at = p->held[p->set] = batch;
    SD_TRY(st, SD_NEW(&taps, p->n_outputs));
    SD_TRY(st, SD_NEW(&start, batch->docs + 1));
    for (uint64_t i = 0; i < p->n_outputs; i++) {
        output *o = &p->outputs[i];

        if (o->shard != NULL && o->is_loss)
            loss = o;
        else if (o->shard != NULL)
            taps[n++] = (sd_tap){.site = o->site, .kind = SD_TAP_READ, .sink = {put_rows, o}};
    }
    for (uint64_t i = 0; i <= batch->docs; i++)
        start[i] = doc_start[batch->doc + i] - batch->row;
    SD_TRY(st, sd_pipeline_forward(p->model, &(sd_pass){.ids = run_ids(p->r, p->m) + batch->row,
                                                         .doc_start = start,
                                                         .docs = batch->docs,
                                                         .taps = taps,
                                                         .n_taps = n,
                                                         .to_logits = loss != NULL}));
    SD_TRY(st, write_held(p)); /* before the loss, which waits for this batch */
    if (loss != NULL && sd_pipeline_has(p->model, (sd_site){SD_SITE_NORMALIZED, 0}))
        SD_TRY(st, put_loss(p, loss));
    if (p->sets > 1)
        p->set = SETS - 1 - p->set;
out:
    sd_free(taps);
    sd_free(start);
    return st;
}

/* Batches first … first + count − 1. A stop signal is this rank's vote. */
static sd_status compute_batches(pump *p, sd_span batches)
{
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < batches.count; i++) {
        if (sd_par_stop_asked())
            return SD_FAIL(SD_E_STOPPED, "stopped by a signal; finished shards are kept: run the same command again");
        SD_TRY(st, run_batch_through(p, &p->batches[batches.first + i], p->r->tokens->doc_start));
        /* Ranks have equal shares, so this rank's progress is that of all. */
        sd_progress_set(&p->progress, p->done + (i + 1) * p->shard.count / batches.count);
    }
    SD_TRY(st, write_held(p));
out:
    return st;
}

/* This rank's batches of the shard. */
static sd_status compute_shard(pump *p)
{
    uint64_t first = 0, end;
    sd_span mine;
    sd_status st;

    while (p->batches[first].row + p->batches[first].rows <= p->shard.first)
        first++;
    end = first;
    while (end < p->n_batches && p->batches[end].row < p->shard.first + p->shard.count)
        end++;
    mine = sd_pipeline_share(p->model, end - first);
    SD_TRY(st, sd_pipeline_end(p->model, compute_batches(p, (sd_span){first + mine.first, mine.count})));
    st = sd_dev_wait(p->r->dev);
out:
    return st;
}

static sd_status create_shard(pump *p, output *o, const char *path)
{
    const run *r = p->r;
    uint64_t d = r->config[p->m].d_model;
    const sd_attr attrs[] = {
        {.name = "site", .kind = SD_ATTR_TEXT, .text = o->name},
        {.name = "model", .kind = SD_ATTR_TEXT, .text = run_model_label(p->m)},
        {.name = "model_sha256", .kind = SD_ATTR_TEXT, .text = r->model_sha256[p->m]},
        {.name = "text_sha256", .kind = SD_ATTR_TEXT, .text = r->tokens->text_sha256},
        {.name = "tokenizer_sha256", .kind = SD_ATTR_TEXT, .text = r->tokens->tokenizer_sha256},
        {.name = "first_row", .kind = SD_ATTR_U64, .u64 = p->shard.first},
        {.name = "rows", .kind = SD_ATTR_U64, .u64 = p->shard.count},
    };
    const sd_array acts = {.name = "activations", .type = r->dtype, .dims = 2, .shape = {p->shard.count, d}, .unit = "1",
                           .about = "residual stream of the model as it is, no scaling; row i is token first_row + i"};
    const sd_array loss = {.name = "nll", .type = SD_F64, .dims = 1, .shape = {p->shard.count}, .unit = "nats",
                           .about = "-log p of the next token; 0 at the last token of a document"};

    return sd_shard_create(&o->shard, r->par,
                           &(sd_shard_spec){.path = path,
                                            .format = o->is_loss ? "saediff.loss" : "saediff.activations",
                                            .version = 1,
                                            .attrs = attrs,
                                            .n_attrs = sizeof attrs / sizeof *attrs,
                                            .datasets = o->is_loss ? &loss : &acts,
                                            .n_datasets = 1});
}

/* Collective. Makes all missing outputs of one shard in one pass. */
static sd_status make_shard(pump *p, uint64_t shard)
{
    run *r = p->r;
    bool any = false;
    sd_status st = SD_OK, mine;

    p->shard = run_shard_rows(r, shard);
    for (uint64_t i = 0; i < p->n_outputs; i++) {
        output *o = &p->outputs[i];
        char relative[RUN_PATH], *path = NULL;

        if (!o->missing[shard])
            continue;
        any = true;
        run_acts_path(relative, p->m, o->name, shard);
        mine = run_full_path(r, relative, &path);
        if (mine == SD_OK && r->par->rank == 0)
            mine = sd_file_make_parent(path);
        st = sd_par_agree(r->par, mine);
        if (st == SD_OK)
            st = create_shard(p, o, path);
        sd_free(path);
        SD_TRY(st, st);
    }
    if (!any)
        goto out;
    mine = compute_shard(p);
    for (uint64_t i = 0; i < p->n_outputs; i++) {
        output *o = &p->outputs[i];

        if (o->shard == NULL)
            continue;
        st = sd_shard_commit(&o->shard, r->manifest, o->key, mine);
        if (st != SD_OK)
            mine = st; /* the other shards are abandoned with the same status */
        else
            r->made++;
    }
    SD_TRY(st, sd_par_agree_or_stop(r->par, mine));
out:
    for (uint64_t i = 0; i < p->n_outputs; i++)
        if (p->outputs[i].shard != NULL && sd_shard_commit(&p->outputs[i].shard, r->manifest, "", st) == SD_OK)
            st = SD_FAIL(SD_E_INTERNAL, "a shard was committed after a failure");
    p->done += p->shard.count;
    return st;
}

/* Finds the missing outputs, the same on all ranks. *left: tokens of the shards to make. */
static sd_status find_missing(pump *p, uint64_t *left)
{
    run *r = p->r;
    sd_status st = SD_OK;

    *left = 0;
    for (uint64_t s = 0; s < r->shards; s++) {
        bool any = false;

        for (uint64_t i = 0; i < p->n_outputs; i++) {
            char path[RUN_PATH];
            bool has;

            run_acts_path(path, p->m, p->outputs[i].name, s);
            SD_TRY(st, sd_manifest_has(r->manifest, path, p->outputs[i].key, &has));
            p->outputs[i].missing[s] = !has;
            any = any || !has;
        }
        if (any)
            *left += run_shard_rows(r, s).count;
    }
out:
    return st;
}

static sd_status open_pump(pump *p, run *r, int m)
{
    sd_status st;

    *p = (pump){.r = r, .m = m, .n_outputs = r->n_sites + (r->job->extract.loss ? 1 : 0)};
    SD_TRY(st, SD_NEW(&p->outputs, p->n_outputs));
    for (uint64_t i = 0; i < p->n_outputs; i++) {
        output *o = &p->outputs[i];

        o->pump = p;
        o->is_loss = i == r->n_sites;
        o->name = o->is_loss ? loss_site : r->site_names[i];
        if (!o->is_loss)
            o->site = r->sites[i];
        run_acts_key(r, m, o->name, o->key);
        SD_TRY(st, SD_NEW(&o->missing, r->shards));
    }
    SD_TRY(st, run_batches(r->tokens, r->job->extract.batch_tokens, &p->batches, &p->n_batches));
    for (uint64_t i = 0; i < p->n_batches; i++)
        if (p->batches[i].rows > p->most_rows)
            p->most_rows = p->batches[i].rows;
    SD_TRY(st, SD_NEW(&p->logp, p->most_rows));
    SD_TRY(st, SD_NEW(&p->target, p->most_rows));
    SD_TRY(st, SD_NEW(&p->best, p->most_rows));
out:
    return st;
}

static sd_status open_fetches(pump *p)
{
    const run *r = p->r;
    sd_status st;

    p->sets = sd_dev_wraps(r->dev) ? 1 : SETS; /* the cpu is synchronous */
    p->n_fetches = p->sets == 1 ? 1 : SETS * p->n_outputs;
    SD_TRY(st, SD_NEW(&p->fetches, p->n_fetches));
    for (uint64_t i = 0; i < p->n_fetches; i++)
        if (p->sets == 1 || is_here(&p->outputs[i % p->n_outputs]))
            SD_TRY(st, sd_fetch_create(&p->fetches[i], r->dev, p->most_rows * r->config[p->m].d_model, r->dtype));
out:
    return st;
}

static void close_pump(pump *p)
{
    sd_pipeline_close(&p->model);
    for (uint64_t i = 0; p->outputs != NULL && i < p->n_outputs; i++)
        sd_free(p->outputs[i].missing);
    sd_free(p->outputs);
    sd_free(p->batches);
    for (uint64_t i = 0; p->fetches != NULL && i < p->n_fetches; i++)
        sd_fetch_destroy(&p->fetches[i]);
    sd_free(p->fetches);
    sd_free(p->logp);
    sd_free(p->target);
    sd_free(p->best);
}

/* view.h5: one virtual dataset over the shards of each site, for h5py. */
static sd_status make_views(pump *p)
{
    run *r = p->r;
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < r->n_sites; i++) {
        char relative[RUN_PATH];
        const char *names[1] = {relative};
        char *path = NULL;
        run_paths shards = {0};
        bool has;

        run_view_path(relative, p->m, r->site_names[i]);
        SD_TRY(st, sd_manifest_has(r->manifest, relative, p->outputs[i].key, &has));
        if (has)
            continue;
        if (r->par->rank == 0) {
            st = run_acts_paths(r, p->m, r->site_names[i], &shards);
            if (st == SD_OK)
                st = run_full_path(r, relative, &path);
            if (st == SD_OK)
                st = sd_shard_view(path, "activations", (const char *const *)shards.path, shards.count);
        }
        run_paths_free(&shards);
        sd_free(path);
        SD_TRY(st, sd_par_agree(r->par, st));
        SD_TRY(st, sd_manifest_add(r->manifest, names, NULL, 1, p->outputs[i].key));
        r->made++;
    }
out:
    return st;
}

static sd_status extract_model(run *r, int m)
{
    char what[32];
    uint64_t left;
    pump p;
    sd_status st;

    SD_TRY(st, sd_par_agree(r->par, open_pump(&p, r, m)));
    SD_TRY(st, find_missing(&p, &left));
    if (left > 0) {
        SD_TRY(st, sd_pipeline_open(&p.model, r->par, r->dev, r->model_dir[m], p.most_rows, r->job->pipeline));
        SD_TRY(st, sd_par_agree(r->par, open_fetches(&p)));
        snprintf(what, sizeof what, "extract %s", run_model_label(m));
        sd_progress_begin(&p.progress, what, "tokens", 0, left);
        for (uint64_t s = 0; s < r->shards; s++)
            for (uint64_t i = 0; i < p.n_outputs; i++)
                if (p.outputs[i].missing[s]) {
                    SD_TRY(st, make_shard(&p, s));
                    break;
                }
        sd_progress_set(&p.progress, left);
        sd_progress_end(&p.progress, NULL);
    }
    SD_TRY(st, make_views(&p));
out:
    close_pump(&p);
    return st;
}

sd_status run_extract(run *r)
{
    sd_status st;

    SD_TRY(st, run_need_tokens(r));
    SD_TRY(st, run_need_tuned(r));
    for (int m = 0; m < RUN_MODELS; m++)
        if (r->model_dir[m] != NULL)
            SD_TRY(st, extract_model(r, m));
out:
    return st;
}
