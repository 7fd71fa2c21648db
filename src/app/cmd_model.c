/* `saediff forward`: one text through a model. One rank works, or with --pipeline as many as that. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "app.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/dev/group.h"
#include "saediff/model/pipeline.h"
#include "saediff/store/bundle.h"
#include "saediff/store/file.h"
#include "saediff/store/weights.h"
#include "saediff/text/tokenizer.h"

enum { MAX_SITES = 512 };

/* ---- what to read */

static sd_status ids_from_list(const char *list, int32_t **ids, uint64_t *count)
{
    uint64_t capacity = strlen(list) + 1;
    sd_status st;

    *count = 0;
    SD_TRY(st, SD_NEW(ids, capacity));
    for (const char *at = list;;) {
        size_t length;
        char word[24];
        uint64_t id;

        at += strspn(at, " ");
        length = strcspn(at, ",");
        snprintf(word, sizeof word, "%.*s", (int)length, at);
        if (!sd_str_to_u64(word, &id) || id > INT32_MAX)
            return SD_FAIL(SD_E_USAGE, "--ids: '%s' is not a token id; write them as 1,2,3", word);
        (*ids)[(*count)++] = (int32_t)id;
        if (at[length] == '\0')
            break;
        at += length + 1;
    }
out:
    return st;
}

static sd_status ids_from_text(const char *model, const char *text, uint64_t length, int32_t **ids, uint64_t *count)
{
    sd_tokenizer *tokenizer = NULL;
    sd_encoding encoding = {0};
    sd_status st;

    SD_TRY(st, sd_tokenizer_open(&tokenizer, model));
    SD_TRY(st, sd_tokenizer_encode(tokenizer, text, length, true, &encoding));
    *ids = encoding.ids;
    *count = encoding.count;
    encoding.ids = NULL;
out:
    sd_encoding_free(&encoding);
    sd_tokenizer_close(&tokenizer);
    return st;
}

static sd_status read_ids(const app_options *o, int32_t **ids, uint64_t *count)
{
    char *text = NULL;
    uint64_t length;
    sd_status st;

    if ((o->ids != NULL) + (o->text != NULL) + (o->file != NULL) != 1)
        return SD_FAIL(SD_E_USAGE, "forward needs one of --ids, --text and --file");
    if (o->ids != NULL)
        return ids_from_list(o->ids, ids, count);
    if (o->text != NULL)
        return ids_from_text(o->model, o->text, strlen(o->text), ids, count);
    SD_TRY(st, sd_file_read(o->file, (uint64_t)1 << 30, &text, &length));
    st = ids_from_text(o->model, text, length, ids, count);
out:
    sd_free(text);
    return st;
}

/* ---- forward */

typedef struct capture {
    float *rows;
} capture;

static sd_status keep_rows(void *self, sd_dev *dev, sd_mat rows)
{
    return sd_dev_download_as(dev, rows, ((capture *)self)->rows, SD_F32);
}

static sd_status read_sites(const char *list, uint64_t n_layers, sd_site *sites, uint64_t *count)
{
    sd_status st = SD_OK;

    *count = 0;
    for (uint64_t l = 0; list == NULL && l < n_layers && l < MAX_SITES; l++)
        sites[(*count)++] = (sd_site){SD_SITE_RESID_POST, l};
    for (const char *at = list; at != NULL;) {
        size_t length = strcspn(at, ",");
        char word[SD_SITE_NAME];

        snprintf(word, sizeof word, "%.*s", (int)length, at);
        if (*count == MAX_SITES)
            return SD_FAIL(SD_E_USAGE, "--sites names more than %d sites", (int)MAX_SITES);
        SD_TRY(st, sd_site_parse(&sites[*count], word, n_layers));
        for (uint64_t i = 0; i < *count; i++)
            if (sd_site_compare(sites[i], sites[*count]) == 0)
                return SD_FAIL(SD_E_USAGE, "--sites names '%s' twice", word);
        (*count)++;
        at = at[length] ? at + length + 1 : NULL;
    }
out:
    return st;
}

/* Everything of one pass, host memory. */
typedef struct pass_result {
    sd_model_config config;
    uint64_t n, n_sites;
    int32_t *ids; /* [n] */
    char digest[SD_SHA256_HEX]; /* of the weights; rank 0 has it */
    sd_site sites[MAX_SITES];
    char names[MAX_SITES][SD_SITE_NAME];
    capture captures[MAX_SITES];
    sd_tap taps[MAX_SITES];
    float *logits;
    double *logp;
    int32_t *target, *best;
} pass_result;

