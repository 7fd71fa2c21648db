#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "app.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"

#define EVERY (-1)

static const struct option {
    const char *name;
    int commands; /* option bits of the commands that take it; EVERY */
    size_t offset;
    bool flag;
    const char *value, *help;
} options_table[] = {
    {"--set", OPT_JOB, 0, false, "KEY=VALUE", "change a key of the job; may be repeated"},
    {"--out", OPT_JOB | OPT_FORWARD | OPT_BENCH, offsetof(app_options, out), false, "PATH", "run folder (job), output file (forward), scratch folder (bench)"},
    {"--device", OPT_JOB | OPT_FORWARD | OPT_BENCH | OPT_GENERATE | OPT_SELFTEST, offsetof(app_options, device), false, "NAME", "auto (a GPU if one works, the default), cpu, strict or cuda"},
    {"--threads", OPT_JOB | OPT_FORWARD | OPT_BENCH | OPT_GENERATE | OPT_SELFTEST, offsetof(app_options, threads), false, "N", "threads per rank (default: the cores of the machine, shared by its ranks)"},
    {"--compute", OPT_FORWARD | OPT_BENCH | OPT_GENERATE | OPT_SELFTEST, offsetof(app_options, compute), false, "TYPE", "number type of matrix products: f32 (default), bf16, f16 (GPU), or auto: f32 or bf16, whichever is faster"},
    {"--peer", OPT_BENCH, offsetof(app_options, peer), false, "FILE", "Python script that times the same work in PyTorch, for comparison"},
    {"--preset", OPT_BENCH, offsetof(app_options, preset), false, "NAME", "bench forward: shape of a published model, with random weights"},
    {"--fresh", OPT_JOB, offsetof(app_options, fresh), true, NULL, "discard the results of the stages and start again"},
    {"--model", OPT_MODEL, offsetof(app_options, model), false, "DIR", "Hugging Face folder of the model"},
    {"--ids", OPT_FORWARD, offsetof(app_options, ids), false, "1,2,3", "token ids"},
    {"--text", OPT_FORWARD | OPT_TOKENS, offsetof(app_options, text), false, "TEXT", "input text"},
    {"--file", OPT_FORWARD | OPT_TOKENS | OPT_BENCH, offsetof(app_options, file), false, "FILE", "input file, as one document (bench tokenize: cut into documents)"},
    {"--lines", OPT_TOKENS, offsetof(app_options, lines), false, "FILE", "input file, one document per line"},
    {"--json", OPT_TOKENS, offsetof(app_options, json), false, "FILE", "JSON list of texts: prints {\"ids\":[…],\"spans\":[[b,e],…]} for each, spans in bytes"},
    {"--decode", OPT_TOKENS, offsetof(app_options, decode), false, "FILE", "JSON list of lists of ids: prints their texts as JSON strings"},
    {"--chat", OPT_TOKENS | OPT_GENERATE, offsetof(app_options, chat), false, "FILE", "JSON list of messages, or a list of such lists, rendered by the model's chat template"},
    {"--template", OPT_TOKENS | OPT_GENERATE, offsetof(app_options, template_file), false, "FILE", "with --chat: use this template (a Jinja file)"},
    {"--date", OPT_TOKENS | OPT_GENERATE, offsetof(app_options, date), false, "DATE", "with --chat: the date that the template prints as today (default 2024-07-26)"},
    {"--sites", OPT_FORWARD, offsetof(app_options, sites), false, "A,B", "sites to write (default: every layer's output)"},
    {"--pipeline", OPT_FORWARD, offsetof(app_options, pipeline), false, "N", "split the model's layers over N ranks (default 1)"},
    {"--no-special", OPT_TOKENS, offsetof(app_options, no_special), true, NULL, "do not add BOS"},
    {"--prompt", OPT_GENERATE, offsetof(app_options, prompt), false, "TEXT", "text to continue"},
    {"--prompts", OPT_GENERATE, offsetof(app_options, prompts), false, "FILE", "JSON list of texts; prints one JSON object per line"},
    {"--max-tokens", OPT_GENERATE, offsetof(app_options, max_tokens), false, "N", "maximum number of new tokens (default 128)"},
    {"--temperature", OPT_GENERATE, offsetof(app_options, temperature), false, "T", "sampling temperature; 0, the default: greedy decoding"},
    {"--top-k", OPT_GENERATE, offsetof(app_options, top_k), false, "K", "sample from the K most likely tokens"},
    {"--top-p", OPT_GENERATE, offsetof(app_options, top_p), false, "P", "sample from the most likely tokens with total probability P"},
    {"--min-p", OPT_GENERATE, offsetof(app_options, min_p), false, "P", "sample from tokens at least P times as likely as the most likely one"},
    {"--documents", OPT_CORPUS, offsetof(app_options, documents), false, "N", "documents per domain (default 4000)"},
    {"--seed", OPT_GENERATE | OPT_INIT | OPT_CORPUS, offsetof(app_options, seed), false, "N", "random seed (default 0)"},
    {"--config", OPT_INIT, offsetof(app_options, config), false, "FILE", "config.json of the model"},
    {"--quiet", EVERY, offsetof(app_options, quiet), true, NULL, "print warnings and errors only"},
    {"--log", EVERY, offsetof(app_options, log), false, "FILE", "also append the messages to FILE, as JSON lines"},
};
enum { OPTIONS = sizeof options_table / sizeof *options_table };

