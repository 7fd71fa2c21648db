/* Rates of fine-tuning: a whole step, with gradients, the exchange between ranks and AdamW. */
#include <stdio.h>

#include "bench.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/core/str.h"
#include "saediff/tune/tune.h"

enum { DOCS = 8, CONTEXT = 256, RANK = 8, FAR = 4096 }; /* FAR: more steps than are taken */

typedef struct steps {
    sd_tuner *tuner;
    const sd_sft_data *sft_data;
    uint64_t *all; /* [sft_data->docs] 0, 1, … */
} steps;

/* All documents, every time: DOCS of them for each rank. */
static sd_status one_step(void *self)
{
    steps *s = self;
    sd_tune_report r;

    return sd_tuner_step_on(s->tuner, s->all, s->sft_data->docs, &r);
}

/* Local. Documents of random ids, all of them supervised. */
static sd_status make_sft_data(sd_sft_data **sft_data, uint64_t docs, const sd_model_config *c)
{
    uint64_t length = c->context < CONTEXT ? c->context : CONTEXT;
    sd_sft_data *l;
    sd_status st;

    SD_TRY(st, sd_sft_data_create(sft_data, docs, docs * length));
    l = *sft_data;
    for (uint64_t i = 0; i < l->tokens; i++) {
        l->ids[i] = (int32_t)(sd_random_u64(sd_key_make(2, SD_STREAM_BENCH, 2), i) % c->vocabulary);
        l->supervised[i] = i % length > 0;
    }
    for (uint64_t d = 0; d < docs; d++)
        l->start[d] = d * length;
out:
    return st;
}

/* What a step must compute and move on one rank. Products: forward, gradients of inputs, and gradients of trainable weights;
 * those of adapters are small. Memory: each weight read in both directions; of trainable parameters the gradient written, read for its norm and
 * twice for its exchange, then gradient, weight and two moments read and three of them written; of each token and layer 36 rows of the
 * stream's width and 9 of the MLP's, its logits five times. */
static void count_work(const sd_model_config *c, const sd_sft_data *l, double trainable, bool whole, bool recompute, double *flops,
                       double *bytes)
{
    double tokens = DOCS * (double)l->start[1], d = (double)c->d_model, v = (double)c->vocabulary, weights = (double)sd_model_parameters(c);

    *flops = tokens * ((whole ? 3 : 2) + recompute) * sd_model_flops(c, c->n_layers, (double)l->start[1] / 2) +
             tokens * (whole ? 6 : 4) * d * v;
    *bytes = sizeof(sd_real) * (2 * weights + 11 * trainable + 5 * tokens * v +
                                tokens * (double)c->n_layers * (36 * d + 9 * (double)c->d_mlp));
}

/* Collective. One way of tuning: its line, and its rate. */
static sd_status measure(bench *b, const char *folder, const char *what, bool recompute, uint64_t rank, double *rate)
{
    const sd_tune_spec spec = {.seed = 1, .batch = UINT32_MAX, .micro = DOCS * CONTEXT, .steps = FAR, .fall = SD_FALL_CONSTANT, .lr = 1e-6,
                               .final = 1, .adam = {0.9, 0.999, 1e-8, 0, 1}, .rank = rank, .alpha = 2 * RANK, .recompute = recompute};
    steps s = {0};
    sd_model_config config;
    sd_sft_data *sft_data = NULL;
    sd_tune_size size = {0};
    double seconds, flops, bytes;
    char a[32], c[32];
    sd_status st;

    st = sd_model_config_read(&config, folder);
    if (st == SD_OK)
        st = sd_tune_measure(&config, &spec, &size);
    if (st == SD_OK)
        st = make_sft_data(&sft_data, (uint64_t)b->par->size * DOCS, &config);
    if (st == SD_OK)
        st = SD_NEW(&s.all, (uint64_t)b->par->size * DOCS);
    SD_TRY(st, sd_par_agree(b->par, st));
    for (uint64_t d = 0; d < sft_data->docs; d++)
        s.all[d] = d;
    s.sft_data = sft_data;
    SD_TRY(st, sd_tuner_create(&s.tuner, b->par, b->dev, folder, sft_data, &spec));
    SD_TRY(st, bench_median(b, one_step, &s, &seconds));
    count_work(&config, sft_data, (double)size.trainable, rank == 0, recompute, &flops, &bytes);
    *rate = (double)sft_data->tokens / seconds;
    if (b->par->rank == 0) {
        printf("%-8s %s tokens/s, %sFLOP/s ", "finetune", sd_str_count(a, sizeof a, *rate),
               sd_str_count(c, sizeof c, flops * b->par->size / seconds));
        bench_print_roof(b, flops, bytes, seconds);
        printf("%-8s %s: %s trainable parameters, %.3g s per step of %llu tokens\n", "", what, sd_str_count(a, sizeof a, (double)size.trainable),
               seconds, (unsigned long long)sft_data->tokens);
    }
out:
    sd_tuner_destroy(&s.tuner);
    sd_sft_data_destroy(&sft_data);
    sd_free(size.how);
    sd_free(s.all);
    return st;
}

sd_status bench_finetune(bench *b)
{
    const char *given = b->options->model, *path;
    char folder[APP_FOLDER] = "", docs[16], context[16];
    const char *const arguments[] = {"step", "--preset", "stories15m", "--tied", "--batch", docs, "--context", context};
    sd_dtype compute = sd_dev_compute(b->dev);
    double rate, other;
    sd_status st = SD_OK;

    if (given == NULL)
        st = app_make_model(bench_small_model, folder);
    if (st == SD_OK)
        st = sd_dev_set_compute(b->dev, SD_REAL); /* as the stage does */
    path = given ? given : folder;
    SD_TRY(st, sd_par_agree(b->par, st));
    SD_TRY(st, measure(b, path, "all kept", false, 0, &rate));
    SD_TRY(st, measure(b, path, "blocks computed again", true, 0, &other));
    SD_TRY(st, measure(b, path, "adapters of rank 8, all kept", false, RANK, &other));
    snprintf(docs, sizeof docs, "%d", DOCS);
    snprintf(context, sizeof context, "%d", CONTEXT);
    if (given == NULL)
        SD_TRY(st, sd_par_agree(b->par, bench_peer(b, "finetune", arguments, sizeof arguments / sizeof *arguments, rate)));
    st = sd_par_agree(b->par, sd_dev_set_compute(b->dev, compute));
out:
    app_remove_model(folder);
    return st;
}