/* Local. Reads the input, and allocates memory for the outputs. */
static sd_status prepare(const app_options *o, pass_result *p)
{
    const sd_model_config *c = &p->config;
    sd_status st;

    if (o->model == NULL || o->out == NULL)
        return SD_FAIL(SD_E_USAGE, "forward needs --model DIR and --out FILE.h5");
    SD_TRY(st, read_ids(o, &p->ids, &p->n));
    if (p->n == 0)
        return SD_FAIL(SD_E_DATA, "the text has no tokens");
    SD_TRY(st, sd_model_config_read(&p->config, o->model));
    if (p->n > c->context) /* before memory is asked for that many rows */
        return SD_FAIL(SD_E_DATA, "the text has %llu tokens; the model's context is %llu: give less of it", (unsigned long long)p->n,
                       (unsigned long long)c->context);
    SD_TRY(st, read_sites(o->sites, c->n_layers, p->sites, &p->n_sites));
    for (uint64_t i = 0; i < p->n_sites; i++) {
        sd_site_name(p->sites[i], p->names[i]);
        SD_TRY(st, SD_NEW(&p->captures[i].rows, p->n * c->d_model));
        p->taps[i] = (sd_tap){.site = p->sites[i], .kind = SD_TAP_READ, .sink = {keep_rows, &p->captures[i]}};
    }
    SD_TRY(st, SD_NEW(&p->logits, p->n * c->vocabulary));
    SD_TRY(st, SD_NEW(&p->logp, p->n));
    SD_TRY(st, SD_NEW(&p->target, p->n));
    SD_TRY(st, SD_NEW(&p->best, p->n));
    for (uint64_t i = 0; i < p->n; i++)
        p->target[i] = i + 1 < p->n ? p->ids[i + 1] : -1;
out:
    return st;
}

/* Local. Of the rank that has the end of the model. */
static sd_status take_logits(sd_model *model, pass_result *p)
{
    sd_dev *dev = sd_model_dev(model);
    uint64_t n = p->n, vocabulary = p->config.vocabulary;
    sd_buf *logits = NULL;
    sd_status st;

    SD_TRY(st, sd_buf_create(&logits, dev, SD_REAL, n * vocabulary));
    SD_TRY(st, sd_model_logits(model, (sd_span){0, n}, sd_mat_of(logits, n, vocabulary)));
    SD_TRY(st, sd_dev_download_as(dev, sd_mat_of(logits, n, vocabulary), p->logits, SD_F32));
    SD_TRY(st, sd_model_score(model, p->target, p->logp, p->best));
out:
    sd_buf_destroy(&logits);
    return st;
}

/* Collective. Broadcasts the data of the one rank with `mine`. */
static sd_status share(const sd_par *par, bool mine, void *data, uint64_t bytes)
{
    uint64_t owner = mine ? (uint64_t)par->rank : 0;
    sd_status st;

    SD_TRY(st, sd_par_max_u64(par, &owner, 1));
    st = sd_par_bcast(par, data, bytes, (int)owner);
out:
    return st;
}

/* Collective. The pass; every rank gets all outputs. */
static sd_status compute(const sd_par *par, sd_dev *dev, const app_options *o, uint64_t stages, pass_result *p)
{
    const uint64_t start[2] = {0, p->n};
    sd_pipeline *model = NULL;
    bool ends;
    sd_status st;

    SD_TRY(st, sd_pipeline_open(&model, par, dev, o->model, p->n, stages));
    ends = sd_pipeline_has(model, (sd_site){SD_SITE_NORMALIZED, 0});
    st = sd_pipeline_forward(model, &(sd_pass){.ids = p->ids,
                                               .doc_start = start,
                                               .docs = 1,
                                               .taps = p->taps,
                                               .n_taps = p->n_sites,
                                               .to_logits = true});
    if (st == SD_OK && ends)
        st = take_logits(sd_pipeline_model(model), p);
    SD_TRY(st, sd_par_agree(par, sd_pipeline_end(model, st)));
    for (uint64_t i = 0; i < p->n_sites; i++)
        SD_TRY(st, share(par, sd_pipeline_has(model, p->sites[i]), p->captures[i].rows, p->n * p->config.d_model * sizeof(float)));
    SD_TRY(st, share(par, ends, p->logits, p->n * p->config.vocabulary * sizeof *p->logits));
    SD_TRY(st, share(par, ends, p->logp, p->n * sizeof *p->logp));
out:
    sd_pipeline_close(&model);
    return st;
}

