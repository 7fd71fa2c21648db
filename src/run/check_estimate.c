/* Estimates the cost of a job: tokens, operations, bytes on disk and in memory. Tokens are counted from the token file if it exists, else estimated
 * from a sample of each data entry. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "finetune.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/dev/group.h"
#include "saediff/text/dataset.h"
#include "saediff/text/tokenizer.h"

enum { SAMPLE = 64 };

/* A sample of documents spread evenly over a sequence of unknown length: every step-th document; when the sample is full, every second one is
 * dropped and the step doubles. */
typedef struct sample {
    double tokens[SAMPLE];
    uint64_t taken, step;
} sample;

static void add_to_sample(sample *s, double tokens)
{
    s->tokens[s->taken++] = tokens;
    if (s->taken < SAMPLE)
        return;
    for (uint64_t i = 0; i < SAMPLE / 2; i++)
        s->tokens[i] = s->tokens[2 * i];
    s->taken = SAMPLE / 2;
    s->step *= 2;
}

static double sample_mean(const sample *s)
{
    double sum = 0;

    for (uint64_t i = 0; i < s->taken; i++)
        sum += s->tokens[i];
    return s->taken > 0 ? sum / (double)s->taken : 0;
}

/* One entry of data or finetune.data. */
typedef struct source {
    const sd_job_data *d;
    sd_dataset_spec spec;
    uint64_t context;
    sd_chat_encoder *encoder;
    const sd_tokenize_entry *entry; /* for entries with chats; else NULL */
} source;

/* Adds the documents of one entry, all of which are read, and their tokens, estimated from a sample. */
static sd_status estimate_entry(const sd_tokenizer *tokenizer, const source *from, double *documents, double *all_tokens)
{
    const sd_job_data *d = from->d;
    bool is_chat = from->entry != NULL && from->entry->chat, is_sft = d->supervise != NULL;
    uint64_t count = 0, kept;
    sd_dataset *dataset = NULL;
    sample s = {.step = 1};
    double tokens;
    char amount[32];
    sd_status st;

    SD_TRY(st, sd_dataset_open(&dataset, &from->spec));
    for (;; count++) {
        sd_chat chat = {0};
        sd_document doc;
        bool end;

        SD_TRY(st, sd_dataset_next(dataset, &doc, &end));
        if (end)
            break;
        if (count % s.step != 0)
            continue;
        SD_TRY(st, is_chat ? sd_chat_encode_text(from->encoder, from->entry->prompt_format, d->name, doc.text, doc.length, &chat)
                           : sd_tokenizer_encode(tokenizer, doc.text, doc.length, true, &chat.tokens));
        kept = chat.tokens.count < from->context ? chat.tokens.count : from->context;
        add_to_sample(&s, is_chat && !is_sft && !sd_chat_is_usable(&chat, kept) ? 0 : (double)kept);
        sd_chat_free(&chat);
    }
    tokens = sample_mean(&s) * (double)count;
    if (d->max_tokens > 0 && tokens > (double)d->max_tokens) {
        count = (uint64_t)ceil((double)d->max_tokens / sample_mean(&s));
        tokens = sample_mean(&s) * (double)count;
    }
    *documents += (double)count;
    *all_tokens += tokens;
    printf("  %-16s %llu documents (%llu dropped), about %s tokens   %s%s\n", d->name, (unsigned long long)count,
           (unsigned long long)sd_dataset_dropped(dataset), sd_str_count(amount, sizeof amount, tokens), d->paths.item[0],
           d->paths.count > 1 ? ", ..." : "");
    if (count == 0)
        sd_warn("data entry '%s' has no documents: its files are empty, or skip and min_chars exclude all of them", d->name);
out:
    sd_dataset_close(&dataset);
    return st;
}

static sd_status estimate_data(estimate *e, const sd_tokenizer *tokenizer, const run_chats *chats, uint64_t i)
{
    const run *r = e->r;
    source from = {.d = &r->job->data[i],
                   .context = r->job->tokenize.context ? r->job->tokenize.context : r->config[BASE].context,
                   .encoder = chats->encoder,
                   .entry = &chats->entries[i]};
    char *field = NULL;
    sd_status st;

    SD_TRY(st, run_dataset_spec(r, i, &from.spec, &field));
    st = estimate_entry(tokenizer, &from, &e->documents, &e->tokens);
out:
    sd_free(field);
    return st;
}

