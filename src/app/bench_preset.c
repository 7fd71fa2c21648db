/* Forward passes of the shapes of published models, with random weights: their rate compared with that of their matrix products alone, and the time
 * by operation. */
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/core/str.h"
#include "saediff/dev/dense.h"

typedef struct preset {
    const char *name, *peer; /* as the script of --peer calls it */
    unsigned d_model, layers, heads, kv_heads, d_mlp, vocabulary;
    double theta;
    const char *tied;
} preset;

static const preset presets[] = {
    {"llama-2-7b", "llama2-7b", 4096, 32, 32, 32, 11008, 32000, 1e4, "false"},
    {"llama-3.1-8b", "llama3.1-8b", 4096, 32, 32, 8, 14336, 128256, 5e5, "false"},
    {"llama-3.2-1b", "llama3.2-1b", 2048, 16, 32, 8, 8192, 128256, 5e5, "true"},
    {"smollm2-1.7b", "smollm2-1.7b", 2048, 24, 32, 32, 8192, 49152, 1.3e5, "true"},
    {"stories15m", "stories15m", 288, 6, 6, 6, 768, 32000, 1e4, "true"},
};
enum { PRESETS = sizeof presets / sizeof *presets, CONFIG = 512, KINDS = 32 };

/* Documents of a pass and their length: as much as keeps the device busy. */
enum { GPU_DOCS = 8, GPU_CONTEXT = 1024, CPU_DOCS = 1, CPU_CONTEXT = 256 };

static sd_status find(const char *name, const preset **found)
{
    const char *nearest = sd_str_nearest(name, &presets[0].name, PRESETS, sizeof *presets);

    for (size_t i = 0; i < PRESETS; i++)
        if (strcmp(presets[i].name, name) == 0) {
            *found = &presets[i];
            return SD_OK;
        }
    return SD_FAIL(SD_E_USAGE, "unknown preset '%s'%s%s%s; the choices are llama-2-7b, llama-3.1-8b, llama-3.2-1b, smollm2-1.7b and stories15m", name,
                   nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
}

/* Local. */
static sd_status open_preset(bench *b, const preset *s, uint64_t rows, sd_model **model)
{
    char config[CONFIG], folder[APP_FOLDER] = "";
    sd_status st;

    snprintf(config, sizeof config,
             "{\"model_type\": \"llama\", \"hidden_size\": %u, \"intermediate_size\": %u, \"num_hidden_layers\": %u, \"num_attention_heads\": %u,\n"
             " \"num_key_value_heads\": %u, \"vocab_size\": %u, \"max_position_embeddings\": 4096, \"rms_norm_eps\": 1e-5, \"rope_theta\": %g,\n"
             " \"tie_word_embeddings\": %s}\n",
             s->d_model, s->d_mlp, s->layers, s->heads, s->kv_heads, s->vocabulary, s->theta, s->tied);
    SD_TRY(st, app_make_config(config, "config.json", folder));
    st = sd_model_open_noise(model, b->dev, folder, rows);
out:
    app_remove_model(folder);
    return st;
}

/* ---- the products alone */

typedef struct product {
    sd_dev *dev;
    sd_mat x, w, y;
} product;

static sd_status multiply(void *self)
{
    product *p = self;
    sd_status st = sd_dev_matmul(p->dev, &(sd_matmul){.a = p->x, .b = p->w, .y = p->y, .trans_b = true, .alpha = 1});

    return st == SD_OK ? sd_dev_wait(p->dev) : st;
}

static sd_status noise(bench *b, sd_dtype type, uint64_t rows, uint64_t cols, sd_buf **buf, sd_mat *m)
{
    sd_status st;

    SD_TRY(st, sd_buf_create(buf, b->dev, type, rows * cols));
    *m = sd_mat_of(*buf, rows, cols);
    st = sd_dev_noise(b->dev, &(sd_noise){.y = *m, .key = sd_key_make(2, SD_STREAM_BENCH, cols), .scale = 1});
out:
    return st;
}

/* Seconds of y [n, out] = x [n, in] · wᵀ in the types that a pass has. */
static sd_status time_product(bench *b, uint64_t n, uint64_t in, uint64_t out_cols, sd_dtype y_type, double *seconds)
{
    sd_buf *x = NULL, *w = NULL, *y = NULL;
    product p = {.dev = b->dev};
    sd_status st;

    st = noise(b, sd_dev_activation(b->dev), n, in, &x, &p.x);
    if (st == SD_OK)
        st = noise(b, sd_dev_compute(b->dev), out_cols, in, &w, &p.w);
    if (st == SD_OK)
        st = noise(b, y_type, n, out_cols, &y, &p.y);
    SD_TRY(st, sd_par_agree(b->par, st));
    st = bench_median(b, multiply, &p, seconds);
out:
    sd_buf_destroy(&x);
    sd_buf_destroy(&w);
    sd_buf_destroy(&y);
    return st;
}

/* Of all layers. */
static sd_status time_products(bench *b, const sd_model_config *c, uint64_t n, double *seconds, double *flops)
{
    uint64_t q = c->n_heads * c->d_head, qkv = q + 2 * c->n_kv_heads * c->d_head;
    const struct {
        uint64_t in, out;
        sd_dtype type;
    } all[] = {{c->d_model, qkv, sd_dev_activation(b->dev)}, {q, c->d_model, SD_REAL},
               {c->d_model, 2 * c->d_mlp, sd_dev_activation(b->dev)}, {c->d_mlp, c->d_model, SD_REAL}};
    sd_status st = SD_OK;

    *seconds = *flops = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        double one;

        SD_TRY(st, time_product(b, n, all[i].in, all[i].out, all[i].type, &one));
        *seconds += (double)c->n_layers * one;
        *flops += 2.0 * (double)(c->n_layers * n) * (double)all[i].in * (double)all[i].out;
    }
out:
    return st;
}

