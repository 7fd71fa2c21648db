/* init: a model folder with random weights; also temporary ones for other commands. One rank works. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app.h"
#include "saediff/core/log.h"
#include "saediff/core/str.h"
#include "saediff/model/config.h"
#include "saediff/model/init.h"
#include "saediff/store/file.h"

static sd_status init_here(const app_options *o)
{
    sd_model_config c;
    uint64_t seed = 0;
    char size[32];
    sd_status st;

    if (o->config == NULL)
        return SD_FAIL(SD_E_USAGE, "init needs --config FILE, the config.json of the model");
    if (o->seed != NULL && !sd_str_to_u64(o->seed, &seed))
        return SD_FAIL(SD_E_USAGE, "--seed is '%s'; it must be a whole number, 0 or more", o->seed);
    SD_TRY(st, sd_model_init(o->config, o->operand, seed));
    SD_TRY(st, sd_model_config_read(&c, o->operand));
    sd_say("%s: a model of %s random weights, seed %llu; add a tokenizer.json to use it with texts", o->operand,
           sd_str_count(size, sizeof size, (double)sd_model_parameters(&c)), (unsigned long long)seed);
out:
    return st;
}

sd_status cmd_init(const sd_par *par, const app_command *command, const app_options *options)
{
    (void)command;
    return sd_par_agree(par, par->rank == 0 ? init_here(options) : SD_OK);
}

sd_status app_make_config(const char *config, const char *name, char folder[APP_FOLDER])
{
    const char *where = getenv("TMPDIR");
    char path[APP_FOLDER + 16];
    sd_status st;

    if (snprintf(folder, APP_FOLDER, "%s/saediff-XXXXXX", where != NULL && where[0] ? where : "/tmp") >= APP_FOLDER || mkdtemp(folder) == NULL) {
        st = SD_FAIL(SD_E_ENV, "%s: a temporary folder cannot be created; set TMPDIR", folder);
        folder[0] = '\0';
        return st;
    }
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return sd_file_write(path, config, strlen(config));
}

sd_status app_make_model(const char *config, char folder[APP_FOLDER])
{
    char path[APP_FOLDER + 16];
    sd_status st;

    SD_TRY(st, app_make_config(config, "given.json", folder));
    snprintf(path, sizeof path, "%s/given.json", folder);
    st = sd_model_init(path, folder, 1);
out:
    return st;
}

void app_remove_model(const char *folder)
{
    static const char *const files[] = {"given.json", "config.json", "model.safetensors"};
    char path[APP_FOLDER + 24];

    for (size_t i = 0; folder[0] && i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    if (folder[0])
        rmdir(folder);
}