static const char old_pipeline[] = "--stages"; /* accepted in this version, with a warning */

void app_print_options(int options)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *o = &options_table[i];
        char left[40];

        if (!(o->commands & options) && o->commands != EVERY)
            continue;
        snprintf(left, sizeof left, "%s %s", o->name, o->value ? o->value : "");
        printf("  %-20s %s\n", left, o->help);
    }
}

static sd_status take_option(const app_command *command, const struct option *o, const char *value, app_options *options)
{
    void *member = (char *)options + o->offset;

    if (!(o->commands & command->options) && o->commands != EVERY)
        return SD_FAIL(SD_E_USAGE, "'%s' is not an option of '%s'; see `saediff help %s`", o->name, command->name, command->name);
    if (o->flag) {
        *(bool *)member = true;
        return SD_OK;
    }
    if (strcmp(o->name, "--set") == 0) {
        if (options->n_sets == APP_SETS)
            return SD_FAIL(SD_E_USAGE, "more than %d --set; put them into the job file", (int)APP_SETS);
        options->sets[options->n_sets++] = value;
        return SD_OK;
    }
    if (*(const char **)member != NULL)
        return SD_FAIL(SD_E_USAGE, "%s is given twice: '%s' and '%s'", o->name, *(const char **)member, value);
    *(const char **)member = value;
    return SD_OK;
}

static sd_status unknown_option(const char *word, size_t length)
{
    char name[64];
    const char *nearest;

    snprintf(name, sizeof name, "%.*s", (int)length, word);
    nearest = sd_str_nearest(name, &options_table[0].name, OPTIONS, sizeof *options_table);
    return SD_FAIL(SD_E_USAGE, "unknown option '%s'%s%s%s; see `saediff help`", name, nearest ? "; did you mean '" : "",
                   nearest ? nearest : "", nearest ? "'?" : "");
}

static sd_status keep_command_line(int argc, char **argv, app_options *options)
{
    sd_str s = {0};

    for (int i = 0; i < argc; i++) {
        if (i)
            sd_str_add(&s, " ");
        for (const unsigned char *c = (const unsigned char *)argv[i]; *c; c++)
            if (*c == '"' || *c == '\\')
                sd_str_add(&s, "\\%c", *c);
            else if (*c < 0x20)
                sd_str_add(&s, "\\u%04x", *c);
            else
                sd_str_add_bytes(&s, c, 1);
    }
    options->command_line = s.text;
    return s.status;
}

static bool asks_for_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

