/* Rates of arithmetic: forward passes, training steps. */
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/core/str.h"
#include "saediff/model/model.h"
#include "saediff/sae/sae.h"

/* `bytes`: see bench_print_roof(). */
static void print_rate(const bench *b, const char *what, double tokens, double flops, double bytes, double seconds)
{
    char rate[32], speed[32];

    if (b->par->rank != 0)
        return;
    printf("%-8s %s tokens/s, %sFLOP/s ", what, sd_str_count(rate, sizeof rate, tokens * b->par->size / seconds),
           sd_str_count(speed, sizeof speed, flops * b->par->size / seconds));
    bench_print_roof(b, flops, bytes, seconds);
}

/* ---- forward */

const char bench_small_model[] =
    "{\"model_type\": \"llama\", \"hidden_size\": 288, \"intermediate_size\": 768, \"num_hidden_layers\": 6,\n"
    " \"num_attention_heads\": 6, \"vocab_size\": 32000, \"max_position_embeddings\": 256, \"rms_norm_eps\": 1e-5,\n"
    " \"tie_word_embeddings\": true}\n";

enum { BENCH_DOCS = 16, BENCH_CONTEXT = 256 };

static sd_status ignore_rows(void *self, sd_dev *dev, sd_mat rows)
{
    (void)self;
    (void)dev;
    (void)rows;
    return SD_OK;
}

sd_status bench_one_pass(void *self)
{
    bench_passes *p = self;
    sd_status st = sd_model_forward(p->model, &(sd_pass){.ids = p->ids, .doc_start = p->start, .docs = p->docs, .taps = &p->tap, .n_taps = 1});

    return st == SD_OK ? sd_dev_wait(p->dev) : st;
}

sd_status bench_prepare_passes(bench_passes *p, uint64_t docs, uint64_t context)
{
    const sd_model_config *c = sd_model_config_of(p->model);
    uint64_t length = c->context < context ? c->context : context, n = docs * length;
    sd_status st;

    p->dev = sd_model_dev(p->model);
    p->docs = docs;
    SD_TRY(st, SD_NEW(&p->ids, n));
    SD_TRY(st, SD_NEW(&p->start, docs + 1));
    for (uint64_t i = 0; i < n; i++)
        p->ids[i] = (int32_t)(sd_random_u64(sd_key_make(1, SD_STREAM_BENCH, 2), i) % c->vocabulary);
    for (uint64_t i = 0; i <= docs; i++)
        p->start[i] = i * length;
    p->tap = (sd_tap){.site = {SD_SITE_RESID_POST, c->n_layers - 1}, .kind = SD_TAP_READ, .sink = {ignore_rows, NULL}};
out:
    return st;
}

void bench_free_passes(bench_passes *p)
{
    sd_model_close(&p->model);
    sd_free(p->ids);
    sd_free(p->start);
}

