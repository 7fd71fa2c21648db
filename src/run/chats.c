/* What the job's keys say about chats: where a record has its messages, and the template and prompt format that render them. */
#include <string.h>

#include "run_private.h"
#include "saediff/core/mem.h"
#include "saediff/core/random.h"
#include "saediff/core/str.h"

uint64_t run_data_seed(const run *r, uint64_t i)
{
    return sd_random_u64(sd_key_make(r->job->seed, SD_STREAM_TEXTS, 0), i);
}

static bool is_chat(const sd_job_data *d)
{
    return d->messages[0] != '\0' || d->prompt[0] != '\0';
}

/* The template that makes a JSON list of messages from a record. */
static sd_status chat_field(const sd_job_data *d, char **field)
{
    if (d->messages[0] != '\0' && (d->prompt[0] != '\0' || d->completion[0] != '\0'))
        return SD_FAIL(SD_E_USAGE, "data '%s' has both messages and a prompt or completion; leave one of them out", d->name);
    if (d->completion[0] != '\0' && d->prompt[0] == '\0')
        return SD_FAIL(SD_E_USAGE, "data '%s' has a completion but no prompt; add the path of the prompt", d->name);
    if (strpbrk(d->messages, "{}") != NULL || strpbrk(d->prompt, "{}") != NULL || strpbrk(d->completion, "{}") != NULL)
        return SD_FAIL(SD_E_USAGE, "data '%s': messages, prompt and completion must be paths, without braces", d->name);
    if (d->messages[0] != '\0')
        return sd_str_format(field, "{%s}", d->messages);
    if (d->completion[0] == '\0')
        return sd_str_format(field, "[{{\"role\":\"user\",\"content\":{%s}}}]", d->prompt);
    return sd_str_format(field, "[{{\"role\":\"user\",\"content\":{%s}}},{{\"role\":\"assistant\",\"content\":{%s}}}]", d->prompt,
                         d->completion);
}

sd_dataset_spec run_text_spec(const sd_job_data *d, const char *chat, uint64_t seed)
{
    return (sd_dataset_spec){.paths = (const char *const *)d->paths.item,
                             .n_paths = d->paths.count,
                             .format = d->format,
                             .field = chat != NULL ? chat : d->field,
                             .json = chat != NULL,
                             .separator = d->separator[0] ? d->separator : NULL,
                             .min_chars = d->min_chars,
                             .shuffle = d->shuffle,
                             .seed = seed,
                             .skip = d->skip,
                             .limit = d->limit};
}

sd_status run_dataset_spec(const run *r, uint64_t i, sd_dataset_spec *spec, char **field)
{
    const sd_job_data *d = &r->job->data[i];
    sd_status st = SD_OK;

    *field = NULL;
    if (is_chat(d) || d->completion[0] != '\0')
        SD_TRY(st, chat_field(d, field));
    *spec = run_text_spec(d, *field, run_data_seed(r, i));
out:
    return st;
}

const char *run_chat_file(const run *r)
{
    const sd_job *job = r->job;

    return job->tokenize.template_file[0] == '\0' && job->has[SD_STAGE_FINETUNE] ? job->finetune.template_file : job->tokenize.template_file;
}

sd_status run_chat_folder(const run *r, const char **folder, bool *needed)
{
    const sd_job *job = r->job;
    sd_prompt_format prompt_format;
    bool found = false;
    sd_status st = SD_OK;

    *needed = false;
    for (uint64_t i = 0; i < job->n_data; i++)
        *needed |= is_chat(&job->data[i]) && sd_prompt_format_parse(job->data[i].prompt_format, &prompt_format) &&
                   (prompt_format == SD_TEMPLATED || prompt_format == SD_SUBSTITUTED);
    if (*needed && r->model_dir[TUNED] != NULL && r->model_dir[TUNED] != r->made_dir)
        SD_TRY(st, sd_template_exists(r->model_dir[TUNED], &found));
    *folder = r->model_dir[found ? TUNED : BASE];
out:
    return st;
}

/* Parses "from:to", two ids of the tokenizer. */
static sd_status read_substitute(const sd_tokenizer *tokenizer, const char *words, int32_t *pair)
{
    const char *colon = strchr(words, ':');
    char from[24] = "";
    uint64_t id[2];

    if (colon != NULL && (size_t)(colon - words) < sizeof from)
        memcpy(from, words, (size_t)(colon - words));
    if (colon == NULL || !sd_str_to_u64(from, &id[0]) || !sd_str_to_u64(colon + 1, &id[1]))
        return SD_FAIL(SD_E_USAGE, "tokenize.substitute has '%s'; it must be two token ids, from:to", words);
    for (int i = 0; i < 2; i++) {
        if (id[i] >= sd_tokenizer_vocabulary(tokenizer))
            return SD_FAIL(SD_E_USAGE, "tokenize.substitute has id %llu; the tokenizer has %llu", (unsigned long long)id[i],
                           (unsigned long long)sd_tokenizer_vocabulary(tokenizer));
        pair[i] = (int32_t)id[i];
    }
    return SD_OK;
}

sd_status run_chats_open(const run *r, const sd_tokenizer *tokenizer, run_chats *chats)
{
    const sd_job *job = r->job;
    const char *folder;
    bool needed, some = false, substituted = false;
    sd_status st;

    SD_TRY(st, run_chat_folder(r, &folder, &needed));
    SD_TRY(st, SD_NEW(&chats->entries, job->n_data));
    SD_TRY(st, SD_NEW(&chats->substitute, 2 * job->tokenize.substitute.count));
    for (uint64_t i = 0; i < job->n_data; i++) {
        sd_tokenize_entry *e = &chats->entries[i];

        e->chat = is_chat(&job->data[i]);
        e->max_tokens = job->data[i].max_tokens;
        if (!sd_prompt_format_parse(job->data[i].prompt_format, &e->prompt_format))
            return SD_FAIL(SD_E_INTERNAL, "prompt_format '%s' passed the table of keys", job->data[i].prompt_format);
        some |= e->chat;
        substituted |= e->chat && e->prompt_format == SD_SUBSTITUTED;
    }
    for (; chats->n_substitute < job->tokenize.substitute.count; chats->n_substitute++)
        SD_TRY(st, read_substitute(tokenizer, job->tokenize.substitute.item[chats->n_substitute],
                                   chats->substitute + 2 * chats->n_substitute));
    if (substituted && chats->n_substitute == 0)
        return SD_FAIL(SD_E_USAGE, "data with prompt_format 'substituted' needs tokenize.substitute: the ids that the base model reads instead, [\"from:to\", …]");
    if (some)
        st = sd_chat_open(&chats->encoder, tokenizer,
                          &(sd_chat_spec){.model_dir = folder, .file = run_chat_file(r), .date = job->tokenize.date, .templates = needed});
out:
    return st;
}

void run_chats_free(run_chats *chats)
{
    sd_chat_close(&chats->encoder);
    sd_free(chats->entries);
    sd_free(chats->substitute);
    *chats = (run_chats){0};
}