/* Local. */
static sd_status write_result(const app_options *o, const pass_result *p)
{
    const sd_attr attrs[] = {{.name = "model_sha256", .kind = SD_ATTR_TEXT, .text = p->digest}};
    sd_array arrays[MAX_SITES + 3];
    uint64_t count = 0;
    double nll = 0;
    sd_status st;

    arrays[count++] = (sd_array){"ids", SD_I32, 1, {p->n}, p->ids, "1", "token ids as given to the model"};
    arrays[count++] = (sd_array){"logits", SD_F32, 2, {p->n, p->config.vocabulary}, p->logits, "1", "row i predicts token i + 1"};
    arrays[count++] = (sd_array){"next_token_logprob", SD_F64, 1, {p->n}, p->logp, "nats", "log p of token i + 1; 0 at the last token"};
    for (uint64_t i = 0; i < p->n_sites; i++)
        arrays[count++] = (sd_array){p->names[i], SD_F32, 2, {p->n, p->config.d_model}, p->captures[i].rows, "1", "activations at this site"};
    SD_TRY(st, sd_bundle_write(o->out, "saediff.forward", 1, attrs, 1, arrays, count));
    for (uint64_t i = 0; i + 1 < p->n; i++)
        nll -= p->logp[i];
    if (p->n > 1)
        sd_say("%llu tokens, %llu sites; %.6f nats per predicted token; written to %s", (unsigned long long)p->n,
               (unsigned long long)p->n_sites, nll / (double)(p->n - 1), o->out);
    else
        sd_say("1 token, %llu sites; written to %s", (unsigned long long)p->n_sites, o->out);
out:
    return st;
}

static void free_result(pass_result *p)
{
    if (p == NULL)
        return;
    for (uint64_t i = 0; i < p->n_sites; i++)
        sd_free(p->captures[i].rows);
    sd_free(p->logits);
    sd_free(p->logp);
    sd_free(p->target);
    sd_free(p->best);
    sd_free(p->ids);
    sd_free(p);
}

/* Collective. All ranks take rank 0's number type of products. */
static sd_status open_devices(const sd_par *par, const app_options *o, sd_dev **dev)
{
    uint64_t type = 0;
    int threads;
    sd_status st;

    SD_TRY(st, sd_par_agree(par, app_open_device(par, o, dev, &threads)));
    SD_TRY(st, sd_dev_count_sharers(*dev, par));
    type = (uint64_t)sd_dev_compute(*dev);
    SD_TRY(st, sd_par_bcast(par, &type, sizeof type, 0));
    st = sd_par_agree(par, sd_dev_set_compute(*dev, (sd_dtype)type));
out:
    return st;
}

/* Collective over the ranks that work. */
static sd_status forward_here(const sd_par *par, const app_options *o, uint64_t stages)
{
    pass_result *p = NULL;
    sd_dev *dev = NULL;
    sd_status st;

    st = SD_NEW(&p, 1);
    if (st == SD_OK)
        st = prepare(o, p);
    if (st == SD_OK && par->rank == 0)
        st = sd_file_make_parent(o->out);
    if (st == SD_OK && par->rank == 0)
        st = sd_weights_digest(o->model, p->digest);
    SD_TRY(st, sd_par_agree(par, st));
    SD_TRY(st, open_devices(par, o, &dev));
    SD_TRY(st, compute(par, dev, o, stages, p));
    st = sd_par_agree(par, par->rank == 0 ? write_result(o, p) : SD_OK);
out:
    free_result(p);
    sd_dev_close(&dev);
    return st;
}

sd_status cmd_forward(const sd_par *par, const app_command *command, const app_options *options)
{
    uint64_t stages = 1;
    sd_par part;
    sd_status st;

    (void)command;
    if (options->pipeline != NULL && (!sd_str_to_u64(options->pipeline, &stages) || stages < 1 || stages > SD_LAYERS_MAX))
        return SD_FAIL(SD_E_USAGE, "--pipeline is '%s'; it must be a number from 1 to %d", options->pipeline, (int)SD_LAYERS_MAX);
    SD_TRY(st, sd_par_agree(par, sd_par_part_begin(&part, par, (uint64_t)par->rank < stages ? 0 : -1)));
    if (part.comm != MPI_COMM_NULL)
        st = forward_here(&part, options, stages);
    sd_par_part_end(&part);
    st = sd_par_agree(par, st);
out:
    return st;
}
