/* `saediff check`: opens and checks every file of the job, and prints the plan. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/dev/dense.h"
#include "saediff/model/pipeline.h"
#include "saediff/store/file.h"

/* Checks every tensor of the models by its header, without reading weights. */
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
            printf("  %-16s made by the stage finetune   %s\n", run_model_label(m), r->model_dir[m]);
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
/* Measures the speed of matrix products of a size that the job uses. */
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

/* Bytes in the run folder that the run will keep or overwrite. */
static double bytes_there(const run *r)
{
    double bytes = 0;

    for (uint64_t i = 0; r->manifest != NULL && i < sd_manifest_count(r->manifest); i++)
        bytes += (double)sd_manifest_at(r->manifest, i)->bytes;
    return bytes;
}

/* SD_E_ENV if more memory is needed than is free. For the memory of a GPU it is a warning: the need is an estimate, and a model that does not fit is
 * refused when it is opened. */
static sd_status print_memory(const estimate *e)
{
    static const char lower[] = "take fewer ranks a machine, smaller train.window, train.batch, finetune.micro_batch or extract.batch_tokens, or fewer SAEs";
    const sd_par *par = e->r->par;
    char a[32], b[32], c[32];
    sd_dev_room capacity;
    double needed;
    sd_status st;

    SD_TRY(st, sd_dev_memory(e->r->dev, par->node_size, &capacity));
    needed = e->memory * capacity.sharers;
    sd_str_bytes(b, sizeof b, (double)capacity.left);
    printf("memory             about %s a rank; ", sd_str_bytes(a, sizeof a, e->memory));
    if (!capacity.own)
        printf("this machine has %s free\n", b);
    else
        printf("the GPU has %s of %s free for %d rank%s\n", b, sd_str_bytes(c, sizeof c, (double)capacity.all), capacity.sharers,
               capacity.sharers == 1 ? "" : "s");
    fflush(stdout);
    if (capacity.all == 0 || needed <= (double)capacity.left)
        goto out;
    sd_str_bytes(a, sizeof a, needed);
    if (capacity.own)
        sd_warn("the %d rank%s on the GPU need about %s of memory, but %s are free; %s, or set models.compute to bf16", capacity.sharers,
                capacity.sharers == 1 ? "" : "s", a, b, lower);
    else
        st = SD_FAIL(SD_E_ENV, "the %d rank%s on this machine need about %s of memory, but %s are free; %s", par->node_size,
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
    uint64_t space = 0, groups = (uint64_t)r->par->size / r->job->pipeline;
    char *folder = NULL;
    sd_status st = SD_OK;

    snprintf(adapters, sizeof adapters, ", adapters of rank %llu of %llu matrices", (unsigned long long)r->job->finetune.lora_rank,
             (unsigned long long)e->adapters);
    if (r->n_sites > 0)
        printf("sites\n");
    for (uint64_t i = 0; i < r->n_sites; i++)
        printf("  %s\n", r->site_names[i]);
    if (r->n_saes > 0)
        printf("SAEs               %llu, distributed over %d rank%s; %llu steps of %llu tokens\n", (unsigned long long)r->n_saes,
               r->par->size, r->par->size == 1 ? "" : "s", (unsigned long long)e->train_steps,
               (unsigned long long)r->job->train.batch);
    for (uint64_t i = 0; i < r->n_saes; i++)
        printf("  %s/%s\n", r->site_names[r->saes[i].site], r->saes[i].name);
    if (r->spec->stage[SD_STAGE_EXTRACT] && r->job->pipeline > 1)
        printf("extract            %llu group%s of %llu pipeline stages; at most %s parameters per rank\n",
               (unsigned long long)groups, groups == 1 ? "" : "s", (unsigned long long)r->job->pipeline,
               sd_str_count(a, sizeof a, (double)sd_pipeline_parameters(&r->config[BASE], r->job->pipeline)));
    if (r->spec->stage[SD_STAGE_EXTRACT] && groups == 0)
        printf("                   a run needs at least %llu ranks; the times below are for %d\n", (unsigned long long)r->job->pipeline, r->par->size);
    if (r->spec->stage[SD_STAGE_FINETUNE])
        printf("trainable          %s parameters%s\n", sd_str_count(a, sizeof a, e->trainable),
               e->adapters > 0 ? adapters : "");
    printf("plan               %d rank%s x %d thread%s, %s, %s FLOP/s measured per rank\n", r->par->size,
           r->par->size == 1 ? "" : "s", r->threads, r->threads == 1 ? "" : "s", sd_dev_describe(r->dev),
           sd_str_count(a, sizeof a, e->flops_rate));
    printf("  %-10s %12s %12s %14s\n", "stage", "work", "disk", "time, about");
    for (int s = 0; s < SD_STAGES; s++) {
        /* Whole SAEs live on one rank; small products reach about half of the measured rate. */
        double share = s == SD_STAGE_TRAIN     ? fmin(ranks, e->together)
                       : s == SD_STAGE_EXTRACT ? (double)(groups * r->job->pipeline)
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
    printf("run folder         %s (%s free, %s already written)\n", r->job->out, sd_str_bytes(a, sizeof a, (double)space),
           sd_str_bytes(b, sizeof b, there));
    fflush(stdout);
    if (memory != SD_OK)
        st = memory;
    else if (disk - there > (double)space)
        st = SD_FAIL(SD_E_ENV, "%s: the job needs about %s of disk, but %s are free; choose another --out, fewer sites or tokens, or "
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
    SD_TRY(st, check_estimate_tokens(&e));
    if (r->job->n_data > 0 && e.documents < 1)
        return SD_FAIL(SD_E_DATA, "the data entries of %s have no documents", r->job->path);
    SD_TRY(st, check_estimate_work(&e));
    SD_TRY(st, measure_rate(&e));
    SD_TRY(st, print_plan(&e));
    if (r->n_saes > 0 && e.tokens < (double)r->job->train.batch)
        st = SD_FAIL(SD_E_DATA, "there are about %.0f tokens, fewer than one training batch (train.batch %llu)", e.tokens,
                     (unsigned long long)r->job->train.batch);
out:
    return st;
}

sd_status sd_run_check(const sd_par *par, const sd_run_spec *spec)
{
    run r = {.par = par, .spec = spec, .job = spec->job, .only_plans = true};
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
        SD_TRY(st, sd_manifest_open_readonly(&r.manifest, par, spec->job->out));
    st = sd_par_agree(par, par->rank == 0 ? check_here(&r) : SD_OK);
out:
    sd_free(log);
    run_plan_free(&r);
    sd_manifest_close(&r.manifest);
    sd_dev_close(&r.dev);
    return st;
}
