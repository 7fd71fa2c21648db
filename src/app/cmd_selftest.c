/* selftest: checks that this machine computes correctly. One rank works. */
#include <stdio.h>
#include <string.h>

#include "app.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "selftest.h"

/* Odd sizes, grouped-query attention, biases. */
static const char small[] = "{\"model_type\": \"llama\", \"hidden_size\": 72, \"intermediate_size\": 190, \"num_hidden_layers\": 3,\n"
                            " \"num_attention_heads\": 6, \"num_key_value_heads\": 2, \"vocab_size\": 331, \"max_position_embeddings\": 128,\n"
                            " \"rms_norm_eps\": 1e-5, \"attention_bias\": true, \"initializer_range\": 0.2, \"tie_word_embeddings\": false}\n";

/* Documents of 1, 17, 70, 3 and 40 pseudo-random ids; shorter ones where the context is. */
static sd_status make_documents(selftest *t, const sd_model_config *c)
{
    static const uint64_t lengths[SELFTEST_DOCS] = {1, 17, 70, 3, 40};
    sd_key key = sd_key_make(0, SD_STREAM_TEST, 1);
    sd_status st;

    for (uint64_t d = 0; d < SELFTEST_DOCS; d++) {
        if (lengths[d] > c->context)
            return SD_FAIL(SD_E_DATA, "%s: the context is %llu tokens; selftest needs at least %llu", t->dir, (unsigned long long)c->context,
                           (unsigned long long)lengths[d]);
        t->start[d + 1] = t->start[d] + lengths[d];
    }
    for (uint64_t i = 0; i < SELFTEST_ROWS; i++)
        t->ids[i] = (int32_t)(sd_random_u64(key, i) % c->vocabulary);
    t->vocabulary = c->vocabulary;
    SD_TRY(st, SD_NEW(&t->logits, SELFTEST_ROWS * c->vocabulary));
    st = SD_NEW(&t->other, SELFTEST_ROWS * c->vocabulary);
out:
    return st;
}

static void report(const char *what, const selftest_result *r, int *failed)
{
    printf("%-58s %s%s\n", what, r->failed ? "FAILED: " : "", r->words);
    *failed += r->failed;
}

static sd_status run_checks(selftest *t, sd_model *model, const char *device, int threads, int *failed)
{
    sd_dtype compute = sd_dev_compute(sd_model_dev(model));
    bool gpu = strcmp(sd_dev_name(sd_model_dev(model)), "cuda") == 0;
    selftest_result r = {0};
    char what[80];
    sd_status st;

    SD_TRY(st, selftest_pass(model, t->ids, t->start, SELFTEST_DOCS, NULL, 0, t->logits));
    snprintf(what, sizeof what, "one thread against %d", threads > 1 ? threads : 2);
    SD_TRY(st, selftest_device(t, device, threads > 1 ? 1 : 2, compute, 0, &r));
    report(gpu ? "the GPU, opened a second time" : what, &r, failed);
    if (gpu)
        SD_TRY(st, selftest_device(t, "cpu", threads, SD_REAL, selftest_tolerance(model), &r));
    else
        SD_TRY(st, selftest_device(t, "strict", threads, compute, 0, &r));
    report(gpu ? "the processor, in f32" : "the strict device (queued work, checked memory)", &r, failed);
    SD_TRY(st, selftest_packing(t, model, &r));
    report("documents packed, alone, and in another order", &r, failed);
    SD_TRY(st, selftest_replace(t, model, &r));
    report("a layer's output replaced by itself", &r, failed);
    SD_TRY(st, selftest_steps(t, model, &r));
    report("token by token against one pass", &r, failed);
    r.words[0] = '\0';
    SD_TRY(st, selftest_published(model, &r));
    if (r.words[0])
        report("published logits", &r, failed);
out:
    return st;
}

static sd_status selftest_here(const sd_par *par, const app_options *o)
{
    const char *device = o->device ? o->device : "auto";
    char folder[APP_FOLDER] = "";
    sd_model *model = NULL;
    sd_dev *dev = NULL;
    selftest t = {.dir = o->model};
    int threads, failed = 0;
    sd_status st;

    if (t.dir == NULL) {
        SD_TRY(st, app_make_model(small, folder));
        t.dir = folder;
    }
    SD_TRY(st, app_open_device(par, o, &dev, &threads));
    SD_TRY(st, sd_model_open(&model, dev, t.dir, SELFTEST_ROWS));
    SD_TRY(st, make_documents(&t, sd_model_config_of(model)));
    printf("%s, %d threads; %s\n", sd_dev_describe(dev), threads, o->model ? o->model : "a small model with random weights");
    SD_TRY(st, run_checks(&t, model, device, threads, &failed));
    if (failed > 0)
        st = SD_FAIL(SD_E_ENV, "%d of these checks failed: results on this machine may be wrong; try another BLAS library", failed);
out:
    sd_model_close(&model);
    sd_dev_close(&dev);
    sd_free(t.logits);
    sd_free(t.other);
    app_remove_model(folder);
    return st;
}

sd_status cmd_selftest(const sd_par *par, const app_command *command, const app_options *options)
{
    (void)command;
    return sd_par_agree(par, par->rank == 0 ? selftest_here(par, options) : SD_OK);
}