sd_status app_read_args(int argc, char **argv, const app_command **command, app_options *options)
{
    sd_status st;

    SD_TRY(st, keep_command_line(argc, argv, options));
    if (argc < 2) {
        *command = app_find_command("help");
        return SD_OK;
    }
    *command = app_find_command(asks_for_help(argv[1]) ? "help" : argv[1]);
    if (*command == NULL) {
        const char *nearest = sd_str_nearest(argv[1], &app_commands[0].name, app_n_commands, sizeof *app_commands);

        return SD_FAIL(SD_E_USAGE, "unknown command '%s'%s%s%s; see `saediff help`", argv[1], nearest ? "; did you mean '" : "",
                       nearest ? nearest : "", nearest ? "'?" : "");
    }
    for (int i = 2; i < argc; i++)
        if (asks_for_help(argv[i])) {
            options->operand = (*command)->name;
            *command = app_find_command("help");
            return SD_OK;
        }
    for (int i = 2; i < argc; i++) {
        const char *word = argv[i], *equals = strchr(word, '=');
        size_t length = equals ? (size_t)(equals - word) : strlen(word), o = 0;

        if (strncmp(word, "--", 2) != 0 || word[2] == '\0') {
            if ((*command)->operand == NULL || options->operand != NULL)
                return SD_FAIL(SD_E_USAGE, "unexpected argument '%s' of '%s'; see `saediff help %s`", word, (*command)->name,
                               (*command)->name);
            options->operand = word;
            continue;
        }
        if (length == strlen(old_pipeline) && strncmp(word, old_pipeline, length) == 0) {
            sd_warn("the option '%s' is now called '%s'; this version still accepts the old name, the next one will not", old_pipeline, "--pipeline");
            word = "--pipeline";
            length = strlen(word);
        }
        while (o < OPTIONS && !(strncmp(options_table[o].name, word, length) == 0 && options_table[o].name[length] == '\0'))
            o++;
        if (o == OPTIONS)
            return unknown_option(word, length);
        if (options_table[o].flag && equals)
            return SD_FAIL(SD_E_USAGE, "%s takes no value", options_table[o].name);
        if (!options_table[o].flag && !equals && i + 1 == argc)
            return SD_FAIL(SD_E_USAGE, "%s needs a value: %s %s", options_table[o].name, options_table[o].name,
                           options_table[o].value);
        SD_TRY(st, take_option(*command, &options_table[o],
                               options_table[o].flag ? NULL : equals ? equals + 1 : argv[++i], options));
    }
    if ((*command)->needs_operand && options->operand == NULL)
        return SD_FAIL(SD_E_USAGE, "'%s' needs a %s: saediff %s %s", (*command)->name, (*command)->operand, (*command)->name,
                       (*command)->operand);
out:
    return st;
}

sd_status app_threads(const app_options *options, int *threads)
{
    uint64_t value = 0;

    *threads = 0;
    if (options->threads == NULL)
        return SD_OK;
    if (!sd_str_to_u64(options->threads, &value) || value < 1 || value > 4096)
        return SD_FAIL(SD_E_USAGE, "--threads is '%s'; it must be a number from 1 to 4096", options->threads);
    *threads = (int)value;
    return SD_OK;
}

sd_status app_open_device(const sd_par *par, const app_options *o, sd_dev **dev, int *threads)
{
    char words[SD_COMPUTE_WORDS];
    sd_dtype type;
    sd_status st;

    SD_TRY(st, app_threads(o, threads));
    if (*threads == 0)
        *threads = sd_dev_default_threads(par->node_size);
    SD_TRY(st, sd_dev_open_at(dev, o->device ? o->device : "auto", *threads, par->node_rank));
    SD_TRY(st, sd_dev_choose_compute(*dev, o->compute ? o->compute : "f32", &type, words));
    SD_TRY(st, sd_dev_set_compute(*dev, type));
    if (words[0])
        sd_say("%s", words);
out:
    if (st != SD_OK)
        sd_dev_close(dev);
    return st;
}
