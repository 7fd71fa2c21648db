/* The stage table, and a job carried out. */
#include <string.h>

#include "run_private.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"

static const struct {
    const char *name;
    sd_status (*run)(run *r);
    const char *made[2]; /* folders below the run folder that hold what it makes */
} stages[SD_STAGES] = {
    [SD_STAGE_TOKENIZE] = {"tokenize", run_tokenize, {"tokens/", NULL}},
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

/* --fresh: what the asked-for stages made goes. Collective. */
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
            return SD_FAIL(SD_E_DATA, "the manifest names a path of %zu characters", strlen(path));
        memcpy(copy, path, strlen(path) + 1);
        SD_TRY(st, sd_manifest_withdraw(r->manifest, copy));
    }
out:
    return st;
}

/* Local. The device, and how many threads. */
static sd_status open_device(run *r)
{
    r->threads = r->spec->threads > 0 ? r->spec->threads : sd_dev_default_threads(r->par->node_size);
    return sd_dev_open(&r->dev, r->spec->device, r->threads);
}

static sd_status run_stages(run *r)
{
    sd_status st = SD_OK;

    for (int s = 0; s < SD_STAGES; s++)
        if (r->spec->stage[s] && r->spec->fresh)
            SD_TRY(st, withdraw_stage(r, (sd_stage_id)s));
    for (int s = 0; s < SD_STAGES; s++) {
        double began = sd_now();
        uint64_t made = r->made;

        if (!r->spec->stage[s])
            continue;
        SD_TRY(st, stages[s].run(r));
        if (r->made > made)
            r->seconds[s] = sd_now() - began;
        SD_TRY(st, sd_par_agree_or_stop(r->par, SD_OK));
    }
out:
    return st;
}

static void say_result(const run *r, double began)
{
    const char *folder = sd_manifest_folder(r->manifest);
    char took[32];

    sd_str_seconds(took, sizeof took, sd_now() - began);
    if (r->made == 0)
        sd_say("everything is done already; --fresh makes it anew");
    else
        sd_say("done in %s", took);
    if (r->spec->stage[SD_STAGE_REPORT])
        sd_say("report: %s/report/README.md", folder);
    else
        sd_say("results: %s", folder);
}

sd_status sd_run(const sd_par *par, const sd_run_spec *spec)
{
    run r = {.par = par, .spec = spec, .job = spec->job};
    double began = sd_now();
    sd_status st, recorded;

    SD_TRY(st, sd_par_equal(par, "the job", spec->job_json));
    st = run_plan(&r);
    if (st == SD_OK)
        st = open_device(&r);
    SD_TRY(st, sd_par_agree(par, st));
    SD_TRY(st, sd_manifest_open(&r.manifest, par, spec->job->out));
    sd_say("saediff %s: %s, %d rank%s x %d thread%s, %s", SAEDIFF_VERSION, spec->job->name, par->size,
           par->size == 1 ? "" : "s", r.threads, r.threads == 1 ? "" : "s", sd_dev_describe(r.dev));
    SD_TRY(st, run_tokens_key(&r));
    st = run_stages(&r);
    if (r.made > 0) {
        recorded = run_record(&r, st);
        if (st == SD_OK)
            st = recorded;
    }
    if (st == SD_OK)
        say_result(&r, began);
out:
    run_plan_free(&r);
    sd_manifest_close(&r.manifest);
    sd_dev_close(&r.dev);
    return st;
}
