#include <string.h>

#include "app.h"

const app_command app_commands[] = {
    {"run", "JOB.json", true, OPT_JOB, cmd_job, "run all stages of the job; finished ones are skipped"},
    {"check", "JOB.json", true, OPT_JOB, cmd_job, "check keys, files and shapes, and print the plan: memory, disk, time"},
    {"tokenize", "JOB.json", false, OPT_JOB | OPT_MODEL | OPT_TOKENS, cmd_tokenize,
     "texts -> tokens; with --model: print the token ids of a text"},
    {"finetune", "JOB.json", true, OPT_JOB, cmd_job, "training data -> a fine-tuned model"},
    {"extract", "JOB.json", true, OPT_JOB, cmd_job, "tokens -> activations of both models"},
    {"train", "JOB.json", true, OPT_JOB, cmd_job, "activations -> sparse autoencoders (SAEs)"},
    {"encode", "JOB.json", true, OPT_JOB, cmd_job, "activations, SAEs -> latent activations (codes)"},
    {"evaluate", "JOB.json", true, OPT_JOB, cmd_job, "fidelity of each SAE inside each model; divergence of the two models"},
    {"diff", "JOB.json", true, OPT_JOB, cmd_job, "codes of both models -> change of each latent"},
    {"report", "JOB.json", true, OPT_JOB, cmd_job, "results -> pages, tables and plots"},
    {"forward", NULL, false, OPT_MODEL | OPT_FORWARD, cmd_forward, "run a model on one text; writes logits and activations to a file"},
    {"generate", NULL, false, OPT_MODEL | OPT_GENERATE, cmd_generate, "continue texts with a model"},
    {"init", "OUT", true, OPT_INIT, cmd_init, "create a model folder with random weights"},
    {"corpus", "OUT", true, OPT_CORPUS, cmd_corpus, "generate texts with known structure, and an untrained model for them"},
    {"selftest", NULL, false, OPT_MODEL | OPT_SELFTEST, cmd_selftest, "check that this machine computes correctly; with --model: with that model"},
    {"bench", "WHAT", false, OPT_MODEL | OPT_BENCH, cmd_bench,
     "measure speed: forward, train, finetune, store, stat, tokenize (with --model and --file); default: all"},
    {"inspect", "FILE", true, 0, cmd_inspect, "list the contents of an HDF5, safetensors, PyTorch, Parquet or manifest file"},
    {"verify", "RUN", true, 0, cmd_verify, "check every artefact of a run folder against its checksums"},
    {"help", "COMMAND", false, 0, cmd_help, "this page; help on one command; `help keys`: every key of a job"},
};
const uint64_t app_n_commands = sizeof app_commands / sizeof *app_commands;

const app_command *app_find_command(const char *name)
{
    for (uint64_t i = 0; i < app_n_commands; i++)
        if (strcmp(app_commands[i].name, name) == 0)
            return &app_commands[i];
    return NULL;
}