/* Training data; of prompts and completions only the completion is counted. */
static sd_status estimate_sft_data(estimate *e, const sd_tokenizer *tokenizer)
{
    const run *r = e->r;
    const sd_tokenize_entry chat = {.chat = true, .prompt_format = SD_TEMPLATED};
    double documents = 0;
    char *field = NULL;
    source from = {.context = 0};
    sd_status st;

    SD_TRY(st, run_finetune_context(r, &from.context));
    SD_TRY(st, run_sft_encoder(r, tokenizer, &from.encoder));
    printf("training data\n");
    for (uint64_t i = 0; i < r->job->n_sft_data; i++) {
        sd_free(field);
        SD_TRY(st, run_sft_spec(r, i, &from.spec, &field));
        from.d = &r->job->sft_data[i];
        from.entry = field != NULL ? &chat : NULL;
        if (from.d->completion[0] != '\0') {
            double prompts = 0;

            from.spec.field = from.d->prompt;
            SD_TRY(st, estimate_entry(tokenizer, &from, &prompts, &e->sft_data));
            from.spec.field = from.d->completion;
        }
        SD_TRY(st, estimate_entry(tokenizer, &from, &documents, &e->sft_data));
    }
    if (documents < 1)
        st = SD_FAIL(SD_E_DATA, "'finetune.data' of %s has no documents", r->job->path);
    e->sft_documents = documents;
out:
    sd_chat_close(&from.encoder);
    sd_free(field);
    return st;
}

sd_status check_estimate_tokens(estimate *e)
{
    run *r = e->r;
    const sd_record *record = r->manifest ? sd_manifest_find(r->manifest, "tokens/tokens.h5") : NULL;
    sd_tokenizer *tokenizer = NULL;
    run_chats chats = {0};
    sd_status st;

    SD_TRY(st, sd_tokenizer_open(&tokenizer, r->model_dir[BASE]));
    SD_TRY(st, run_chats_open(r, tokenizer, &chats));
    if (r->job->n_data > 0)
        printf("data\n");
    for (uint64_t i = 0; i < r->job->n_data; i++)
        SD_TRY(st, estimate_data(e, tokenizer, &chats, i));
    if (r->spec->stage[SD_STAGE_FINETUNE])
        SD_TRY(st, estimate_sft_data(e, tokenizer));
    if (record != NULL && strcmp(record->key, r->tokens_key) == 0) {
        char *path = NULL;

        st = run_full_path(r, "tokens/tokens.h5", &path);
        if (st == SD_OK)
            st = sd_tokens_read(&r->tokens, path);
        sd_free(path);
        SD_TRY(st, st);
        e->documents = (double)r->tokens->docs;
        e->tokens = (double)r->tokens->tokens;
    } else if (r->job->tokenize.max_tokens > 0 && e->tokens > (double)r->job->tokenize.max_tokens) {
        e->documents *= (double)r->job->tokenize.max_tokens / e->tokens;
        e->tokens = (double)r->job->tokenize.max_tokens;
    }
out:
    run_chats_free(&chats);
    sd_tokenizer_close(&tokenizer);
    return st;
}
/* Number of blocks up to the last site. */
static double layers_needed(const run *r)
{
    uint64_t last = 0;

    if (r->job->extract.loss)
        return (double)r->config[BASE].n_layers;
    for (uint64_t i = 0; i < r->n_sites; i++) {
        uint64_t layers = r->sites[i].kind == SD_SITE_NORMALIZED ? r->config[BASE].n_layers
                          : r->sites[i].kind == SD_SITE_EMBED    ? 0
                          : r->sites[i].kind == SD_SITE_RESID_PRE ? r->sites[i].layer
                                                                  : r->sites[i].layer + 1;

        last = layers > last ? layers : last;
    }
    return (double)last;
}

/* Suffix passes at each site (clean, zero, mean, and one for each SAE) with the output matrix twice for KL, on each model; then the divergence of the two
 * models. */
