/* The table of stages, and the run of a job. */
#include <string.h>

#include "run_private.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/dev/group.h"
#include "saediff/store/file.h"

static const struct {
    const char *name;
    sd_status (*run)(run *r);
    const char *made[2]; /* output folders, relative to the run folder */
} stages[SD_STAGES] = {
    [SD_STAGE_TOKENIZE] = {"tokenize", run_texts, {"tokens/", NULL}},
    [SD_STAGE_FINETUNE] = {"finetune", run_finetune, {"model/", "finetune/"}},
    [SD_STAGE_EXTRACT] = {"extract", run_extract, {"acts/", NULL}},
    [SD_STAGE_TRAIN] = {"train", run_train, {"sae/", NULL}},
    [SD_STAGE_ENCODE] = {"encode", run_encode, {"codes/", NULL}},
    [SD_STAGE_EVALUATE] = {"evaluate", run_evaluate, {"eval/", NULL}},
    [SD_STAGE_DIFF] = {"diff", run_diff, {"diff/", "match/"}},
    [SD_STAGE_REPORT] = {"report", run_report, {"report/", NULL}},
};

const char *sd_stage_name(sd_stage_id stage)
{
    return stages[stage].name;
}

static bool makes(sd_stage_id stage, const char *path)
{
    const char *const *made = stages[stage].made;

    return strncmp(path, made[0], strlen(made[0])) == 0 || (made[1] != NULL && strncmp(path, made[1], strlen(made[1])) == 0);
}

/* Collective. --fresh: withdraws the artefacts of the chosen stages. */
static sd_status withdraw_stage(run *r, sd_stage_id stage)
{
    sd_status st = SD_OK;

    for (uint64_t i = 0; i < sd_manifest_count(r->manifest);) {
        const char *path = sd_manifest_at(r->manifest, i)->path;
        char copy[RUN_PATH];

        if (!makes(stage, path)) {
            i++;
            continue;
        }
        if (strlen(path) >= sizeof copy)
            return SD_FAIL(SD_E_DATA, "the manifest has a path of %zu characters", strlen(path));
        memcpy(copy, path, strlen(path) + 1);
        SD_TRY(st, sd_manifest_withdraw(r->manifest, copy));
    }
out:
    return st;
}

/* Rank 0 chooses the number type of products for all ranks. */
static sd_status choose_compute(run *r)
{
    char words[SD_COMPUTE_WORDS] = "";
    uint64_t choice = 0;
    sd_dtype type = SD_REAL;
    sd_status st = SD_OK;

    if (r->par->rank == 0)
        st = sd_dev_choose_compute(r->dev, r->job->compute, &type, words);
    SD_TRY(st, sd_par_agree(r->par, st));
    choice = (uint64_t)type;
    SD_TRY(st, sd_par_bcast(r->par, &choice, sizeof choice, 0));
    SD_TRY(st, sd_par_agree(r->par, sd_dev_set_compute(r->dev, (sd_dtype)choice)));
    if (words[0])
        sd_say("%s", words);
out:
    return st;
}

sd_status run_open_device(run *r)
{
    sd_status st;

    r->threads = r->spec->threads > 0 ? r->spec->threads : sd_dev_default_threads(r->par->node_size);
    SD_TRY(st, sd_par_agree(r->par, sd_dev_open_at(&r->dev, r->spec->device, r->threads, r->par->node_rank)));
    SD_TRY(st, sd_dev_count_sharers(r->dev, r->par));
    st = choose_compute(r);
out:
    return st;
}

static const char kernel_file[] = "kernel.txt", kernel_key[] = "kernel 1";