sd_status bench_forward(bench *b)
{
    const char *given = b->options->model;
    char folder[APP_FOLDER] = "";
    const sd_model_config *c;
    bench narrow = *b;
    bench_passes p = {0};
    double seconds, tokens;
    sd_status st = SD_OK;

    if (b->options->preset != NULL)
        return bench_preset(b);
    if (given == NULL)
        st = app_make_model(bench_small_model, folder);
    if (st == SD_OK)
        st = sd_model_open(&p.model, b->dev, given ? given : folder, BENCH_DOCS * BENCH_CONTEXT);
    if (st == SD_OK)
        st = bench_prepare_passes(&p, BENCH_DOCS, BENCH_CONTEXT);
    app_remove_model(folder);
    SD_TRY(st, sd_par_agree(b->par, st));
    SD_TRY(st, bench_median(b, bench_one_pass, &p, &seconds));
    tokens = (double)p.start[BENCH_DOCS];
    c = sd_model_config_of(p.model);
    /* Each weight once; of each token and layer 12 rows of the stream's width and 3 of the MLP's. The embedding and head are no part of it. */
    narrow.gemm = b->gemm_compute;
    print_rate(&narrow, "forward", tokens,
               tokens * sd_model_flops(sd_model_config_of(p.model), sd_model_config_of(p.model)->n_layers,
                                       (double)p.start[1] / 2),
               (double)sd_dtype_size(sd_dev_compute(b->dev)) *
                       ((double)sd_model_parameters(c) - (double)(c->tied ? 1 : 2) * (double)c->vocabulary * (double)c->d_model) +
                   sizeof(sd_real) * tokens * (double)c->n_layers * (12 * (double)c->d_model + 3 * (double)c->d_mlp),
               seconds);
    if (given == NULL) {
        char n[16], length[16];
        const char *arguments[] = {"llama", "--preset", "stories15m", "--tied", "--batch", n, "--context", length, "--logits", "none", "--dtype", "fp32"};
        const uint64_t count = sizeof arguments / sizeof *arguments;

        if (sd_dev_compute(b->dev) == SD_BF16)
            arguments[count - 1] = "bf16";
        snprintf(n, sizeof n, "%d", BENCH_DOCS);
        snprintf(length, sizeof length, "%d", BENCH_CONTEXT);
        st = sd_par_agree(b->par, bench_peer(b, "forward", arguments, count, tokens / seconds));
    }
out:
    bench_free_passes(&p);
    return st;
}

/* ---- train */

typedef struct trainer {
    sd_sae *sae;
    sd_dev *dev;
    sd_mat x;
} trainer;

static sd_status one_step(void *self)
{
    trainer *t = self;
    sd_status st = sd_sae_step(t->sae, t->x);

    return st == SD_OK ? sd_dev_wait(t->dev) : st;
}

sd_status bench_train(bench *b)
{
    enum { D = 512, F = 8192, K = 32, N = 4096 };
    const sd_sae_spec spec = {.d_model = D, .n_latents = F, .k = K, .k_aux = 256, .dead_tokens = (uint64_t)1 << 60, .batch = N,
                              .aux_coef = 1.0 / 32, .adam = {0.9, 0.999, 1e-8, 0, 1}, .schedule = {1e-4, 1 << 20, 0, 0}, .seed = 1};
    trainer t = {.dev = b->dev};
    sd_buf *x = NULL;
    double seconds;
    sd_status st;

    st = bench_rows(b, N, D, &x);
    if (st == SD_OK)
        st = sd_sae_create(&t.sae, b->dev, &spec);
    if (st == SD_OK) {
        t.x = sd_mat_of(x, N, D);
        st = sd_sae_start(t.sae, t.x);
    }
    SD_TRY(st, sd_par_agree(b->par, st));
    SD_TRY(st, bench_median(b, one_step, &t, &seconds));
    /* The encoder's product and four passes over the k active rows of each token. */
    /* Both matrices, ten times: read by the product or the decoder, gradient written, read for its norm, then gradient, weight and two
     * moments read and three of them written; the k active rows of each token four times; batch, reconstruction and error. */
    print_rate(b, "train", N, (double)N * (2.0 * D * F + 4 * 2.0 * D * K),
               sizeof(sd_real) * (10.0 * 2 * D * F + 4.0 * N * K * D + 8.0 * N * D), seconds);
    if (b->par->rank == 0)
        printf("%-8s d_model %d, %d latents, k %d, batch %d: %.2f steps/s per rank\n", "", D, F, K, N, 1 / seconds);
    {
        char d[16], f[16], k[16], n[16];
        const char *const arguments[] = {"sae", "--d", d, "--latents", f, "--k", k, "--batch", n};

        snprintf(d, sizeof d, "%d", D);
        snprintf(f, sizeof f, "%d", F);
        snprintf(k, sizeof k, "%d", K);
        snprintf(n, sizeof n, "%d", N);
        st = sd_par_agree(b->par, bench_peer(b, "train", arguments, sizeof arguments / sizeof *arguments, N / seconds));
    }
out:
    sd_sae_destroy(&t.sae);
    sd_buf_destroy(&x);
    return st;
}