static double evaluate_flops(const estimate *e, double models, double mean_context)
{
    const run *r = e->r;
    const sd_model_config *c = &r->config[BASE];
    double head = 2 * 2 * (double)c->d_model * (double)c->vocabulary, flops = 0;

    for (uint64_t site = 0; site < r->n_sites; site++) {
        uint64_t done = r->sites[site].layer + (r->sites[site].kind != SD_SITE_RESID_PRE);
        double saes = 0, suffix = sd_model_flops(c, c->n_layers > done ? c->n_layers - done : 0, mean_context) + head;

        for (uint64_t i = 0; i < r->n_saes; i++)
            saes += r->saes[i].site == site && !r->saes[i].on_error;
        flops += saes > 0 ? models * (3 + saes) * suffix : 0;
    }
    if (models > 1)
        flops += 2 * (sd_model_flops(c, c->n_layers, mean_context) + head);
    return flops * e->tokens;
}

/* Forward, forward again with recompute, and backward: once for the inputs of the products, and for the trainable
 * weights. Memory: the vectors of trainable parameters (tune/owner.c), buffers of the exchange, and the activations of a backward pass. */
static sd_status estimate_finetune(estimate *e)
{
    const run *r = e->r;
    const sd_job *job = r->job;
    const sd_model_config *c = &r->config[BASE];
    const sd_tune_spec spec = finetune_spec(job);
    double weights = (double)sd_model_parameters(c), ranks = r->par->size, d = (double)c->d_model, v = (double)c->vocabulary;
    double tokens = job->finetune.steps > 0 ? (double)job->finetune.steps * (double)job->finetune.batch : job->finetune.epochs * e->sft_data;
    double size = strcmp(job->finetune.dtype, "f32") == 0 ? 4 : 2, saved = strcmp(job->finetune.keep, "best") == 0 ? 4 : 2;
    double memory, trainable, share;
    double mean_context = e->sft_documents > 0 ? e->sft_data / e->sft_documents / 2 : 0;
    uint64_t rows = job->finetune.micro_batch;
    sd_tune_size measured = {0};
    sd_status st;

    SD_TRY(st, sd_tune_measure(c, &spec, &measured));
    trainable = e->trainable = (double)measured.trainable;
    e->adapters = measured.targets;
    share = spec.rank > 0 ? 0 : trainable / weights;
    e->flops[SD_STAGE_FINETUNE] = tokens * ((job->finetune.recompute ? 3 : 2) + share) * sd_model_flops(c, c->n_layers, mean_context) +
                                  tokens * (4 + 2 * share) * d * v;
    e->disk[SD_STAGE_FINETUNE] = weights * size + trainable * (saved * 12 + (spec.rank > 0 ? 4 : 0));
    memory = 4 * weights + 4 * trainable * (2 + 5 / ranks) + 4 * fmin(trainable, ranks * SD_GROUP_CHUNK) +
             4 * (double)rows * (8 * d + 3 * (double)c->d_mlp) +
             (double)sd_backward_bytes(c, &(sd_trainable_spec){.how = measured.how, .rank = spec.rank}, rows, job->finetune.recompute);
    e->memory = fmax(e->memory, memory);
out:
    sd_free(measured.how);
    return st;
}

/* Weights and work space of the models that a stage holds at the same time; in extract, of the largest pipeline stage, with its channel buffers (one on
 * the device, two for sending, one for receiving), and of rows being copied to the host. */
static sd_status estimate_models(estimate *e)
{
    const run *r = e->r;
    uint64_t stages = r->job->pipeline, tokens = r->job->extract.batch_tokens;
    double whole = 0, most = 0, d = (double)r->config[BASE].d_model, rows = (double)tokens * d * (double)sd_dtype_size(r->dtype);
    sd_model_need need;
    sd_status st = SD_OK;

    for (int m = 0; m < RUN_MODELS; m++) {
        uint64_t layers = r->config[m].n_layers;

        if (r->model_dir[m] == NULL)
            continue;
        SD_TRY(st, sd_model_measure(&r->config[m], r->dev, tokens, (sd_span){0, layers}, &need));
        whole += (double)need.weights + (double)need.workspace;
        for (uint64_t s = 0; s < stages; s++) {
            SD_TRY(st, sd_model_measure(&r->config[m], r->dev, tokens, sd_par_split(layers, (int)s, (int)stages), &need));
            most = fmax(most, (double)need.weights + (double)need.workspace);
        }
    }
    if (r->spec->stage[SD_STAGE_EXTRACT])
        e->memory = most + (stages > 1 ? 16 * (double)tokens * d : 0) + rows * (sd_dev_wraps(r->dev) ? 1 : 2 * (double)r->n_sites);
    if (r->spec->stage[SD_STAGE_EVALUATE])
        e->memory = fmax(e->memory, whole);
out:
    return st;
}