/* ---- */

/* One more pass, by kind of work. */
static sd_status print_times(bench *b, bench_passes *p)
{
    sd_dev_time times[KINDS];
    uint64_t count = 0;
    double all = 0;
    sd_status st;

    SD_TRY(st, sd_dev_times_begin(b->dev));
    SD_TRY(st, bench_one_pass(p));
    SD_TRY(st, sd_dev_times_end(b->dev, times, KINDS, &count));
    for (uint64_t i = 0; i < count; i++)
        all += times[i].seconds;
    for (uint64_t i = 0; i < count && b->par->rank == 0; i++)
        printf("%-8s %6.2f ms, %4.1f %%, in %llu calls: %s\n", "", 1e3 * times[i].seconds, 100 * times[i].seconds / all,
               (unsigned long long)times[i].times, times[i].name);
out:
    return st;
}

static sd_status measure(bench *b, const preset *s, bench_passes *p)
{
    const sd_model_config *c = sd_model_config_of(p->model);
    uint64_t n = p->start[p->docs], length = p->start[1];
    const char *type = sd_dtype_name(sd_dev_compute(b->dev));
    char rate[32], speed[32], alone[32], batch[16], context[16];
    double seconds, products, flops, all_flops;
    sd_status st;

    SD_TRY(st, bench_median(b, bench_one_pass, p, &seconds));
    SD_TRY(st, time_products(b, c, n, &products, &flops));
    all_flops = (double)n * sd_model_flops(c, c->n_layers, (double)length / 2);
    if (b->par->rank == 0)
        printf("forward  %s in %s, %llu x %llu tokens, no logits: %s tokens/s, %sFLOP/s per rank; its matrix products alone: %sFLOP/s, %.0f %% of its "
               "time\n", s->name, type, (unsigned long long)p->docs, (unsigned long long)length, sd_str_count(rate, sizeof rate, (double)n / seconds),
               sd_str_count(speed, sizeof speed, all_flops / seconds), sd_str_count(alone, sizeof alone, flops / products), 100 * products / seconds);
    SD_TRY(st, sd_par_agree(b->par, print_times(b, p)));
    {
        const char *arguments[] = {"llama", "--preset", s->peer, "--batch", batch, "--context", context, "--logits", "none", "--dtype",
                                   strcmp(type, "f32") == 0 ? "fp32" : strcmp(type, "f16") == 0 ? "fp16" : type, "--device",
                                   strcmp(sd_dev_name(b->dev), "cuda") == 0 ? "cuda" : "cpu"};

        snprintf(batch, sizeof batch, "%llu", (unsigned long long)p->docs);
        snprintf(context, sizeof context, "%llu", (unsigned long long)length);
        st = sd_par_agree(b->par, bench_peer(b, "forward", arguments, sizeof arguments / sizeof *arguments, (double)n / seconds));
    }
out:
    return st;
}

sd_status bench_preset(bench *b)
{
    bool gpu = strcmp(sd_dev_name(b->dev), "cuda") == 0;
    uint64_t docs = gpu ? GPU_DOCS : CPU_DOCS, context = gpu ? GPU_CONTEXT : CPU_CONTEXT;
    const preset *s = NULL;
    bench_passes p = {0};
    sd_status st;

    SD_TRY(st, find(b->options->preset, &s)); /* the same on all ranks */
    st = open_preset(b, s, docs * context, &p.model);
    if (st == SD_OK)
        st = bench_prepare_passes(&p, docs, context);
    SD_TRY(st, sd_par_agree(b->par, st));
    st = measure(b, s, &p);
out:
    bench_free_passes(&p);
    return st;
}
