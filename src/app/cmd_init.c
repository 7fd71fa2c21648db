/* init: a model folder with random weights. One rank works. */
#include "app.h"
#include "saediff/core/log.h"
#include "saediff/core/str.h"
#include "saediff/model/config.h"
#include "saediff/model/init.h"

static sd_status init_here(const app_options *o)
{
    sd_model_config c;
    uint64_t seed = 0;
    char size[32];
    sd_status st;

    if (o->config == NULL)
        return SD_FAIL(SD_E_USAGE, "init wants --config FILE, the config.json of the model to make");
    if (o->seed != NULL && !sd_str_to_u64(o->seed, &seed))
        return SD_FAIL(SD_E_USAGE, "--seed is '%s'; it must be a whole number from 0", o->seed);
    SD_TRY(st, sd_model_init(o->config, o->operand, seed));
    SD_TRY(st, sd_model_config_read(&c, o->operand));
    sd_say("%s: a model of %s random weights, seed %llu; put a tokenizer.json beside them to give it texts", o->operand,
           sd_str_count(size, sizeof size, (double)sd_model_parameters(&c)), (unsigned long long)seed);
out:
    return st;
}

sd_status cmd_init(const sd_par *par, const app_command *command, const app_options *options)
{
    (void)command;
    return sd_par_agree(par, par->rank == 0 ? init_here(options) : SD_OK);
}