sd_status check_estimate_work(estimate *e)
{
    const run *r = e->r;
    const sd_job *job = r->job;
    const sd_model_config *c = &r->config[BASE];
    double models = r->model_dir[TUNED] ? 2 : 1, d = (double)c->d_model, element = (double)sd_dtype_size(r->dtype);
    double saes[2] = {0, 0}, count[2] = {0, 0}; /* bytes and number of SAEs in each round of training */
    double mean_context = e->documents > 0 ? e->tokens / e->documents / 2 : 0;
    sd_status st = SD_OK;

    e->flops[SD_STAGE_EXTRACT] = models * e->tokens * sd_model_flops(c, (uint64_t)layers_needed(r), mean_context);
    if (job->extract.loss)
        e->flops[SD_STAGE_EXTRACT] += models * e->tokens * 2 * d * (double)c->vocabulary;
    e->disk[SD_STAGE_TOKENIZE] = 2 * 30 * e->tokens; /* the file and its temporary parts */
    e->disk[SD_STAGE_EXTRACT] = models * e->tokens * ((double)r->n_sites * d * element + (job->extract.loss ? 8 : 0));
    if (r->spec->stage[SD_STAGE_EVALUATE])
        e->flops[SD_STAGE_EVALUATE] = evaluate_flops(e, models, mean_context);
    SD_TRY(st, estimate_models(e));
    e->train_steps = (uint64_t)fmax(1, job->train.epochs * floor(e->tokens / (double)job->train.batch));
    for (uint64_t i = 0; i < r->n_saes; i++) {
        double f = (double)r->saes[i].latents, k = (double)r->saes[i].k;
        double underlying = r->saes[i].on_error ? 2 * d * f + 2 * d * k : 0;

        e->flops[SD_STAGE_TRAIN] += (double)e->train_steps * (double)job->train.batch * (2 * d * f + 8 * d * k + underlying);
        e->disk[SD_STAGE_TRAIN] += 2 * 4 * (3 * 2 * d * f); /* the file and one checkpoint */
        e->flops[SD_STAGE_ENCODE] += models * e->tokens * (2 * d * f + 2 * d * k + underlying);
        e->disk[SD_STAGE_ENCODE] += models * e->tokens * (8 * k + 16);
        e->disk[SD_STAGE_DIFF] += 50 * 8 * f; /* one number per column of diff.h5 */
        e->disk[SD_STAGE_REPORT] += 300 * f;
        count[r->saes[i].on_error]++;
        saes[r->saes[i].on_error] += 4 * (4 * 2 * d * f + (double)job->train.batch * (3 * d + 4 * k));
        if (r->saes[i].on_error) { /* plus its base SAE, and a shuffle buffer of its own */
            saes[1] += 4 * (2 * d * f + (double)job->train.batch * (4 * d + 4 * k) + d * (double)job->train.window);
            continue;
        }
        if (r->spec->stage[SD_STAGE_EVALUATE])
            e->flops[SD_STAGE_EVALUATE] += models * e->tokens * (2 * d * f + 2 * d * k);
        e->disk[SD_STAGE_EVALUATE] += models * ((double)job->n_data * f * 16 + e->documents * 8 * 24);
    }
    if (r->spec->stage[SD_STAGE_FINETUNE])
        SD_TRY(st, estimate_finetune(e));
    e->together = fmax(count[0], count[1]);
    for (int round = 0; round < 2; round++)
        if (count[round] > 0)
            e->memory = fmax(e->memory, saes[round] / count[round] * ceil(count[round] / (double)r->par->size) +
                                            (round == 0 ? 4 * d * (double)job->train.window : 0));
out:
    return st;
}
