/* `saediff check`: everything the job names is opened and checked; the plan is printed. Tokens are counted from the token
 * file if it is there, else estimated from a sample of each data entry. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "finetune.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/dev/dense.h"
#include "saediff/dev/group.h"
#include "saediff/model/pipeline.h"
#include "saediff/store/file.h"
#include "saediff/text/dataset.h"
#include "saediff/text/tokenizer.h"

enum { SAMPLE = 64 };

typedef struct estimate {
    run *r;
    double documents, tokens;
    double lessons; /* tokens of an epoch of finetune */
    double lesson_documents;
    double learned; /* parameters */
    uint64_t adapters;
    double flops[SD_STAGES], disk[SD_STAGES];
    double memory;       /* of the rank that needs most */
    double flops_rate;   /* of one rank */
    uint64_t train_steps;
} estimate;

/* Tokens of documents spread evenly over a sequence whose length is not known: every step-th, and where the places run out, every
 * second of them. */
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

/* One entry of data or lessons. */
typedef struct source {
    const sd_job_data *d;
    sd_dataset_spec spec;
    uint64_t context;
    sd_chat_encoder *encoder;
    const sd_tokenize_entry *entry; /* says whether its records are chats; NULL: they are not */
} source;

/* Documents of one entry, all read; their tokens, from a sample. Adds to both. */
static sd_status estimate_entry(const sd_tokenizer *tokenizer, const source *from, double *documents, double *all_tokens)
{
    const sd_job_data *d = from->d;
    bool is_chat = from->entry != NULL && from->entry->chat, is_lesson = d->learn != NULL;
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
        SD_TRY(st, is_chat ? sd_chat_encode_text(from->encoder, from->entry->condition, d->name, doc.text, doc.length, &chat)
                           : sd_tokenizer_encode(tokenizer, doc.text, doc.length, true, &chat.tokens));
        kept = chat.tokens.count < from->context ? chat.tokens.count : from->context;
        add_to_sample(&s, is_chat && !is_lesson && !sd_chat_whole(&chat, kept) ? 0 : (double)kept);
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
        sd_warn("data entry '%s' has no document: its files are empty, or skip and min_chars leave nothing of them", d->name);
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

/* Lessons; of prompts and completions the completion counts, which must be there. */
static sd_status estimate_lessons(estimate *e, const sd_tokenizer *tokenizer)
{
    const run *r = e->r;
    const sd_tokenize_entry chat = {.chat = true, .condition = SD_TEMPLATED};
    double documents = 0;
    char *field = NULL;
    source from = {.context = 0};
    sd_status st;

    SD_TRY(st, run_finetune_context(r, &from.context));
    SD_TRY(st, run_lessons_encoder(r, tokenizer, &from.encoder));
    printf("lessons\n");
    for (uint64_t i = 0; i < r->job->n_lessons; i++) {
        sd_free(field);
        SD_TRY(st, run_lesson_spec(r, i, &from.spec, &field));
        from.d = &r->job->lessons[i];
        from.entry = field != NULL ? &chat : NULL;
        if (from.d->completion[0] != '\0') {
            double prompts = 0;

            from.spec.field = from.d->prompt;
            SD_TRY(st, estimate_entry(tokenizer, &from, &prompts, &e->lessons));
            from.spec.field = from.d->completion;
        }
        SD_TRY(st, estimate_entry(tokenizer, &from, &documents, &e->lessons));
    }
    if (documents < 1)
        st = SD_FAIL(SD_E_DATA, "the lessons of %s hold no document", r->job->path);
    e->lesson_documents = documents;
out:
    sd_chat_close(&from.encoder);
    sd_free(field);
    return st;
}

static sd_status estimate_tokens(estimate *e)
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
        SD_TRY(st, estimate_lessons(e, tokenizer));
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

/* Every tensor the models need, by its header: no weights are read. */
static sd_status check_models(run *r)
{
    sd_status st = SD_OK;

    printf("models\n");
    for (int m = 0; m < RUN_MODELS; m++) {
        const sd_model_config *c = &r->config[m];
        char parameters[32];

        if (r->model_dir[m] == NULL)
            continue;
        if (r->model_dir[m] == r->made_dir) {
            printf("  %-16s made by finetune   %s\n", run_model_label(m), r->model_dir[m]);
            continue;
        }
        SD_TRY(st, sd_model_check(r->model_dir[m]));
        printf("  %-16s %s parameters, %llu layers, d_model %llu, context %llu, vocabulary %llu   %s\n", run_model_label(m),
               sd_str_count(parameters, sizeof parameters, (double)sd_model_parameters(c)), (unsigned long long)c->n_layers,
               (unsigned long long)c->d_model, (unsigned long long)c->context, (unsigned long long)c->vocabulary,
               r->model_dir[m]);
    }
out:
    return st;
}

/* Blocks a pass must run to reach the last site. */
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

/* Suffix passes at each site (clean, zero, mean, and one for each SAE) with the output matrix twice for KL, on each model; then both
 * models side by side. */
static double evaluate_flops(const estimate *e, double models, double mean_context)
{
    const run *r = e->r;
    const sd_model_config *c = &r->config[BASE];
    double head = 2 * 2 * (double)c->d_model * (double)c->vocabulary, flops = 0;

    for (uint64_t site = 0; site < r->n_sites; site++) {
        uint64_t done = r->sites[site].layer + (r->sites[site].kind != SD_SITE_RESID_PRE);
        double saes = 0, suffix = sd_model_flops(c, c->n_layers > done ? c->n_layers - done : 0, mean_context) + head;

        for (uint64_t i = 0; i < r->n_saes; i++)
            saes += r->saes[i].site == site && !r->saes[i].residual;
        flops += saes > 0 ? models * (3 + saes) * suffix : 0;
    }
    if (models > 1)
        flops += 2 * (sd_model_flops(c, c->n_layers, mean_context) + head);
    return flops * e->tokens;
}

/* Forward, forward again with recompute, and backward: once for the inputs of the products, and for the share of the weights that is
 * learned. The vectors of what is learned of owner.c in tune, what a sum over the ranks needs, and what a backward pass keeps. */
static sd_status estimate_finetune(estimate *e)
{
    const run *r = e->r;
    const sd_job *job = r->job;
    const sd_model_config *c = &r->config[BASE];
    const sd_tune_spec spec = finetune_spec(job);
    double weights = (double)sd_model_parameters(c), ranks = r->par->size, d = (double)c->d_model, v = (double)c->vocabulary;
    double tokens = job->finetune.steps > 0 ? (double)job->finetune.steps * (double)job->finetune.batch : job->finetune.epochs * e->lessons;
    double size = strcmp(job->finetune.dtype, "f32") == 0 ? 4 : 2, saved = strcmp(job->finetune.keep, "best") == 0 ? 4 : 2;
    double memory, learned, share;
    double mean_context = e->lesson_documents > 0 ? e->lessons / e->lesson_documents / 2 : 0;
    uint64_t rows = job->finetune.micro;
    sd_tune_size measured = {0};
    sd_status st;

    SD_TRY(st, sd_tune_measure(c, &spec, &measured));
    learned = e->learned = (double)measured.learned;
    e->adapters = measured.targets;
    share = spec.rank > 0 ? 0 : learned / weights;
    e->flops[SD_STAGE_FINETUNE] = tokens * ((job->finetune.recompute ? 3 : 2) + share) * sd_model_flops(c, c->n_layers, mean_context) +
                                  tokens * (4 + 2 * share) * d * v;
    e->disk[SD_STAGE_FINETUNE] = weights * size + learned * (saved * 12 + (spec.rank > 0 ? 4 : 0));
    memory = 4 * weights + 4 * learned * (2 + 5 / ranks) + 4 * fmin(learned, ranks * SD_GROUP_CHUNK) +
             4 * (double)rows * (8 * d + 3 * (double)c->d_mlp) +
             (double)sd_backward_bytes(c, &(sd_learning){.how = measured.how, .rank = spec.rank}, rows, job->finetune.recompute);
    e->memory = fmax(e->memory, memory);
out:
    sd_free(measured.how);
    return st;
}

/* Weights and work space of the models that a stage of the job has at a time; in extract, of the part that takes most, with what is handed on
 * between parts (on the device, twice on its way out, and on its way in), and of rows on their way to the host. */
static sd_status estimate_models(estimate *e)
{
    const run *r = e->r;
    uint64_t stages = r->job->stages, tokens = r->job->extract.slab_tokens;
    double whole = 0, most = 0, d = (double)r->config[BASE].d_model, rows = (double)tokens * d * (double)sd_dtype_size(r->dtype);
    sd_model_need need;
    sd_status st = SD_OK;

    for (int m = 0; m < RUN_MODELS; m++) {
        uint64_t layers = r->config[m].n_layers;

        if (r->model_dir[m] == NULL)
            continue;
        SD_TRY(st, sd_model_measure(&r->config[m], r->dev, tokens, (sd_span){0, layers}, &need));
        whole += (double)need.weights + (double)need.room;
        for (uint64_t s = 0; s < stages; s++) {
            SD_TRY(st, sd_model_measure(&r->config[m], r->dev, tokens, sd_par_split(layers, (int)s, (int)stages), &need));
            most = fmax(most, (double)need.weights + (double)need.room);
        }
    }
    if (r->spec->stage[SD_STAGE_EXTRACT])
        e->memory = most + (stages > 1 ? 16 * (double)tokens * d : 0) + rows * (sd_dev_wraps(r->dev) ? 1 : 2 * (double)r->n_sites);
    if (r->spec->stage[SD_STAGE_EVALUATE])
        e->memory = fmax(e->memory, whole);
out:
    return st;
}

static sd_status estimate_work(estimate *e)
{
    const run *r = e->r;
    const sd_job *job = r->job;
    const sd_model_config *c = &r->config[BASE];
    double models = r->model_dir[TUNED] ? 2 : 1, d = (double)c->d_model, element = (double)sd_dtype_size(r->dtype);
    double saes = 0;
    double mean_context = e->documents > 0 ? e->tokens / e->documents / 2 : 0;
    sd_status st = SD_OK;

    e->flops[SD_STAGE_EXTRACT] = models * e->tokens * sd_model_flops(c, (uint64_t)layers_needed(r), mean_context);
    if (job->extract.loss)
        e->flops[SD_STAGE_EXTRACT] += models * e->tokens * 2 * d * (double)c->vocabulary;
    e->disk[SD_STAGE_TOKENIZE] = 2 * 30 * e->tokens; /* the file, and what it is made of meanwhile */
    e->disk[SD_STAGE_EXTRACT] = models * e->tokens * ((double)r->n_sites * d * element + (job->extract.loss ? 8 : 0));
    if (r->spec->stage[SD_STAGE_EVALUATE])
        e->flops[SD_STAGE_EVALUATE] = evaluate_flops(e, models, mean_context);
    SD_TRY(st, estimate_models(e));
    e->train_steps = (uint64_t)fmax(1, job->train.epochs * floor(e->tokens / (double)job->train.batch));
    for (uint64_t i = 0; i < r->n_saes; i++) {
        double f = (double)r->saes[i].latents, k = (double)r->saes[i].k;
        double underlying = r->saes[i].residual ? 2 * d * f + 2 * d * k : 0;

        e->flops[SD_STAGE_TRAIN] += (double)e->train_steps * (double)job->train.batch * (2 * d * f + 8 * d * k + underlying);
        e->disk[SD_STAGE_TRAIN] += 2 * 4 * (3 * 2 * d * f); /* the file and one checkpoint */
        e->flops[SD_STAGE_ENCODE] += models * e->tokens * (2 * d * f + 2 * d * k + underlying);
        e->disk[SD_STAGE_ENCODE] += models * e->tokens * (8 * k + 16);
        e->disk[SD_STAGE_DIFF] += 50 * 8 * f; /* one number per column of diff.h5 */
        e->disk[SD_STAGE_REPORT] += 300 * f;
        saes += 4 * (4 * 2 * d * f + (double)job->train.batch * (3 * d + 4 * k));
        if (r->saes[i].residual)
            continue;
        if (r->spec->stage[SD_STAGE_EVALUATE])
            e->flops[SD_STAGE_EVALUATE] += models * e->tokens * (2 * d * f + 2 * d * k);
        e->disk[SD_STAGE_EVALUATE] += models * ((double)job->n_data * f * 16 + e->documents * 8 * 24);
    }
    if (r->spec->stage[SD_STAGE_FINETUNE])
        SD_TRY(st, estimate_finetune(e));
    if (r->n_saes > 0) {
        double here = ceil((double)r->n_saes / (double)r->par->size);

        saes = saes / (double)r->n_saes * here + 4 * d * (double)job->train.window;
        e->memory = fmax(e->memory, saes);
    }
out:
    return st;
}

/* A few products of a size this job uses. */
static sd_status measure_rate(estimate *e)
{
    enum { N = 512, TIMES = 4 };
    sd_dev *dev = e->r->dev;
    sd_buf *a = NULL, *b = NULL, *y = NULL;
    double began = 0, seconds;
    sd_status st;

    SD_TRY(st, sd_buf_create(&a, dev, SD_REAL, N * N));
    SD_TRY(st, sd_buf_create(&b, dev, SD_REAL, N * N));
    SD_TRY(st, sd_buf_create(&y, dev, SD_REAL, N * N));
    SD_TRY(st, sd_dev_fill(dev, &(sd_fill){sd_mat_of(a, N, N), 0.5}));
    SD_TRY(st, sd_dev_fill(dev, &(sd_fill){sd_mat_of(b, N, N), 0.25}));
    for (int i = 0; i <= TIMES; i++) {
        if (i == 1) {
            SD_TRY(st, sd_dev_wait(dev));
            began = sd_now();
        }
        SD_TRY(st, sd_dev_matmul(dev, &(sd_matmul){.a = sd_mat_of(a, N, N),
                                                   .b = sd_mat_of(b, N, N),
                                                   .y = sd_mat_of(y, N, N),
                                                   .trans_b = true,
                                                   .alpha = 1}));
    }
    SD_TRY(st, sd_dev_wait(dev));
    seconds = sd_now() - began;
    e->flops_rate = seconds > 0 ? 2.0 * N * N * N * TIMES / seconds : 1e9;
out:
    sd_buf_destroy(&a);
    sd_buf_destroy(&b);
    sd_buf_destroy(&y);
    return st;
}

/* What the folder holds already of what is about to be written; files made anew take the place of old ones. */
static double bytes_there(const run *r)
{
    double bytes = 0;

    for (uint64_t i = 0; r->manifest != NULL && i < sd_manifest_count(r->manifest); i++)
        bytes += (double)sd_manifest_at(r->manifest, i)->bytes;
    return bytes;
}

/* SD_E_ENV where more is needed than is left. Of a GPU's own memory that is a warning: what a stage takes there is an estimate, and a model that
 * cannot fit is refused when it is opened. */
static sd_status print_memory(const estimate *e)
{
    static const char lower[] = "take fewer ranks a machine, smaller train.window, train.batch, finetune.micro or extract.slab_tokens, or fewer SAEs";
    const sd_par *par = e->r->par;
    char a[32], b[32], c[32];
    sd_dev_room room;
    double needed;
    sd_status st;

    SD_TRY(st, sd_dev_memory(e->r->dev, par->node_size, &room));
    needed = e->memory * room.sharers;
    sd_str_bytes(b, sizeof b, (double)room.left);
    printf("memory             about %s a rank; ", sd_str_bytes(a, sizeof a, e->memory));
    if (!room.own)
        printf("this machine has %s left\n", b);
    else
        printf("the GPU has %s of %s left for %d rank%s\n", b, sd_str_bytes(c, sizeof c, (double)room.all), room.sharers,
               room.sharers == 1 ? "" : "s");
    fflush(stdout);
    if (room.all == 0 || needed <= (double)room.left)
        goto out;
    sd_str_bytes(a, sizeof a, needed);
    if (room.own)
        sd_warn("the %d rank%s on the GPU need about %s of memory and %s are left; %s, or models.compute bf16", room.sharers,
                room.sharers == 1 ? "" : "s", a, b, lower);
    else
        st = SD_FAIL(SD_E_ENV, "the %d rank%s on this machine need about %s of memory and %s are left; %s", par->node_size,
                     par->node_size == 1 ? "" : "s", a, b, lower);
out:
    return st;
}

static sd_status print_plan(estimate *e)
{
    const run *r = e->r;
    double disk = 0, seconds = 0, ranks = r->par->size, there = bytes_there(r);
    sd_status memory;
    char a[32], b[32], c[32], adapters[64];
    uint64_t space = 0, groups = (uint64_t)r->par->size / r->job->stages;
    char *folder = NULL;
    sd_status st = SD_OK;

    snprintf(adapters, sizeof adapters, ", adapters of rank %llu of %llu matrices", (unsigned long long)r->job->finetune.lora_rank,
             (unsigned long long)e->adapters);
    if (r->n_sites > 0)
        printf("sites\n");
    for (uint64_t i = 0; i < r->n_sites; i++)
        printf("  %s\n", r->site_names[i]);
    if (r->n_saes > 0)
        printf("autoencoders       %llu, dealt to %d rank%s; %llu steps of %llu tokens\n", (unsigned long long)r->n_saes,
               r->par->size, r->par->size == 1 ? "" : "s", (unsigned long long)e->train_steps,
               (unsigned long long)r->job->train.batch);
    for (uint64_t i = 0; i < r->n_saes; i++)
        printf("  %s/%s\n", r->site_names[r->saes[i].site], r->saes[i].name);
    if (r->spec->stage[SD_STAGE_EXTRACT] && r->job->stages > 1)
        printf("extract            %llu group%s of %llu ranks that have a model together; no rank has more than %s parameters of it\n",
               (unsigned long long)groups, groups == 1 ? "" : "s", (unsigned long long)r->job->stages,
               sd_str_count(a, sizeof a, (double)sd_pipeline_parameters(&r->config[BASE], r->job->stages)));
    if (r->spec->stage[SD_STAGE_FINETUNE])
        printf("learned            %s parameters%s\n", sd_str_count(a, sizeof a, e->learned),
               e->adapters > 0 ? adapters : "");
    printf("plan               %d rank%s x %d thread%s, %s, %s FLOP/s a rank measured\n", r->par->size,
           r->par->size == 1 ? "" : "s", r->threads, r->threads == 1 ? "" : "s", sd_dev_describe(r->dev),
           sd_str_count(a, sizeof a, e->flops_rate));
    printf("  %-10s %12s %12s %14s\n", "stage", "work", "disk", "time, about");
    for (int s = 0; s < SD_STAGES; s++) {
        /* Whole SAEs live on one rank; small products reach about half of the measured rate. */
        double share = s == SD_STAGE_TRAIN     ? fmin(ranks, (double)r->n_saes)
                       : s == SD_STAGE_EXTRACT ? (double)(groups * r->job->stages)
                                               : ranks;
        double time = e->flops[s] / (0.5 * e->flops_rate * fmax(1, share)) + e->disk[s] / 1e9;

        if (!r->spec->stage[s])
            continue;
        sd_str_count(a, sizeof a, e->flops[s]);
        printf("  %-10s %7s FLOP %12s %14s\n", sd_stage_name((sd_stage_id)s), a, sd_str_bytes(b, sizeof b, e->disk[s]),
               sd_str_seconds(c, sizeof c, time));
        disk += e->disk[s];
        seconds += time;
    }
    printf("  %-10s %12s %12s %14s\n", "all", "", sd_str_bytes(b, sizeof b, disk), sd_str_seconds(c, sizeof c, seconds));
    memory = print_memory(e);
    SD_TRY(st, sd_str_copy(&folder, r->job->out));
    while (!sd_file_exists(folder) && strrchr(folder, '/') != NULL && strrchr(folder, '/') != folder)
        *strrchr(folder, '/') = '\0';
    SD_TRY(st, sd_file_space(sd_file_exists(folder) ? folder : ".", &space));
    printf("run folder         %s (%s free, %s of the job there)\n", r->job->out, sd_str_bytes(a, sizeof a, (double)space),
           sd_str_bytes(b, sizeof b, there));
    fflush(stdout);
    if (memory != SD_OK)
        st = memory;
    else if (disk - there > (double)space)
        st = SD_FAIL(SD_E_ENV, "%s: the job needs about %s and %s are free there; take another --out, fewer sites or tokens, or "
                               "extract.dtype bf16",
                     r->job->out, sd_str_bytes(b, sizeof b, disk), sd_str_bytes(a, sizeof a, (double)space));
out:
    sd_free(folder);
    return st;
}

static sd_status check_here(run *r)
{
    estimate e = {.r = r};
    sd_status st;

    SD_TRY(st, check_models(r));
    SD_TRY(st, estimate_tokens(&e));
    if (r->job->n_data > 0 && e.documents < 1)
        return SD_FAIL(SD_E_DATA, "the data entries of %s hold no document", r->job->path);
    SD_TRY(st, estimate_work(&e));
    SD_TRY(st, measure_rate(&e));
    SD_TRY(st, print_plan(&e));
    if (r->n_saes > 0 && e.tokens < (double)r->job->train.batch)
        st = SD_FAIL(SD_E_DATA, "about %.0f tokens do not fill one batch of train.batch %llu", e.tokens,
                     (unsigned long long)r->job->train.batch);
out:
    return st;
}

sd_status sd_run_check(const sd_par *par, const sd_run_spec *spec)
{
    run r = {.par = par, .spec = spec, .job = spec->job};
    uint64_t there;
    char *log = NULL;
    sd_status st;

    SD_TRY(st, sd_par_equal(par, "the job", spec->job_json));
    SD_TRY(st, sd_par_agree(par, run_plan(&r)));
    SD_TRY(st, run_open_device(&r));
    SD_TRY(st, run_tokens_key(&r));
    SD_TRY(st, sd_par_agree(par, sd_path_join(&log, spec->job->out, "manifest.log")));
    there = par->rank == 0 && sd_file_exists(log);
    SD_TRY(st, sd_par_max_u64(par, &there, 1));
    if (there)
        SD_TRY(st, sd_manifest_look(&r.manifest, par, spec->job->out));
    st = sd_par_agree(par, par->rank == 0 ? check_here(&r) : SD_OK);
out:
    sd_free(log);
    run_plan_free(&r);
    sd_manifest_close(&r.manifest);
    sd_dev_close(&r.dev);
    return st;
}
