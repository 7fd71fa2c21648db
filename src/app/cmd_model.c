/* `saediff forward`: one text through a model. One rank works. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "app.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/model/model.h"
#include "saediff/store/bundle.h"
#include "saediff/store/file.h"
#include "saediff/store/weights.h"
#include "saediff/text/tokenizer.h"

enum { MOST_SITES = 512 };

/* ---- what to read */

static sd_status ids_from_list(const char *list, int32_t **ids, uint64_t *count)
{
    uint64_t room = strlen(list) + 1;
    sd_status st;

    *count = 0;
    SD_TRY(st, SD_NEW(ids, room));
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
        return SD_FAIL(SD_E_USAGE, "forward wants one of --ids, --text and --file");
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
    for (uint64_t l = 0; list == NULL && l < n_layers && l < MOST_SITES; l++)
        sites[(*count)++] = (sd_site){SD_SITE_RESID_POST, l};
    for (const char *at = list; at != NULL;) {
        size_t length = strcspn(at, ",");
        char word[SD_SITE_NAME];

        snprintf(word, sizeof word, "%.*s", (int)length, at);
        if (*count == MOST_SITES)
            return SD_FAIL(SD_E_USAGE, "--sites names more than %d sites", (int)MOST_SITES);
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
    uint64_t n, n_sites;
    sd_site sites[MOST_SITES];
    char names[MOST_SITES][SD_SITE_NAME];
    capture captures[MOST_SITES];
    sd_tap taps[MOST_SITES];
    float *logits;
    double *logp;
    int32_t *target, *best;
} pass_result;

static sd_status compute(sd_dev *dev, const app_options *o, const int32_t *ids, uint64_t n, pass_result *p)
{
    uint64_t start[2] = {0, n}, vocabulary, d;
    sd_model_config config;
    sd_model *model = NULL;
    sd_buf *logits = NULL;
    char digest[SD_SHA256_HEX];
    sd_status st;

    p->n = n;
    SD_TRY(st, sd_model_config_read(&config, o->model));
    if (n > config.context) { /* before memory is asked for that many rows */
        st = SD_FAIL(SD_E_DATA, "the text has %llu tokens; the model's context is %llu: give less of it", (unsigned long long)n,
                     (unsigned long long)config.context);
        goto out;
    }
    SD_TRY(st, sd_weights_digest(o->model, digest));
    SD_TRY(st, sd_model_open(&model, dev, o->model, n));
    vocabulary = sd_model_config_of(model)->vocabulary;
    d = sd_model_config_of(model)->d_model;
    SD_TRY(st, read_sites(o->sites, sd_model_config_of(model)->n_layers, p->sites, &p->n_sites));
    for (uint64_t i = 0; i < p->n_sites; i++) {
        sd_site_name(p->sites[i], p->names[i]);
        SD_TRY(st, SD_NEW(&p->captures[i].rows, n * d));
        p->taps[i] = (sd_tap){.site = p->sites[i], .kind = SD_TAP_READ, .sink = {keep_rows, &p->captures[i]}};
    }
    SD_TRY(st, SD_NEW(&p->logits, n * vocabulary));
    SD_TRY(st, SD_NEW(&p->logp, n));
    SD_TRY(st, SD_NEW(&p->target, n));
    SD_TRY(st, SD_NEW(&p->best, n));
    SD_TRY(st, sd_buf_create(&logits, dev, SD_REAL, n * vocabulary));
    SD_TRY(st, sd_model_forward(model, &(sd_pass){.ids = ids,
                                                  .doc_start = start,
                                                  .docs = 1,
                                                  .taps = p->taps,
                                                  .n_taps = p->n_sites,
                                                  .to_logits = true}));
    SD_TRY(st, sd_model_logits(model, (sd_span){0, n}, sd_mat_of(logits, n, vocabulary)));
    SD_TRY(st, sd_dev_download_as(dev, sd_mat_of(logits, n, vocabulary), p->logits, SD_F32));
    for (uint64_t i = 0; i < n; i++)
        p->target[i] = i + 1 < n ? ids[i + 1] : -1;
    SD_TRY(st, sd_model_score(model, p->target, p->logp, p->best));
    {
        sd_array arrays[MOST_SITES + 3];
        uint64_t count = 0;
        const sd_attr attrs[] = {{.name = "model_sha256", .kind = SD_ATTR_TEXT, .text = digest}};

        arrays[count++] = (sd_array){"ids", SD_I32, 1, {n}, ids, "1", "token ids as given to the model"};
        arrays[count++] = (sd_array){"logits", SD_F32, 2, {n, vocabulary}, p->logits, "1", "row i predicts token i + 1"};
        arrays[count++] = (sd_array){"next_token_logprob", SD_F64, 1, {n}, p->logp, "nats",
                                     "log p of token i + 1; 0 at the last token"};
        for (uint64_t i = 0; i < p->n_sites; i++)
            arrays[count++] = (sd_array){p->names[i], SD_F32, 2, {n, d}, p->captures[i].rows, "1", "activations at this site"};
        SD_TRY(st, sd_bundle_write(o->out, "saediff.forward", 1, attrs, 1, arrays, count));
    }
out:
    sd_buf_destroy(&logits);
    sd_model_close(&model);
    return st;
}

static sd_status forward_here(const sd_par *par, const app_options *o)
{
    pass_result *p = NULL;
    int32_t *ids = NULL;
    uint64_t count = 0;
    sd_dev *dev = NULL;
    double nll = 0;
    int threads;
    sd_status st;

    if (o->model == NULL || o->out == NULL)
        return SD_FAIL(SD_E_USAGE, "forward wants --model DIR and --out FILE.h5");
    SD_TRY(st, sd_file_make_parent(o->out));
    SD_TRY(st, SD_NEW(&p, 1));
    SD_TRY(st, read_ids(o, &ids, &count));
    if (count == 0)
        return SD_FAIL(SD_E_DATA, "the text has no tokens");
    SD_TRY(st, app_open_device(par, o, &dev, &threads));
    SD_TRY(st, compute(dev, o, ids, count, p));
    for (uint64_t i = 0; i + 1 < count; i++)
        nll -= p->logp[i];
    if (count > 1)
        sd_say("%llu tokens, %llu sites; %.6f nats per predicted token; written to %s", (unsigned long long)count,
               (unsigned long long)p->n_sites, nll / (double)(count - 1), o->out);
    else
        sd_say("1 token, %llu sites; written to %s", (unsigned long long)p->n_sites, o->out);
out:
    for (uint64_t i = 0; p != NULL && i < p->n_sites; i++)
        sd_free(p->captures[i].rows);
    if (p != NULL) {
        sd_free(p->logits);
        sd_free(p->logp);
        sd_free(p->target);
        sd_free(p->best);
    }
    sd_free(p);
    sd_free(ids);
    sd_dev_close(&dev);
    return st;
}

sd_status cmd_forward(const sd_par *par, const app_command *command, const app_options *options)
{
    (void)command;
    return sd_par_agree(par, par->rank == 0 ? forward_here(par, options) : SD_OK);
}
