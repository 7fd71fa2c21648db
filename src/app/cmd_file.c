/* inspect, verify and help. One rank works; the others wait for its result. */
#include <stdio.h>
#include <string.h>

#include "app.h"
#include "keys.h"
#include "saediff/core/str.h"
#include "saediff/run/run.h"
#include "saediff/store/inspect.h"
#include "saediff/text/parquet.h"

sd_status cmd_inspect(const sd_par *par, const app_command *command, const app_options *options)
{
    sd_status st = SD_OK;

    (void)command;
    if (par->rank == 0)
        st = sd_is_parquet(options->operand) ? sd_parquet_inspect(options->operand, stdout) : sd_inspect(options->operand, stdout);
    return sd_par_agree(par, st);
}

sd_status cmd_verify(const sd_par *par, const app_command *command, const app_options *options)
{
    (void)command;
    return sd_run_verify(par, options->operand);
}

static void print_overview(void)
{
    printf("saediff %s: what fine-tuning did to the features of a language model\n\n", SAEDIFF_VERSION);
    for (uint64_t i = 0; i < app_n_commands; i++) {
        char left[40];

        snprintf(left, sizeof left, "%s %s", app_commands[i].name, app_commands[i].operand ? app_commands[i].operand : "");
        printf("  saediff %-20s %s\n", left, app_commands[i].help);
    }
    printf("\noptions:\n");
    app_print_options(EVERY_OPTION);
    printf("\nexit status: 0 done; 2 wrong usage or job file; 3 bad input data; 4 environment (device, MPI, space, permissions);\n"
           "  5 a defect of saediff; 75 stopped by a signal after saving: run the same command again\n"
           "\nseveral ranks: mpirun -n 4 saediff run JOB.json\n");
}

static sd_status print_help(const char *word)
{
    const app_command *command;

    if (word == NULL) {
        print_overview();
        return SD_OK;
    }
    if (strcmp(word, "keys") == 0) {
        sd_keys_help(stdout);
        return SD_OK;
    }
    command = app_find_command(word);
    if (command == NULL) {
        const char *nearest = sd_str_nearest(word, &app_commands[0].name, app_n_commands, sizeof *app_commands);

        return SD_FAIL(SD_E_USAGE, "no help for '%s'%s%s%s; see `saediff help`", word, nearest ? "; did you mean '" : "",
                       nearest ? nearest : "", nearest ? "'?" : "");
    }
    printf("saediff %s%s%s\n  %s\n\noptions:\n", command->name, command->operand ? " " : "",
           command->operand ? command->operand : "", command->help);
    app_print_options(command->options);
    return SD_OK;
}

sd_status cmd_help(const sd_par *par, const app_command *command, const app_options *options)
{
    (void)command;
    return sd_par_agree(par, par->rank == 0 ? print_help(options->operand) : SD_OK);
}