/* Rank 0. Writes the name of the kernel, or compares it with the recorded one. */
static sd_status compare_kernel(const run *r, bool has, const char *kernel)
{
    char *path = NULL, *found = NULL;
    uint64_t size;
    sd_status st;

    SD_TRY(st, run_full_path(r, kernel_file, &path));
    if (!has) {
        st = sd_file_write(path, kernel, strlen(kernel));
        goto out;
    }
    SD_TRY(st, sd_file_read(path, 4096, &found, &size));
    if (strcmp(found, kernel) != 0)
        sd_warn("this run was started with %s, but this machine computes with %s: the results will differ in rounding from a run on one kind of "
                "machine; --fresh starts again",
                found, kernel);
out:
    sd_free(path);
    sd_free(found);
    return st;
}

/* Collective. Checks the arithmetic kernel that the run folder was started with: bytes are reproducible with one kernel only. */
static sd_status note_kernel(run *r)
{
    const char *colon = strchr(sd_dev_describe(r->dev), ':'), *kernel = colon ? colon + 2 : sd_dev_describe(r->dev);
    const char *paths[1] = {kernel_file};
    bool has;
    sd_status st;

    SD_TRY(st, sd_manifest_has(r->manifest, kernel_file, kernel_key, &has));
    SD_TRY(st, sd_par_agree(r->par, r->par->rank == 0 ? compare_kernel(r, has, kernel) : SD_OK));
    if (!has)
        SD_TRY(st, sd_manifest_add(r->manifest, paths, NULL, 1, kernel_key));
out:
    return st;
}

static sd_status run_stages(run *r)
{
    bool concerned = false, checked = false;
    sd_status st = SD_OK;

    for (int s = 0; s < SD_STAGES; s++)
        if (r->spec->stage[s] && r->spec->fresh)
            SD_TRY(st, withdraw_stage(r, (sd_stage_id)s));
    for (int s = 0; s < SD_STAGES; s++) {
        double began = sd_now();
        uint64_t made = r->made;

        concerned = concerned || (s >= SD_STAGE_TRAIN && r->spec->stage[s]);
        if (s > SD_STAGE_TRAIN && concerned && !checked) {
            SD_TRY(st, run_leave_out_failed(r));
            checked = true;
        }
        if (!r->spec->stage[s])
            continue;
        st = stages[s].run(r);
        if (r->made > made || st != SD_OK)
            r->seconds[s] = sd_now() - began;
        SD_TRY(st, st);
        SD_TRY(st, sd_par_agree_or_stop(r->par, sd_dev_release(r->dev))); /* ranks that share a GPU need the memory in turn */
    }
out:
    return st;
}

static void say_result(const run *r, double began)
{
    char took[32];

    sd_str_seconds(took, sizeof took, sd_now() - began);
    if (r->made == 0)
        sd_say("everything is done already; --fresh starts again");
    else
        sd_say("done in %s", took);
}

sd_status sd_run(const sd_par *par, const sd_run_spec *spec)
{
    run r = {.par = par, .spec = spec, .job = spec->job};
    double began = sd_now();
    sd_status st, recorded;

    SD_TRY(st, sd_par_equal(par, "the job", spec->job_json));
    SD_TRY(st, sd_par_agree(par, run_plan(&r)));
    SD_TRY(st, run_open_device(&r));
    SD_TRY(st, sd_manifest_open(&r.manifest, par, spec->job->out));
    sd_say("saediff %s: %s, %d rank%s x %d thread%s, %s", SAEDIFF_VERSION, spec->job->name, par->size,
           par->size == 1 ? "" : "s", r.threads, r.threads == 1 ? "" : "s", sd_dev_describe(r.dev));
    SD_TRY(st, run_tokens_key(&r));
    SD_TRY(st, note_kernel(&r));
    st = run_stages(&r);
    if (r.made > 0) {
        recorded = run_record(&r, st);
        if (st == SD_OK)
            st = recorded;
    }
    if (st == SD_OK) {
        say_result(&r, began);
        SD_TRY(st, sd_par_agree(par, run_summary(&r)));
        st = run_failures_result(&r);
    }
out:
    run_plan_free(&r);
    sd_manifest_close(&r.manifest);
    sd_dev_close(&r.dev);
    return st;
}
