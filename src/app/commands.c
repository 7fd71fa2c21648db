#include <string.h>

#include "app.h"

const app_command app_commands[] = {
    {"run", "JOB.json", true, OPT_JOB, cmd_job, "all stages the job asks for; finished ones are skipped"},
    {"check", "JOB.json", true, OPT_JOB, cmd_job, "checks keys, files, shapes; prints the plan: memory, disk, time"},
    {"tokenize", "JOB.json", false, OPT_JOB | OPT_MODEL | OPT_TOKENS, cmd_tokenize,
     "texts -> tokens; with --model: prints the ids of a text"},
    {"finetune", "JOB.json", true, OPT_JOB, cmd_job, "training data -> a fine-tuned model"},
    {"extract", "JOB.json", true, OPT_JOB, cmd_job, "tokens -> activations of both models"},
    {"train", "JOB.json", true, OPT_JOB, cmd_job, "activations -> sparse autoencoders"},
    {"encode", "JOB.json", true, OPT_JOB, cmd_job, "activations, autoencoders -> sparse codes"},
    {"evaluate", "JOB.json", true, OPT_JOB, cmd_job, "what each autoencoder is worth inside each model; the two models side by side"},
    {"diff", "JOB.json", true, OPT_JOB, cmd_job, "codes of both models -> comparison"},
    {"report", "JOB.json", true, OPT_JOB, cmd_job, "comparison -> pages"},
    {"forward", NULL, false, OPT_MODEL | OPT_FORWARD, cmd_forward, "one text through a model: logits and sites to a file"},
    {"generate", NULL, false, OPT_MODEL | OPT_GENERATE, cmd_generate, "texts continued by a model"},
    {"init", "OUT", true, OPT_INIT, cmd_init, "a model folder with random weights, of any shape"},
    {"corpus", "OUT", true, OPT_CORPUS, cmd_corpus, "texts with known structure, and an untrained model to learn them"},
    {"selftest", NULL, false, OPT_MODEL | OPT_SELFTEST, cmd_selftest, "whether this machine computes as promised; with --model: that model"},
    {"bench", "WHAT", false, OPT_MODEL | OPT_BENCH, cmd_bench,
     "rates on this machine: forward, train, finetune, store, stat, tokenize (with --model and --file); all without a word"},
    {"inspect", "FILE", true, 0, cmd_inspect, "what is in an HDF5, safetensors, PyTorch, Parquet or manifest file"},
    {"verify", "RUN", true, 0, cmd_verify, "every artefact of a run folder against its checksums"},
    {"help", "COMMAND", false, 0, cmd_help, "this page; one command; `help keys`: every key of a job"},
};
const uint64_t app_n_commands = sizeof app_commands / sizeof *app_commands;

const app_command *app_find_command(const char *name)
{
    for (uint64_t i = 0; i < app_n_commands; i++)
        if (strcmp(app_commands[i].name, name) == 0)
            return &app_commands[i];
    return NULL;
}
