/* The command line: one table of commands, one of options. */
#ifndef SAEDIFF_APP_H
#define SAEDIFF_APP_H

#include <stdbool.h>

#include "saediff/dev/dev.h"
#include "saediff/par/par.h"
#include "saediff/text/chat.h"

enum { APP_SETS = 64 };

typedef struct app_options {
    const char *operand; /* job file, file, folder or word; NULL for none */
    const char *sets[APP_SETS];
    uint64_t n_sets;
    const char *out, *device, *log, *threads, *compute;
    const char *peer, *preset; /* bench */
    const char *model, *ids, *text, *file, *lines, *json, *decode, *sites, *pipeline;
    const char *prompt, *prompts, *chat, *date, *template_file, *max_tokens, *temperature, *top_k, *top_p, *min_p, *seed, *config, *documents;
    bool fresh, quiet, no_special;
    char *command_line; /* as typed, quotes escaped for JSON */
} app_options;

/* Which options a command takes, as bits. */
enum {
    OPT_JOB = 1,     /* --set --out --device --threads --fresh */
    OPT_MODEL = 2,   /* --model */
    OPT_FORWARD = 4, /* --ids --text --file --sites --pipeline --out --device --threads --compute */
    OPT_TOKENS = 8,   /* --text --file --lines --json --decode --chat --template --date --no-special */
    OPT_BENCH = 16,  /* --file --out --device --threads */
    OPT_GENERATE = 32, /* --prompt --prompts --chat --template --date --max-tokens --temperature --top-k --top-p --min-p --seed --device --threads */
    OPT_INIT = 64,     /* --config --seed */
    OPT_SELFTEST = 128, /* --device --threads --compute */
    OPT_CORPUS = 256,   /* --seed --documents */
    EVERY_OPTION = -1
};

typedef struct app_command {
    const char *name;
    const char *operand; /* "JOB.json"; NULL for none */
    bool needs_operand;
    int options;
    /* Collective. */
    sd_status (*run)(const sd_par *par, const struct app_command *command, const app_options *options);
    const char *help;
} app_command;

extern const app_command app_commands[];
extern const uint64_t app_n_commands;
const app_command *app_find_command(const char *name);

/* args.c. Local, the same on all ranks: SD_E_USAGE names the word and the nearest valid one. */
SD_MUST_CHECK sd_status app_read_args(int argc, char **argv, const app_command **command, app_options *options);
void app_print_options(int options);

/* --threads as a number, 0 if it was not given. */
SD_MUST_CHECK sd_status app_threads(const app_options *options, int *threads);

/* Local. The device of --device, --threads and --compute, for commands in which one rank works, or the ranks of par. */
SD_MUST_CHECK sd_status app_open_device(const sd_par *par, const app_options *options, sd_dev **dev, int *threads);

/* cmd_tokenize.c. Local. The chats of --chat: a JSON list of lists of messages, or one list of messages; and what encodes them. */
typedef struct app_chats {
    struct sd_json *json; /* store/json.h */
    const cJSON **chat; /* [n], in the tree of json */
    uint64_t n;
    sd_chat_encoder *encoder;
} app_chats;
SD_MUST_CHECK sd_status app_chats_open(const app_options *options, const sd_tokenizer *tokenizer, app_chats *chats);
void app_chats_close(app_chats *chats);

/* cmd_init.c. Local. A folder below $TMPDIR with a model of random weights and this config.json; "" on failure. */
enum { APP_FOLDER = 256 };
SD_MUST_CHECK sd_status app_make_model(const char *config, char folder[APP_FOLDER]);
/* The folder with nothing but this config.json, in a file called `name`. */
SD_MUST_CHECK sd_status app_make_config(const char *config, const char *name, char folder[APP_FOLDER]);
void app_remove_model(const char *folder);

/* cmd_job.c */
SD_MUST_CHECK sd_status cmd_job(const sd_par *par, const app_command *command, const app_options *options);
/* cmd_model.c */
SD_MUST_CHECK sd_status cmd_forward(const sd_par *par, const app_command *command, const app_options *options);
/* cmd_tokenize.c */
SD_MUST_CHECK sd_status cmd_tokenize(const sd_par *par, const app_command *command, const app_options *options);
/* cmd_corpus.c, cmd_generate.c, cmd_init.c, cmd_selftest.c */
SD_MUST_CHECK sd_status cmd_corpus(const sd_par *par, const app_command *command, const app_options *options);
SD_MUST_CHECK sd_status cmd_generate(const sd_par *par, const app_command *command, const app_options *options);
SD_MUST_CHECK sd_status cmd_init(const sd_par *par, const app_command *command, const app_options *options);
SD_MUST_CHECK sd_status cmd_selftest(const sd_par *par, const app_command *command, const app_options *options);
/* bench.c */
SD_MUST_CHECK sd_status cmd_bench(const sd_par *par, const app_command *command, const app_options *options);
/* cmd_file.c */
SD_MUST_CHECK sd_status cmd_inspect(const sd_par *par, const app_command *command, const app_options *options);
SD_MUST_CHECK sd_status cmd_verify(const sd_par *par, const app_command *command, const app_options *options);
SD_MUST_CHECK sd_status cmd_help(const sd_par *par, const app_command *command, const app_options *options);

#endif
