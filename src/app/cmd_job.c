/* Commands that carry out a job file: run, check, and every stage by its name. */
#include <string.h>

#include "app.h"
#include "keys.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/run/run.h"

/* The stages a command asks for. */
static void choose_stages(const char *command, const sd_job *job, bool stage[SD_STAGES])
{
    for (int s = 0; s < SD_STAGES; s++)
        stage[s] = strcmp(command, "run") == 0 || strcmp(command, "check") == 0
                       ? job->has[s]
                       : strcmp(command, sd_stage_name((sd_stage_id)s)) == 0;
}

static sd_status check_asked(const sd_job *job, const bool stage[SD_STAGES])
{
    for (int s = 0; s < SD_STAGES; s++)
        if (stage[s] && !job->has[s])
            return SD_FAIL(SD_E_USAGE, "%s has no section '%s': add \"%s\": {} to run that stage with its defaults", job->path,
                           sd_stage_name((sd_stage_id)s), sd_stage_name((sd_stage_id)s));
    return SD_OK;
}

sd_status cmd_job(const sd_par *par, const app_command *command, const app_options *options)
{
    sd_run_spec spec = {.device = options->device ? options->device : "auto",
                        .fresh = options->fresh,
                        .command = options->command_line};
    sd_job *job = NULL;
    char *json = NULL;
    sd_status st;

    st = app_threads(options, &spec.threads);
    if (st == SD_OK)
        st = sd_job_read(&job, options->operand, options->sets, options->n_sets);
    if (st == SD_OK && options->out != NULL) {
        sd_free(job->out);
        st = sd_str_copy(&job->out, options->out);
    }
    if (st == SD_OK)
        st = sd_job_effective(job, &json);
    if (st == SD_OK) {
        choose_stages(command->name, job, spec.stage);
        st = check_asked(job, spec.stage);
    }
    SD_TRY(st, sd_par_agree(par, st));
    spec.job = job;
    spec.job_json = json;
    st = strcmp(command->name, "check") == 0 ? sd_run_check(par, &spec) : sd_run(par, &spec);
out:
    sd_free(json);
    sd_job_destroy(&job);
    return st;
}
